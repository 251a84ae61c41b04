//! Whether a caller stopped or disconnected. Upstream's context only keeps its last state, so a `stop` after a `kill`
//! hides the kill. A linked child is notified of each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::*};

use async_trait::async_trait;
use dynamo_runtime::engine::AsyncEngineContext;

/// A child context that only records. A parent notifies its children before it changes its own state. So code that sees
/// the change of the parent also finds it here.
#[derive(Debug, Default)]
pub struct CallerState {
    stopped: AtomicBool,
    killed: AtomicBool,
}

impl CallerState {
    pub fn of(context: &Arc<dyn AsyncEngineContext>) -> Arc<Self> {
        let state = Arc::new(Self::default());
        context.link_child(state.clone());
        state.killed.fetch_or(context.is_killed(), AcqRel);
        state
    }

    /// The caller has disconnected. A caller that only stopped still reads the answer.
    pub fn is_killed(&self) -> bool {
        self.killed.load(Acquire)
    }
}

#[async_trait]
impl AsyncEngineContext for CallerState {
    fn id(&self) -> &str {
        ""
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Acquire) || self.is_killed()
    }

    fn is_killed(&self) -> bool {
        CallerState::is_killed(self)
    }

    async fn stopped(&self) {
        std::future::pending().await
    }

    async fn killed(&self) {
        std::future::pending().await
    }

    /// Upstream calls this if the caller no longer responds. A stop that the caller sent arrives as `stop`.
    fn stop_generating(&self) {
        if !self.stopped.load(Acquire) {
            self.killed.store(true, Release);
        }
    }

    fn stop(&self) {
        self.stopped.store(true, Release);
    }

    fn kill(&self) {
        self.killed.store(true, Release);
    }

    fn link_child(&self, _: Arc<dyn AsyncEngineContext>) {}
}

#[cfg(test)]
mod tests;
