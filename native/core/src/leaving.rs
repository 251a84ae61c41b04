//! How a caller left. Upstream's context keeps its last state alone, in which a `stop` behind a `kill` hides it; a linked
//! child is told of each as it happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::*};

use async_trait::async_trait;
use dynamo_runtime::engine::AsyncEngineContext;

/// A child that only remembers. Its parent calls it before it changes itself, so that whoever sees the change finds it here.
#[derive(Debug, Default)]
pub struct Leaving {
    stopped: AtomicBool,
    killed: AtomicBool,
}

impl Leaving {
    pub fn of(context: &Arc<dyn AsyncEngineContext>) -> Arc<Self> {
        let leaving = Arc::new(Self::default());
        context.link_child(leaving.clone());
        leaving.killed.fetch_or(context.is_killed(), AcqRel);
        leaving
    }

    /// The caller is gone, and not merely wants no more.
    pub fn is_killed(&self) -> bool {
        self.killed.load(Acquire)
    }
}

#[async_trait]
impl AsyncEngineContext for Leaving {
    fn id(&self) -> &str {
        ""
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Acquire) || self.is_killed()
    }

    fn is_killed(&self) -> bool {
        Leaving::is_killed(self)
    }

    async fn stopped(&self) {
        std::future::pending().await
    }

    async fn killed(&self) {
        std::future::pending().await
    }

    /// Upstream's own word for a caller that answers no more: the wire's stop comes as `stop`.
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
