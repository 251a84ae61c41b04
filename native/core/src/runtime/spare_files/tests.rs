use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::*};

use bytes::Bytes;
use dynamo_runtime::engine::async_trait;
use dynamo_runtime::pipeline::PipelineError;
use dynamo_runtime::pipeline::network::PushWorkHandler;

use super::{Persistent, WAITS, request_was_read};

/// Fails with `error` in the first `failures` calls. Then it reads the request.
struct Scarce {
    error: &'static str,
    failures: usize,
    calls: AtomicUsize,
}

impl Scarce {
    fn new(error: &'static str, failures: usize) -> Arc<Self> {
        Arc::new(Self { error, failures, calls: AtomicUsize::new(0) })
    }

    fn calls(&self) -> usize {
        self.calls.load(Acquire)
    }
}

#[async_trait]
impl PushWorkHandler for Scarce {
    async fn handle_payload(&self, _: Bytes, _: Option<String>) -> Result<(), PipelineError> {
        if self.calls.fetch_add(1, AcqRel) < self.failures {
            return Err(PipelineError::Generic(self.error.into()));
        }
        request_was_read();
        Ok(())
    }

    fn add_metrics(&self, _: &dynamo_runtime::component::Endpoint, _: Option<&[(&str, &str)]>) -> anyhow::Result<()> {
        Ok(())
    }
}

const NO_ANSWER: &str = "Failed to create response stream: Too many open files (os error 24)";
const NO_REQUEST: &str = "Failed to create request stream: Too many open files in system (os error 23)";

/// How often the handler and the refusal were called for one request, and whether it succeeded.
async fn outcome(handler: Arc<Scarce>, refusal: Arc<Scarce>, is_bidirectional: bool) -> (usize, usize, bool) {
    let persistent = Persistent::new(handler.clone(), refusal.clone(), is_bidirectional).await;
    let result = persistent.handle_payload(Bytes::from_static(b"request"), None).await;
    (handler.calls(), refusal.calls(), result.is_ok())
}

#[tokio::test]
async fn serves_a_request_for_which_a_descriptor_becomes_free() {
    for (error, is_bidirectional) in [(NO_ANSWER, false), (NO_REQUEST, true)] {
        let handler = Scarce::new(error, WAITS.len());
        assert_eq!(outcome(handler, Scarce::new("", 0), is_bidirectional).await, (WAITS.len() + 1, 0, true));
    }
}

#[tokio::test]
async fn refuses_a_request_until_the_refusal_has_a_descriptor() {
    let outcome = outcome(Scarce::new(NO_ANSWER, usize::MAX), Scarce::new(NO_ANSWER, 7), false).await;
    assert_eq!(outcome, (WAITS.len() + 1, 8, true));
}

#[tokio::test]
async fn does_not_try_a_bidirectional_request_again_whose_items_have_a_connection() {
    let outcome = outcome(Scarce::new(NO_ANSWER, usize::MAX), Scarce::new("", 0), true).await;
    assert_eq!(outcome, (1, 1, true));
}

#[tokio::test]
async fn passes_other_errors_on() {
    let outcome = outcome(Scarce::new("Failed to create response stream: refused", 1), Scarce::new("", 0), false).await;
    assert_eq!(outcome, (1, 0, false));
}
