//! What an engine in the host language publishes: KV cache events and load snapshots, through publishers that the crates
//! hand over when a worker starts.

use std::collections::HashMap;
use std::sync::Arc;

use dynamo_backend_common::{ComponentSnapshot, KvEventPublisher, SnapshotPublisher};
use dynamo_kv_router::protocols::KvCacheEvent;
use parking_lot::Mutex;
use serde::Deserialize;

use super::worker::HostWorker;
use crate::abi::{Call, Failure, Reply, dyn_call, dyn_reply, reply};

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

    pub fn metrics_text(&self) -> String {
        self.metrics_text.lock().clone()
    }

    /// Lets the publishers end with their worker, whoever still holds its handle.
    pub fn clear(&self) {
        self.kv.lock().clear();
        *self.snapshots.lock() = None;
        self.metrics_text.lock().clear();
    }
}

/// The engine's own metrics from now on: the payload is Prometheus text in UTF-8, which every scrape shows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_worker_metrics_text(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call: &Call| {
            let worker = call.handle::<HostWorker>()?;
            let text = std::str::from_utf8(call.payload())
                .map_err(|error| Failure::invalid(format!("text: expected UTF-8: {error}")))?;
            *worker.publishers.metrics_text.lock() = text.to_string();
            Ok(Reply::unit())
        })
    }
}

/// Publishes KV cache events of one rank, in order. `payload`: a MessagePack array of `KvCacheEvent`s in the crates' own
/// field names. Number 0, or 1 where the rank has no publisher (yet): KV routing is off, or the worker has not started.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_worker_publish_kv(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call: &Call| {
            let worker = call.handle::<HostWorker>()?;
            let events: Vec<KvCacheEvent> =
                rmp_serde::from_slice(call.payload()).map_err(|error| Failure::invalid(format!("events: {error}")))?;
            let Some(publisher) = worker.publishers.kv.lock().get(&(call.a() as u32)).cloned() else {
                return Ok(Reply::number(1));
            };
            for event in events {
                publisher.publish(event).map_err(|_| Failure::closed("the KV event publisher"))?;
            }
            Ok(Reply::number(0))
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SnapshotArgs {
    #[serde(default)]
    dp_rank: u32,
    kv_used_blocks: u64,
    kv_total_blocks: u64,
    gpu_cache_usage: Option<f32>,
    kv_cache_hit_rate: Option<f32>,
}

/// Publishes one rank's load. `args`: `{dpRank, kvUsedBlocks, kvTotalBlocks, gpuCacheUsage, kvCacheHitRate}`. Number as
/// for `dyn_worker_publish_kv`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_worker_publish_load(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call: &Call| {
            let worker = call.handle::<HostWorker>()?;
            let args = call.args::<SnapshotArgs>()?;
            let Some(publisher) = worker.publishers.snapshots.lock().clone() else { return Ok(Reply::number(1)) };
            let usage = match args.kv_total_blocks {
                0 => 0.0,
                total => args.kv_used_blocks as f32 / total as f32,
            };
            publisher.publish(
                args.dp_rank,
                ComponentSnapshot {
                    kv_used_blocks: args.kv_used_blocks,
                    kv_total_blocks: args.kv_total_blocks,
                    gpu_cache_usage: args.gpu_cache_usage.unwrap_or(usage),
                    kv_cache_hit_rate: args.kv_cache_hit_rate,
                    dp_rank: args.dp_rank,
                },
            );
            Ok(Reply::number(0))
        })
    }
}
