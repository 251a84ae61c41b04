//! The C ABI. Every entry takes one `dyn_call`. A synchronous entry returns a `dyn_reply`, an asynchronous one
//! completes its `op` once. A panic never crosses the boundary: it becomes a failure of class `Internal`.

#![allow(non_camel_case_types)]

mod call;
mod handle;
mod op;

pub use crate::failure::Failure;
pub use call::{Call, Out, Reply, dyn_call, dyn_reply, reply, reply_number};
pub use handle::Handle;
pub use op::{Parked, op, op_here_if, park};
