use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::handle::{Handle, dyn_handle};
use crate::failure::Failure;

/// Bytes that are borrowed for the duration of a call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct dyn_slice {
    pub data: *const u8,
    pub len: usize,
}

/// Bytes that the receiver owns and frees with `dyn_bytes_free`.
#[repr(C)]
pub struct dyn_bytes {
    pub data: *mut u8,
    pub len: usize,
}

/// Runs exactly once for each asynchronous call, on any thread. It owns the reply. It must not block.
pub type dyn_done = Option<unsafe extern "C" fn(user: *mut c_void, reply: dyn_reply)>;

/// The arguments of every entry. An entry ignores the arguments that its comment does not name.
///
/// The caller promises that the pointers are null or valid until the entry returns, that no other code writes to what
/// they point to in the meantime, and that `done` may run on any thread. Only C is a caller: the fields are private to
/// `abi`. So the entries are safe functions of Rust.
#[repr(C)]
pub struct dyn_call {
    /// The object that is called, or null. Borrowed.
    pub(super) handle: *const dyn_handle,
    /// A second object, or null. Borrowed.
    pub(super) other: *const dyn_handle,
    /// Options in MessagePack, or bytes in the layout that the entry describes. Borrowed.
    pub(super) args: dyn_slice,
    /// The user's own value in MessagePack, or bytes in the layout that the entry describes. Borrowed.
    pub(super) payload: dyn_slice,
    pub(super) a: u64,
    pub(super) b: u64,
    /// Asynchronous entries only: the caller's id of the operation for `dyn_op_cancel`. It is unique in the process.
    pub(super) op: u64,
    /// Asynchronous entries only: the group of operations that `dyn_scope_close` cancels.
    pub(super) scope: u64,
    pub(super) done: dyn_done,
    pub(super) user: *mut c_void,
}

/// The result of an entry. If `failed` is 0, it is in `number`, `bytes` and `handles`. If `failed` is 1, `bytes` is an
/// error map in MessagePack.
#[repr(C)]
pub struct dyn_reply {
    pub failed: i32,
    /// A small result, for example a state or a count, or `DYN_NO_NUMBER`.
    pub number: u64,
    pub bytes: dyn_bytes,
    /// An array of `handle_count` handles. The receiver owns both: `dyn_handles_free` frees the array,
    /// `dyn_handle_free` a handle.
    pub handles: *mut *mut dyn_handle,
    pub handle_count: usize,
}

impl dyn_bytes {
    fn none() -> Self {
        Self { data: std::ptr::null_mut(), len: 0 }
    }

    fn from_vec(bytes: Vec<u8>) -> Self {
        if bytes.is_empty() {
            return Self::none();
        }
        let boxed = bytes.into_boxed_slice();
        let len = boxed.len();
        Self { data: Box::into_raw(boxed) as *mut u8, len }
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_bytes_free(bytes: dyn_bytes) {
    if !bytes.data.is_null() {
        // SAFETY: `dyn_bytes::from_vec` made it from a boxed slice of exactly this length, and it is freed once.
        drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(bytes.data, bytes.len)) });
    }
}

/// Frees the array of handles, not the handles. Their owner frees each of them with `dyn_handle_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_handles_free(handles: *mut *mut dyn_handle, count: usize) {
    if !handles.is_null() {
        // SAFETY: `dyn_reply::from` made it from a boxed slice of exactly this length, and it is freed once.
        drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(handles, count)) });
    }
}

/// What an entry returns: a number, bytes and handles, each optional. The bytes are MessagePack or have their own
/// layout.
#[derive(Default)]
pub struct Reply {
    number: Option<u64>,
    bytes: Vec<u8>,
    handles: Vec<Handle>,
}

impl Reply {
    pub fn unit() -> Self {
        Self::default()
    }

    pub fn bytes(bytes: Vec<u8>) -> Self {
        Self { bytes, ..Self::default() }
    }

    pub fn number(number: u64) -> Self {
        Self { number: Some(number), ..Self::default() }
    }

    pub fn value(value: &impl Serialize) -> Result<Self, Failure> {
        Ok(Self::bytes(rmp_serde::to_vec_named(value).map_err(Failure::internal)?))
    }

    pub fn handle(handle: Handle) -> Self {
        Self { handles: vec![handle], ..Self::default() }
    }

    pub fn with_handles(bytes: Vec<u8>, handles: Vec<Handle>) -> Self {
        Self { number: None, bytes, handles }
    }

    /// A number, bytes and a handle together. This is for the binding: JavaScript would only get the number.
    pub fn located(number: u64, bytes: Vec<u8>, handle: Handle) -> Self {
        Self { number: Some(number), bytes, handles: vec![handle] }
    }
}

#[cfg(test)]
impl Reply {
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// `number` of a reply without a number.
pub const DYN_NO_NUMBER: u64 = u64::MAX;

impl From<Result<Reply, Failure>> for dyn_reply {
    fn from(result: Result<Reply, Failure>) -> Self {
        match result {
            Ok(Reply { number, bytes, handles }) => {
                let handle_count = handles.len();
                let handles = if handles.is_empty() {
                    std::ptr::null_mut()
                } else {
                    let raw: Box<[*mut dyn_handle]> = handles.into_iter().map(Handle::into_raw).collect();
                    Box::into_raw(raw) as *mut *mut dyn_handle
                };
                Self {
                    failed: 0,
                    number: number.unwrap_or(DYN_NO_NUMBER),
                    bytes: dyn_bytes::from_vec(bytes),
                    handles,
                    handle_count,
                }
            }
            Err(failure) => Self {
                failed: 1,
                number: DYN_NO_NUMBER,
                bytes: dyn_bytes::from_vec(failure.encode()),
                handles: std::ptr::null_mut(),
                handle_count: 0,
            },
        }
    }
}

/// A `dyn_call` with checked access to its contents. It does not outlive the call.
pub struct Call<'a> {
    raw: &'a dyn_call,
}

