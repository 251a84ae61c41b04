//! The publishers of an engine in the host language, for KV cache events and load snapshots. The crates provide them
//! when a worker starts.

use std::collections::HashMap;
use std::sync::Arc;

use dynamo_backend_common::{KvEventPublisher, SnapshotPublisher};
use parking_lot::Mutex;

#[derive(Default)]
pub struct Publishers {
    kv: Mutex<HashMap<u32, Arc<KvEventPublisher>>>,
    snapshots: Mutex<Option<Arc<SnapshotPublisher>>>,
    metrics_text: Mutex<String>,
}

impl Publishers {
    pub fn set_kv(&self, dp_rank: u32, publisher: Arc<KvEventPublisher>) {
        self.kv.lock().insert(dp_rank, publisher);
    }

    pub fn set_snapshots(&self, publisher: Arc<SnapshotPublisher>) {
        *self.snapshots.lock() = Some(publisher);
    }

    pub fn kv(&self, dp_rank: u32) -> Option<Arc<KvEventPublisher>> {
        self.kv.lock().get(&dp_rank).cloned()
    }

    pub fn snapshots(&self) -> Option<Arc<SnapshotPublisher>> {
        self.snapshots.lock().clone()
    }

    pub fn set_metrics_text(&self, text: &str) {
        *self.metrics_text.lock() = text.to_string();
    }

    pub fn metrics_text(&self) -> String {
        self.metrics_text.lock().clone()
    }

    /// Ends the publishers together with their worker, even if there still is a handle of the worker.
    pub fn clear(&self) {
        self.kv.lock().clear();
        *self.snapshots.lock() = None;
        self.metrics_text.lock().clear();
    }
}
