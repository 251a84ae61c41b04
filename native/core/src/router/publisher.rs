//! Publishers of cache events and of load, for an endpoint of a runtime.

use std::sync::Arc;

use dynamo_kv_router::protocols::KvCacheEvent;
use dynamo_llm::kv_router::publisher::{KvEventPublisher, KvEventSourceConfig, WorkerMetricsPublisher};
use dynamo_runtime::protocols::EndpointId;
use parking_lot::Mutex;
use serde::Deserialize;

use super::words::decode_events;
use crate::abi::{Call, Failure, Handle, Reply, dyn_call, dyn_reply, op, reply};
use crate::runtime::EndpointRef;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ZmqArgs {
    endpoint: String,
    #[serde(default)]
    topic: String,
    image_token_id: Option<u32>,
    video_token_id: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PublisherArgs {
    block_size: u32,
    #[serde(default)]
    dp_rank: u32,
    #[serde(default)]
    local_indexer: bool,
    batching_ms: Option<u64>,
    worker_id: Option<u64>,
    /// `namespace.component.endpoint`.
    kv_state_endpoint: Option<String>,
    /// The engine's own publisher. Its events are forwarded.
    zmq: Option<ZmqArgs>,
}

/// A publisher of the cache events of one rank. It leaves discovery when it is closed.
pub struct Publisher {
    publisher: Mutex<Option<KvEventPublisher>>,
    dp_rank: u32,
    _endpoint: Arc<EndpointRef>,
}

impl Publisher {
    fn close(&self) {
        let publisher = self.publisher.lock().take();
        let _enter = crate::process::enter();
        drop(publisher);
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.close();
    }
}

/// `args`: `PublisherArgs`. The handle is an endpoint. Returns a `Publisher`.
/// Takes: handle endpoint, args bytes. Returns: handle kvPublisher.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_kv_publisher_create(call: &dyn_call) {
    op(call, |call: &Call| {
        let endpoint = call.handle::<EndpointRef>()?;
        let args = call.args::<PublisherArgs>()?;
        Ok(async move {
            let target = endpoint.endpoint.clone();
            let state = args.kv_state_endpoint.as_deref().map_or_else(|| target.id(), EndpointId::from);
            let source = args.zmq.map(|zmq| KvEventSourceConfig::Zmq {
                endpoint: zmq.endpoint,
                topic: zmq.topic,
                image_token_id: zmq.image_token_id,
                video_token_id: zmq.video_token_id,
            });
            let publisher = KvEventPublisher::new_with_local_indexer_and_worker_id_at(
                target,
                state,
                args.worker_id,
                args.block_size,
                source,
                args.local_indexer,
                args.dp_rank,
                args.batching_ms,
            )?;
            let publisher = Mutex::new(Some(publisher));
            Ok(Reply::handle(Handle::new(Arc::new(Publisher {
                publisher,
                dp_rank: args.dp_rank,
                _endpoint: endpoint,
            }))))
        })
    })
}

/// Publishes the events of the payload (words) in order as one batch. Their worker and rank are those of the publisher.
/// Takes: handle kvPublisher, payload bytes. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_kv_publisher_publish(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let this = call.handle::<Publisher>()?;
        let decoded = decode_events(call.payload())?;
        let publisher = this.publisher.lock();
        let publisher = publisher.as_ref().ok_or_else(|| Failure::closed("the KV publisher"))?;
        let events = decoded
            .into_iter()
            .map(|one| {
                let event_id = one.id.unwrap_or_else(|| publisher.next_event_id());
                (KvCacheEvent { event_id, dp_rank: this.dp_rank, ..one.event }, one.tier)
            })
            .collect();
        publisher.publish_batch_with_storage_tiers(events).map_err(|_| Failure::closed("the KV publisher"))?;
        Ok(Reply::unit())
    })
}

/// Leaves discovery. Idempotent.
/// Takes: handle kvPublisher. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_kv_publisher_close(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        call.handle::<Publisher>()?.close();
        Ok(Reply::unit())
    })
}

/// A publisher of the load of the worker of an endpoint.
pub struct LoadPublisher(Mutex<Option<WorkerMetricsPublisher>>);

/// The handle is an endpoint. Returns a `LoadPublisher`.
/// Takes: handle endpoint. Returns: handle loadPublisher.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_load_publisher_create(call: &dyn_call) {
    op(call, |call: &Call| {
        let endpoint = call.handle::<EndpointRef>()?;
        Ok(async move {
            let publisher = WorkerMetricsPublisher::new()?;
            publisher.create_endpoint(endpoint.endpoint.clone()).await?;
            Ok(Reply::handle(Handle::new(Arc::new(LoadPublisher(Mutex::new(Some(publisher)))))))
        })
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LoadArgs {
    dp_rank: Option<u32>,
    active_decode_blocks: Option<u64>,
    kv_used_blocks: Option<u64>,
}

/// Publishes the load. `args`: `{dpRank, activeDecodeBlocks, kvUsedBlocks}`, with at least one of the two loads.
/// Takes: handle loadPublisher, args bytes. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_load_publisher_publish(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let this = call.handle::<LoadPublisher>()?;
        let args = call.args::<LoadArgs>()?;
        let publisher = this.0.lock();
        let publisher = publisher.as_ref().ok_or_else(|| Failure::closed("the load publisher"))?;
        publisher.publish(args.dp_rank, args.active_decode_blocks, args.kv_used_blocks)?;
        Ok(Reply::unit())
    })
}

/// Ends the publisher. Idempotent.
/// Takes: handle loadPublisher. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_load_publisher_close(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        drop(call.handle::<LoadPublisher>()?.0.lock().take());
        Ok(Reply::unit())
    })
}
