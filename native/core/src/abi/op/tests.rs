use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use super::{Parked, dyn_op_cancel, dyn_scope_close, op, park};
use crate::abi::call::{Reply, dyn_bytes_free, dyn_call, dyn_reply, dyn_slice};
use crate::failure::Failure;

static NEXT: AtomicU64 = AtomicU64::new(1 << 40);

/// `Ok` with the number of a reply, or `Err` with the class of its failure.
type Outcome = Result<u64, String>;

unsafe extern "C" fn done(user: *mut c_void, reply: dyn_reply) {
    // SAFETY: `user` is the sender that `call` boxed.
    let sender = unsafe { Box::from_raw(user.cast::<Sender<Outcome>>()) };
    let outcome = match reply.failed {
        0 => Ok(reply.number),
        _ => {
            // SAFETY: a failure always has bytes.
            let bytes = unsafe { std::slice::from_raw_parts(reply.bytes.data, reply.bytes.len) };
            Err(rmp_serde::from_slice::<Failure>(bytes).unwrap().class)
        }
    };
    // SAFETY: freed once.
    unsafe { dyn_bytes_free(reply.bytes) };
    sender.send(outcome).unwrap();
}

fn call(scope: u64) -> (dyn_call, Receiver<Outcome>) {
    let (sender, receiver) = channel();
    let nothing = dyn_slice { data: std::ptr::null(), len: 0 };
    let call = dyn_call {
        handle: std::ptr::null(),
        other: std::ptr::null(),
        args: nothing,
        payload: nothing,
        a: 0,
        b: 0,
        op: NEXT.fetch_add(1, Ordering::Relaxed),
        scope,
        done: Some(done),
        user: Box::into_raw(Box::new(sender)).cast(),
    };
    (call, receiver)
}

fn parked(scope: u64) -> (Arc<Parked>, u64, Receiver<Outcome>) {
    let (call, receiver) = call(scope);
    let mut kept = None;
    park(&call, |_, parked| {
        kept = Some(parked);
        Ok(())
    });
    (kept.unwrap(), call.op, receiver)
}

#[test]
fn completes_a_parked_op_once() {
    let (parked, _, outcome) = parked(0);
    assert!(outcome.try_recv().is_err());
    parked.take().unwrap().complete(Ok(Reply::number(7)));
    assert_eq!(outcome.recv().unwrap(), Ok(7));
    assert!(parked.take().is_none());
}

#[test]
fn completes_a_cancelled_op_as_cancelled() {
    let (parked, op, outcome) = parked(0);
    dyn_op_cancel(op);
    assert_eq!(outcome.recv().unwrap(), Err("Cancelled".into()));
    assert!(parked.take().is_none());
    dyn_op_cancel(op);
}

#[test]
fn completes_an_op_whose_body_fails() {
    let (call, outcome) = call(0);
    park(&call, |_, _| Err(Failure::invalid("wrong")));
    assert_eq!(outcome.recv().unwrap(), Err("BadArgument".into()));
}

#[test]
fn cancels_the_ops_of_a_scope_and_no_others() {
    let scope = NEXT.fetch_add(1, Ordering::Relaxed);
    let (_inside, _, first) = parked(scope);
    let (outside, _, second) = parked(0);
    dyn_scope_close(scope);
    assert_eq!(first.recv().unwrap(), Err("Cancelled".into()));
    assert!(second.try_recv().is_err());
    outside.take().unwrap().complete(Ok(Reply::number(1)));
    assert_eq!(second.recv().unwrap(), Ok(1));
}

#[test]
fn runs_the_future_of_an_op() {
    let (call, outcome) = call(0);
    op(&call, |_| Ok(async { Ok(Reply::number(7)) }));
    assert_eq!(outcome.recv().unwrap(), Ok(7));
}

#[test]
fn completes_an_op_whose_future_panics() {
    let (call, outcome) = call(0);
    op(&call, |_| Ok(async { panic!("on purpose") }));
    assert_eq!(outcome.recv().unwrap(), Err("Internal".into()));
}
