//! A long-running task of the crates. One entry starts it, another waits for it, and a third ends it.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use dynamo_runtime::DistributedRuntime;
use dynamo_runtime::discovery::{DiscoveryEvent, DiscoveryInstance, DiscoveryQuery};
use dynamo_runtime::protocols::EndpointId;
use futures::{FutureExt, StreamExt};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use crate::abi::Failure;

type Outcome = Option<Result<(), Failure>>;

pub struct Task {
    outcome: watch::Receiver<Outcome>,
    abort: AbortHandle,
}

impl Task {
    /// Must be called on the tokio runtime.
    pub fn spawn(work: impl Future<Output = Result<(), Failure>> + Send + 'static) -> Self {
        let (report, outcome) = watch::channel(None);
        let task = tokio::spawn(async move {
            let ended = AssertUnwindSafe(work).catch_unwind().await;
            let ended = ended.unwrap_or_else(|panic| Err(Failure::panic(panic)));
            let _ = report.send(Some(ended));
        });
        Self { outcome, abort: task.abort_handle() }
    }

    /// Waits for the result of the task. An aborted task is a success, because only its owner aborts it.
    pub async fn ended(&self) -> Result<(), Failure> {
        let mut outcome = self.outcome.clone();
        match outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Ok(())),
            Err(_) => Ok(()),
        }
    }

    pub fn is_over(&self) -> bool {
        self.outcome.borrow().is_some() || self.outcome.has_changed().is_err()
    }

    /// Waits for the end. After the limit, if there is one, the task is aborted.
    pub async fn end_within(&self, limit: Option<Duration>) -> Result<(), Failure> {
        let Some(limit) = limit else { return self.ended().await };
        match tokio::time::timeout(limit, self.ended()).await {
            Ok(ended) => ended,
            Err(_) => {
                self.abort.abort();
                self.ended().await
            }
        }
    }
}

/// Returns a future that completes when discovery lists this runtime's instance of an endpoint.
pub async fn listed(
    drt: &DistributedRuntime,
    id: EndpointId,
) -> Result<impl Future<Output = ()> + Send + use<>, Failure> {
    let instance = drt.connection_id();
    let query = DiscoveryQuery::Endpoint { namespace: id.namespace, component: id.component, endpoint: id.name };
    let token = CancellationToken::new();
    let guard = token.clone().drop_guard();
    let mut events = drt.discovery().list_and_watch(query, Some(token)).await?;
    Ok(async move {
        let _until_dropped = guard;
        while let Some(event) = events.next().await {
            if let Ok(DiscoveryEvent::Added(DiscoveryInstance::Endpoint(added))) = event
                && added.instance_id == instance
            {
                return;
            }
        }
        std::future::pending().await
    })
}
