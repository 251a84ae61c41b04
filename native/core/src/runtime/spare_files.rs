//! Requests to a process without free file descriptors.
//!
//! The worker opens connections to the caller of each request. If it cannot, the crates drop the request, and its
//! caller waits forever. Here the request is tried again for a short time. Then descriptors that were kept for it are
//! released, and the request is refused over a connection in their place.
//!
//! Source: dynamo-runtime `pipeline/network/ingress/push_handler.rs`.

use std::cell::RefCell;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dynamo_runtime::component::Endpoint;
use dynamo_runtime::engine::async_trait;
use dynamo_runtime::pipeline::PipelineError;
use dynamo_runtime::pipeline::network::PushWorkHandler;
use tokio::sync::{Mutex, Notify};
use tokio::time::sleep;

/// How long the attempts wait for a descriptor.
const WAITS: [Duration; 3] = [Duration::from_millis(10), Duration::from_millis(100), Duration::from_millis(400)];

/// A bidirectional request has two connections.
const SPARE: usize = 2;
/// How often the spare descriptors are opened again after a refusal, whose connections end in the background.
const REOPENS: usize = 200;
const REOPEN_WAIT: Duration = Duration::from_millis(5);
/// How long a refusal waits whose descriptors were taken by another part of the process.
const REFUSAL_WAIT: Duration = Duration::from_millis(50);

/// Kept open for refusals. Only one of them uses the descriptors at a time.
static KEPT: Mutex<Vec<File>> = Mutex::const_new(Vec::new());

tokio::task_local! {
    /// The payload of a request until the handler has it. Only such a request may be tried again.
    static UNREAD: RefCell<Option<Bytes>>;
}

/// The handler has the request that the current task brings.
pub fn request_was_read() {
    let _ = UNREAD.try_with(RefCell::take);
}

/// Whether the current task brings a request that is tried again here.
pub fn has_request() -> bool {
    UNREAD.try_with(|_| ()).is_ok()
}

fn unread() -> Option<Bytes> {
    UNREAD.with(|payload| payload.borrow().clone())
}

/// Why a request has no connection to its caller.
#[derive(Clone, Copy, PartialEq)]
enum Lack {
    /// It has none at all, so it may be tried again.
    First,
    /// The items of the caller have a connection, which the failure has closed. A second one would get none of them.
    Answer,
}

impl Lack {
    /// The crates' error only has words.
    fn of(error: &PipelineError, is_bidirectional: bool) -> Option<Self> {
        let text = error.to_string();
        if !["(os error 24)", "(os error 23)"].iter().any(|code| text.contains(code)) {
            return None;
        }
        let [request, answer] = ["request", "response"].map(|kind| text.contains(&format!("create {kind} stream")));
        match (request, answer) {
            (true, _) => Some(Self::First),
            (false, true) => Some(if is_bidirectional { Self::Answer } else { Self::First }),
            (false, false) => None,
        }
    }
}

fn open_spare(kept: &mut Vec<File>) -> bool {
    while kept.len() < SPARE {
        match File::open("/dev/null") {
            Ok(file) => kept.push(file),
            Err(_) => return false,
        }
    }
    true
}

pub struct Persistent {
    handler: Arc<dyn PushWorkHandler>,
    /// Refuses every request.
    refusal: Arc<dyn PushWorkHandler>,
    is_bidirectional: bool,
}

impl Persistent {
    pub async fn new(
        handler: Arc<dyn PushWorkHandler>,
        refusal: Arc<dyn PushWorkHandler>,
        is_bidirectional: bool,
    ) -> Arc<Self> {
        open_spare(&mut *KEPT.lock().await);
        Arc::new(Self { handler, refusal, is_bidirectional })
    }

    fn lack(&self, result: &Result<(), PipelineError>) -> Option<Lack> {
        result.as_ref().err().and_then(|error| Lack::of(error, self.is_bidirectional))
    }

    async fn attempts(&self, request_id: Option<String>) -> Result<(), PipelineError> {
        let mut waits = WAITS.into_iter();
        loop {
            let Some(payload) = unread() else { return Ok(()) };
            let result = self.handler.handle_payload(payload, request_id.clone()).await;
            let (Some(payload), Some(lack)) = (unread(), self.lack(&result)) else { return result };
            match waits.next().filter(|_| lack == Lack::First) {
                Some(wait) => sleep(wait).await,
                None => return self.refuse(payload, request_id).await,
            }
        }
    }

    /// Returns when the caller has the refusal. Until then the request is one of those that the worker runs.
    async fn refuse(&self, payload: Bytes, request_id: Option<String>) -> Result<(), PipelineError> {
        loop {
            let mut kept = KEPT.lock().await;
            kept.clear();
            let result = self.refusal.handle_payload(payload.clone(), request_id.clone()).await;
            for _ in 0..REOPENS {
                if open_spare(&mut kept) {
                    break;
                }
                sleep(REOPEN_WAIT).await;
            }
            // Whatever else opens files in this process may have been faster.
            if self.lack(&result).is_none() {
                return result;
            }
            drop(kept);
            sleep(REFUSAL_WAIT).await;
        }
    }
}

#[async_trait]
impl PushWorkHandler for Persistent {
    fn bind_endpoint(&self, endpoint: &Endpoint) {
        self.handler.bind_endpoint(endpoint);
        self.refusal.bind_endpoint(endpoint);
    }

    fn add_metrics(&self, endpoint: &Endpoint, labels: Option<&[(&str, &str)]>) -> anyhow::Result<()> {
        self.handler.add_metrics(endpoint, labels)
    }

    fn set_endpoint_health_check_notifier(&self, notifier: Arc<Notify>) -> anyhow::Result<()> {
        self.handler.set_endpoint_health_check_notifier(notifier)
    }

    async fn handle_payload(&self, payload: Bytes, request_id: Option<String>) -> Result<(), PipelineError> {
        UNREAD.scope(RefCell::new(Some(payload)), self.attempts(request_id)).await
    }
}

#[cfg(test)]
mod tests;
