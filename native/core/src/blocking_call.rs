//! Calls to the host that block a thread of the crates until the answer or a deadline.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::Stream;
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::abi::Failure;
use crate::inbox::{Answer, Inbox, Request};
use crate::sink::Sent;

pub enum Outcome {
    Answered(Bytes),
    TimedOut,
    Failed(Failure),
}

/// Blocks the calling thread until the answer, at most for `limit`. After that the call is cancelled, and the host is
/// notified.
pub fn blocking_call(inbox: &Arc<Inbox>, request: Request, limit: Duration) -> Outcome {
    let deadline = Instant::now() + limit;
    let answer = match inbox.send(request) {
        Ok(answer) => answer,
        Err(failure) => return Outcome::Failed(failure),
    };
    // A worker thread of tokio first hands over its other tasks. The task that carries this call to the host may be one
    // of them.
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(|| wait(answer, deadline)),
        _ => wait(answer, deadline),
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn wait(mut answer: Answer, deadline: Instant) -> Outcome {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match std::pin::Pin::new(&mut answer).poll_next(&mut context) {
            Poll::Ready(Some(Sent::Data(framed) | Sent::Annotated(framed))) => return Outcome::Answered(framed.item()),
            Poll::Ready(Some(Sent::Failed(failure))) => return Outcome::Failed(failure),
            Poll::Ready(Some(Sent::Ended) | None) => {
                return Outcome::Failed(Failure::internal("the host ended the call without an answer"));
            }
            Poll::Pending => {}
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Outcome::TimedOut;
        }
        std::thread::park_timeout(left);
    }
}
