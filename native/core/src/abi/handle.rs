use std::any::{Any, type_name};
use std::sync::Arc;

use super::failure::Failure;

/// An object of this library. Opaque to C; freed once with `dyn_handle_free`. Freeing drops one reference: what still
/// runs keeps the object alive, and closing is a call of its own.
pub struct dyn_handle {
    object: Arc<dyn Any + Send + Sync>,
    name: &'static str,
}

pub struct Handle(Box<dyn_handle>);

impl Handle {
    pub fn new<T: Send + Sync + 'static>(object: Arc<T>) -> Self {
        Self(Box::new(dyn_handle { object, name: short_name::<T>() }))
    }

    pub(super) fn into_raw(self) -> *mut dyn_handle {
        Box::into_raw(self.0)
    }

    /// # Safety
    /// `raw` must be null or a live handle of this library.
    pub(super) unsafe fn get<T: Send + Sync + 'static>(raw: *const dyn_handle) -> Result<Arc<T>, Failure> {
        let Some(handle) = (unsafe { raw.as_ref() }) else {
            return Err(Failure::invalid(format!("handle: expected {}, got none", short_name::<T>())));
        };
        Arc::clone(&handle.object)
            .downcast::<T>()
            .map_err(|_| Failure::invalid(format!("handle: expected {}, got {}", short_name::<T>(), handle.name)))
    }
}

impl dyn_handle {
    /// The object, for as long as its handle is borrowed: without the reference of its own that `Handle::get` gives.
    ///
    /// # Safety
    /// `raw` must be null or a handle of this library that lives for `'a`.
    pub(super) unsafe fn borrow<'a, T: Send + Sync + 'static>(raw: *const dyn_handle) -> Result<&'a T, Failure> {
        let Some(handle) = (unsafe { raw.as_ref::<'a>() }) else {
            return Err(Failure::invalid(format!("handle: expected {}, got none", short_name::<T>())));
        };
        handle
            .object
            .downcast_ref::<T>()
            .ok_or_else(|| Failure::invalid(format!("handle: expected {}, got {}", short_name::<T>(), handle.name)))
    }
}

fn short_name<T>() -> &'static str {
    let name = type_name::<T>();
    name.rsplit("::").next().unwrap_or(name)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_handle_free(handle: *mut dyn_handle) {
    if !handle.is_null() {
        // A destructor that panics must not unwind into C; the object is gone either way.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            // Dropping may touch tokio (abort a task, cancel a token): give it the runtime's context.
            let _enter = crate::process::enter();
            drop(unsafe { Box::from_raw(handle) });
        }));
    }
}

/// One more handle of the same object, freed once as any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_handle_share(handle: *const dyn_handle) -> *mut dyn_handle {
    let handle = unsafe { &*handle };
    Box::into_raw(Box::new(dyn_handle { object: Arc::clone(&handle.object), name: handle.name }))
}
