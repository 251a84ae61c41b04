//! The C ABI: every entry takes one `dyn_call` and either returns a `dyn_reply` (synchronous) or completes its `op` once
//! (asynchronous). A panic never crosses: it becomes a failure of class `Internal`.

#![allow(non_camel_case_types)]

mod call;
mod failure;
mod handle;
mod op;

pub use call::{Call, Out, Reply, dyn_bytes, dyn_call, dyn_reply, dyn_slice, reply, reply_number};
pub use failure::Failure;
pub use handle::{Handle, dyn_handle};
pub use op::{Parked, op, op_here_if, park};
