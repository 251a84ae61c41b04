//! One generation of an engine in the host language, with the end that the traits require.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use dynamo_backend_common::AsyncEngineContext;
use futures::StreamExt;
use tokio::sync::Notify;

use crate::abi::Failure;
use crate::inbox::Answer;
use crate::sink::Sent;

/// How long the engine may take to end a stopped request. After that the request ends without the engine. The crates'
/// conformance kit allows two seconds in total.
const STOP_GRACE: Duration = Duration::from_millis(1000);

/// The generations in flight. `cleanup` waits for the last of them.
#[derive(Default)]
pub struct Running {
    count: AtomicUsize,
    idle: Notify,
}

struct RunningGuard(Arc<Running>);

impl RunningGuard {
    fn new(running: &Arc<Running>) -> Self {
        running.count.fetch_add(1, SeqCst);
        Self(Arc::clone(running))
    }
}

impl Drop for RunningGuard {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, SeqCst) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

impl Running {
    pub async fn idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.count.load(SeqCst) == 0 {
                return;
            }
            idle.await;
        }
    }
}

/// The items of one generation. After a stop there is always a terminal item, as the traits require.
pub struct Generation {
    answer: Answer,
    context: Arc<dyn AsyncEngineContext>,
    /// The deadline after a stop.
    overdue: Option<Pin<Box<tokio::time::Sleep>>>,
    _running: RunningGuard,
}

pub enum Next {
    Item(Bytes),
    Failed(Failure),
    Ended,
    /// The request was stopped, and the engine did not end in time.
    Overdue,
}

impl From<Option<Sent>> for Next {
    fn from(sent: Option<Sent>) -> Self {
        match sent {
            Some(Sent::Data(framed) | Sent::Annotated(framed)) => Next::Item(framed.item()),
            Some(Sent::Failed(failure)) => Next::Failed(failure),
            Some(Sent::Ended) | None => Next::Ended,
        }
    }
}

impl Generation {
    pub fn new(answer: Answer, context: Arc<dyn AsyncEngineContext>, running: &Arc<Running>) -> Self {
        Self { answer, context, overdue: None, _running: RunningGuard::new(running) }
    }

    pub async fn next(&mut self) -> Next {
        if self.overdue.is_none() && !self.stopped() {
            tokio::select! {
                biased;
                sent = self.answer.next() => return Next::from(sent),
                () = self.context.stopped() => {}
            }
        }
        let overdue = self.overdue.get_or_insert_with(|| Box::pin(tokio::time::sleep(STOP_GRACE)));
        tokio::select! {
            biased;
            () = overdue => Next::Overdue,
            sent = self.answer.next() => Next::from(sent),
        }
    }

    pub fn stopped(&self) -> bool {
        self.context.is_stopped() || self.context.is_killed()
    }
}
