//! Questions to the host that a thread of the crates waits on, at most so long.

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

pub enum Answered {
    InTime(Bytes),
    Late,
    Failed(Failure),
}

/// Waits on the calling thread. An answer given up on tells the host that nobody reads it.
pub fn ask(inbox: &Arc<Inbox>, request: Request, limit: Duration) -> Answered {
    let deadline = Instant::now() + limit;
    let answer = match inbox.send(request) {
        Ok(answer) => answer,
        Err(failure) => return Answered::Failed(failure),
    };
    // A thread of tokio's hands its other tasks on first, those that carry the question to the host among them.
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

fn wait(mut answer: Answer, deadline: Instant) -> Answered {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match std::pin::Pin::new(&mut answer).poll_next(&mut context) {
            Poll::Ready(Some(Sent::Data(framed) | Sent::Annotated(framed))) => return Answered::InTime(framed.item()),
            Poll::Ready(Some(Sent::Failed(failure))) => return Answered::Failed(failure),
            Poll::Ready(Some(Sent::Ended) | None) => {
                return Answered::Failed(Failure::internal("an end without an answer"));
            }
            Poll::Pending => {}
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Answered::Late;
        }
        std::thread::park_timeout(left);
    }
}
