use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::failure::Failure;
use super::handle::{Handle, dyn_handle};

/// Bytes borrowed for the length of a call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct dyn_slice {
    pub data: *const u8,
    pub len: usize,
}

/// Bytes owned by the receiver, who gives them back with `dyn_bytes_free`.
#[repr(C)]
pub struct dyn_bytes {
    pub data: *mut u8,
    pub len: usize,
}

/// Runs exactly once for an asynchronous call, on any thread; owns the reply. It must not block.
pub type dyn_done = Option<unsafe extern "C" fn(user: *mut c_void, reply: dyn_reply)>;

/// The arguments of every entry. Those that an entry does not name are ignored.
#[repr(C)]
pub struct dyn_call {
    /// The object called, or null. Borrowed.
    pub handle: *const dyn_handle,
    /// A second object, or null. Borrowed.
    pub other: *const dyn_handle,
    /// MessagePack: a map of options. Borrowed.
    pub args: dyn_slice,
    /// MessagePack: the user's own value, passed through unread. Borrowed.
    pub payload: dyn_slice,
    pub a: u64,
    pub b: u64,
    /// Asynchronous entries only: the caller's id, unique in the process, for `dyn_op_cancel`.
    pub op: u64,
    /// Asynchronous entries only: groups ops for `dyn_scope_close`.
    pub scope: u64,
    pub done: dyn_done,
    pub user: *mut c_void,
}

/// `failed` is 0 with a result in `bytes` and `handles`, or 1 with a MessagePack error map in `bytes`.
#[repr(C)]
pub struct dyn_reply {
    pub failed: i32,
    /// A small result that is no object: a state, a count.
    pub number: u64,
    pub bytes: dyn_bytes,
    /// `handle_count` owned handles, in an array given back with `dyn_reply_free`.
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
        // SAFETY: made by `dyn_bytes::from_vec` from a boxed slice of exactly this length, and given back once.
        drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(bytes.data, bytes.len)) });
    }
}

/// Gives back the array of handles, not the handles themselves: their new owner frees each with `dyn_handle_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_handles_free(handles: *mut *mut dyn_handle, count: usize) {
    if !handles.is_null() {
        // SAFETY: made by `dyn_reply::from` from a boxed slice of exactly this length, and given back once.
        drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(handles, count)) });
    }
}

/// What an entry gives back: bytes (MessagePack, or a layout of its own), handles, both or neither.
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

    /// A number, bytes and a handle together: for the binding, since JavaScript sees the number alone.
    pub fn located(number: u64, bytes: Vec<u8>, handle: Handle) -> Self {
        Self { number: Some(number), bytes, handles: vec![handle] }
    }
}

/// `number` of a reply that carries none.
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

/// A `dyn_call` with its contents checked. Lives no longer than the call.
pub struct Call<'a> {
    raw: &'a dyn_call,
}

impl<'a> Call<'a> {
    /// # Safety
    /// `raw` must point to a `dyn_call` whose pointers are valid until the entry returns.
    pub(super) unsafe fn new(raw: *const dyn_call) -> Self {
        Self { raw: unsafe { &*raw } }
    }

    pub fn handle<T: Send + Sync + 'static>(&self) -> Result<std::sync::Arc<T>, Failure> {
        unsafe { Handle::get::<T>(self.raw.handle) }
    }

    pub fn other<T: Send + Sync + 'static>(&self) -> Result<std::sync::Arc<T>, Failure> {
        unsafe { Handle::get::<T>(self.raw.other) }
    }

    /// As `handle`, borrowed for the call: where a reference more would be felt.
    pub fn handle_ref<T: Send + Sync + 'static>(&self) -> Result<&'a T, Failure> {
        unsafe { dyn_handle::borrow(self.raw.handle) }
    }

    /// As `handle_ref`.
    pub fn other_ref<T: Send + Sync + 'static>(&self) -> Result<&'a T, Failure> {
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

    /// `args` where they are no MessagePack but a layout of the entry's own.
    pub fn raw_args(&self) -> &'a [u8] {
        self.slice(self.raw.args)
    }

    /// The payload as words for the entry to write, from the word at `offset` on.
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
        // SAFETY: the caller of the entry keeps the bytes valid and unchanged until the entry returns.
        unsafe { std::slice::from_raw_parts(slice.data, slice.len) }
    }
}

/// Words of the caller's that an entry writes. The caller lends them for the length of the call.
#[derive(Clone, Copy)]
pub struct Out<'a> {
    words: *mut u32,
    len: usize,
    call: std::marker::PhantomData<&'a dyn_call>,
}

impl Out<'_> {
    /// Fails where fewer than `count` words can be written.
    pub fn check(&self, count: usize) -> Result<(), Failure> {
        if count > self.len {
            return Err(Failure::invalid(format!("out: expected room for {count} words, got {}", self.len)));
        }
        Ok(())
    }

    /// Writes one word; one that has no room is dropped.
    pub fn put(&self, index: usize, word: u32) {
        if index < self.len {
            // SAFETY: within the payload, which the caller lends for the call and nobody else touches meanwhile.
            unsafe { self.words.add(index).write_unaligned(word) };
        }
    }

    /// Writes words from the one at `from` on; those that have no room are dropped.
    pub fn put_all(&self, from: usize, words: impl Iterator<Item = u32>) {
        for (index, word) in words.take(self.len.saturating_sub(from)).enumerate() {
            // SAFETY: as for `put`.
            unsafe { self.words.add(from + index).write_unaligned(word) };
        }
    }

    /// Writes two words as one number, the `index`th of such; one that has no room is dropped.
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
pub unsafe fn reply(call: *const dyn_call, body: impl FnOnce(&Call) -> Result<Reply, Failure>) -> dyn_reply {
    let call = unsafe { Call::new(call) };
    guarded(|| body(&call)).into()
}

/// As `reply`, for an entry that gives nothing but a number and is called very often.
pub unsafe fn reply_number(call: *const dyn_call, body: impl FnOnce(&Call) -> Result<u64, Failure>) -> dyn_reply {
    let call = unsafe { Call::new(call) };
    match guarded(|| body(&call)) {
        Ok(number) => {
            dyn_reply { failed: 0, number, bytes: dyn_bytes::none(), handles: std::ptr::null_mut(), handle_count: 0 }
        }
        Err(failure) => Err(failure).into(),
    }
}