impl<'a> Call<'a> {
    pub(super) fn new(raw: &'a dyn_call) -> Self {
        Self { raw }
    }

    pub fn handle<T: Send + Sync + 'static>(&self) -> Result<std::sync::Arc<T>, Failure> {
        // SAFETY: the promise of the `dyn_call`.
        unsafe { Handle::get::<T>(self.raw.handle) }
    }

    pub fn other<T: Send + Sync + 'static>(&self) -> Result<std::sync::Arc<T>, Failure> {
        // SAFETY: the promise of the `dyn_call`.
        unsafe { Handle::get::<T>(self.raw.other) }
    }

    /// Like `handle`, but borrowed for the call. It saves a reference count in entries that are called very often.
    pub fn handle_ref<T: Send + Sync + 'static>(&self) -> Result<&'a T, Failure> {
        // SAFETY: the promise of the `dyn_call`, which is borrowed for `'a`.
        unsafe { dyn_handle::borrow(self.raw.handle) }
    }

    /// Like `handle_ref`.
    pub fn other_ref<T: Send + Sync + 'static>(&self) -> Result<&'a T, Failure> {
        // SAFETY: the promise of the `dyn_call`, which is borrowed for `'a`.
        unsafe { dyn_handle::borrow(self.raw.other) }
    }

    pub fn has_other(&self) -> bool {
        !self.raw.other.is_null()
    }

    pub fn args<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        rmp_serde::from_slice(self.slice(self.raw.args)).map_err(|error| Failure::invalid(error.to_string()))
    }

    pub fn has_args(&self) -> bool {
        self.raw.args.len != 0
    }

    pub fn payload(&self) -> &'a [u8] {
        self.slice(self.raw.payload)
    }

    /// The bytes of `args`, for an entry whose arguments have their own layout.
    pub fn raw_args(&self) -> &'a [u8] {
        self.slice(self.raw.args)
    }

    /// The words of the payload from `offset` on, which the entry writes.
    pub fn out(&self, offset: u64) -> Result<Out<'a>, Failure> {
        let words = self.raw.payload.len / 4;
        match usize::try_from(offset).ok().filter(|&offset| offset <= words) {
            Some(offset) => Ok(Out {
                words: self.raw.payload.data.cast::<u32>().cast_mut().wrapping_add(offset),
                len: words - offset,
                call: std::marker::PhantomData,
            }),
            None => Err(Failure::invalid(format!("out: expected an offset of 0 to {words} words, got {offset}"))),
        }
    }

    pub fn a(&self) -> u64 {
        self.raw.a
    }

    pub fn b(&self) -> u64 {
        self.raw.b
    }

    fn slice(&self, slice: dyn_slice) -> &'a [u8] {
        if slice.data.is_null() {
            return &[];
        }
        // SAFETY: the promise of the `dyn_call`, which is borrowed for `'a`.
        unsafe { std::slice::from_raw_parts(slice.data, slice.len) }
    }
}

/// Words of the caller that an entry writes. They are borrowed for the duration of the call.
#[derive(Clone, Copy)]
pub struct Out<'a> {
    words: *mut u32,
    len: usize,
    call: std::marker::PhantomData<&'a dyn_call>,
}

impl Out<'_> {
    /// Fails if fewer than `count` words fit.
    pub fn check(&self, count: usize) -> Result<(), Failure> {
        if count > self.len {
            return Err(Failure::invalid(format!("out: expected space for {count} words, got {}", self.len)));
        }
        Ok(())
    }

    /// Writes one word. A word that does not fit is dropped.
    pub fn put(&self, index: usize, word: u32) {
        if index < self.len {
            // SAFETY: within the payload, which is borrowed for the call and which no other code uses during it.
            unsafe { self.words.add(index).write_unaligned(word) };
        }
    }

    /// Writes words from index `from` on. Words that do not fit are dropped.
    pub fn put_all(&self, from: usize, words: impl Iterator<Item = u32>) {
        for (index, word) in words.take(self.len.saturating_sub(from)).enumerate() {
            // SAFETY: as for `put`.
            unsafe { self.words.add(from + index).write_unaligned(word) };
        }
    }

    /// Writes a number of two words. `index` counts such numbers. A number that does not fit is dropped.
    pub fn put_long(&self, index: usize, number: u64) {
        if index * 2 + 1 < self.len {
            // SAFETY: as for `put`.
            unsafe { self.words.add(index * 2).cast::<u64>().write_unaligned(number) };
        }
    }
}

pub(super) fn guarded<T>(body: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(Failure::panic(panic)))
}

/// The body of a synchronous entry.
pub fn reply(call: &dyn_call, body: impl FnOnce(&Call) -> Result<Reply, Failure>) -> dyn_reply {
    let call = Call::new(call);
    guarded(|| body(&call)).into()
}

/// Like `reply`, for an entry that only returns a number and is called very often.
pub fn reply_number(call: &dyn_call, body: impl FnOnce(&Call) -> Result<u64, Failure>) -> dyn_reply {
    let call = Call::new(call);
    match guarded(|| body(&call)) {
        Ok(number) => {
            dyn_reply { failed: 0, number, bytes: dyn_bytes::none(), handles: std::ptr::null_mut(), handle_count: 0 }
        }
        Err(failure) => Err(failure).into(),
    }
}

#[cfg(test)]
mod tests;
