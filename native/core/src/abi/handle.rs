use std::any::{Any, type_name};
use std::sync::Arc;

use crate::failure::Failure;

/// An object of this library, opaque to C. `dyn_handle_free` frees it once. Freeing drops one reference. Operations
/// that still run keep the object alive. Closing an object is a separate call.
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
        // SAFETY: the caller's promise.
        let Some(handle) = (unsafe { raw.as_ref() }) else {
            return Err(Failure::invalid(format!("handle: expected {}, got none", short_name::<T>())));
        };
        Arc::clone(&handle.object)
            .downcast::<T>()
            .map_err(|_| Failure::invalid(format!("handle: expected {}, got {}", short_name::<T>(), handle.name)))
    }
}

impl dyn_handle {
    /// The object, borrowed from its handle. Unlike `Handle::get` it does not count a reference.
    ///
    /// # Safety
    /// `raw` must be null or a handle of this library that lives for `'a`.
    pub(super) unsafe fn borrow<'a, T: Send + Sync + 'static>(raw: *const dyn_handle) -> Result<&'a T, Failure> {
        // SAFETY: the caller's promise.
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
        // A destructor that panics must not unwind into C. The object is gone in both cases.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            // A destructor may use tokio, for example to abort a task. It needs the context of the runtime.
            let _enter = crate::process::enter();
            // SAFETY: made by `into_raw` or `dyn_handle_share`, and freed once.
            drop(unsafe { Box::from_raw(handle) });
        }));
    }
}

/// Returns one more handle of the same object. It is freed like any other.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_handle_share(handle: *const dyn_handle) -> *mut dyn_handle {
    // SAFETY: C passes a live handle.
    let handle = unsafe { &*handle };
    Box::into_raw(Box::new(dyn_handle { object: Arc::clone(&handle.object), name: handle.name }))
}
