//! A worker with an engine in the host language. The `Worker` of dynamo-backend-common drives it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dynamo_backend_common::{ComponentSnapshot, DisaggregationMode, Worker, WorkerConfig};
use dynamo_kv_router::protocols::KvCacheEvent;
use dynamo_llm::local_model::LocalModel;
use dynamo_runtime::component::Endpoint;
use dynamo_runtime::protocols::EndpointId;
use dynamo_runtime::traits::DistributedRuntimeProvider;
use serde::Deserialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::config::model_input;
use super::copies::{SETTLED, share_path};
use super::engine::{HostEngine, HostRawEngine};
use super::publish::Publishers;
use super::registration::EngineTraits;
use super::task::{Task, listed};
use crate::abi::{Call, Failure, Handle, Reply, dyn_call, dyn_reply, op, reply};
use crate::args::{parse, read, read_over_defaults};
use crate::inbox::{Inbox, QueueLimits};
use crate::runtime::EndpointRef;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WorkerArgs {
    engine: EngineTraits,
    /// Requests and answers are the JSON of the frontend, not tokens.
    #[serde(default)]
    raw: bool,
    /// A directory, or a name on the model hub. If it is empty, only the name is registered.
    #[serde(default)]
    model_path: String,
    model_name: Option<String>,
    model_input: Option<String>,
    model_types: Option<Vec<String>>,
    worker_type: Option<String>,
    route_to_encoder: Option<bool>,
    chat_template: Option<PathBuf>,
    tool_call_parser: Option<String>,
    reasoning_parser: Option<String>,
    default_thinking_mode: Option<String>,
    exclude_tools_when_tool_choice_none: Option<bool>,
    local_indexer: Option<bool>,
    kv_routing: Option<bool>,
    /// `namespace.component.endpoint`.
    kv_state_endpoint: Option<String>,
    #[serde(default)]
    metrics_labels: Vec<(String, String)>,
    health_check: Option<Value>,
    structural_tag: Option<Value>,
    media_decoder: Option<Value>,
    media_fetcher: Option<Value>,
    /// The maximum of unread bytes of an answer.
    high_water_bytes: Option<usize>,
    /// The limits of the generations that wait for capacity.
    max_queued: Option<u64>,
    max_queued_bytes: Option<u64>,
    /// Bounds the wait for requests in flight and the engine's cleanup together.
    cleanup_timeout_ms: Option<u64>,
}

/// A running worker.
pub struct HostWorker {
    task: Task,
    stop: CancellationToken,
    inbox: Arc<Inbox>,
    endpoint: Arc<EndpointRef>,
    publishers: Arc<Publishers>,
}

impl Drop for HostWorker {
    fn drop(&mut self) {
        self.stop.cancel();
        self.inbox.close();
    }
}

impl WorkerArgs {
    fn config(&mut self, endpoint: &EndpointRef) -> Result<WorkerConfig, Failure> {
        let id = endpoint.endpoint.id();
        let mode = self.worker_type.as_deref().unwrap_or("aggregated");
        let defaults = WorkerConfig::default();
        let types = self.model_types.as_deref().unwrap_or_default().join(",");
        Ok(WorkerConfig {
            namespace: id.namespace,
            component: id.component,
            endpoint: id.name,
            kv_state_endpoint: self.kv_state_endpoint.as_deref().map(EndpointId::from),
            model_name: std::mem::take(&mut self.model_path),
            served_model_name: self.model_name.take(),
            model_input: model_input(
                "modelInput",
                self.model_input.as_deref().unwrap_or(if self.raw { "text" } else { "tokens" }),
            )?,
            endpoint_types: if types.is_empty() { defaults.endpoint_types } else { types },
            custom_jinja_template: self.chat_template.take(),
            tool_call_parser: self.tool_call_parser.take(),
            reasoning_parser: self.reasoning_parser.take(),
            exclude_tools_when_tool_choice_none: self
                .exclude_tools_when_tool_choice_none
                .unwrap_or(defaults.exclude_tools_when_tool_choice_none),
            enable_local_indexer: self.local_indexer.unwrap_or(defaults.enable_local_indexer),
            enable_kv_routing: self.kv_routing.unwrap_or(defaults.enable_kv_routing),
            metrics_labels: std::mem::take(&mut self.metrics_labels),
            disaggregation_mode: parse::<DisaggregationMode>(
                "workerType",
                "aggregated, prefill, decode or encode",
                mode,
            )?,
            health_check_payload: self.health_check.take(),
            structural_tag: self.structural_tag.take().map(|value| read("structuralTag", value)).transpose()?,
            route_to_encoder: self.route_to_encoder.unwrap_or(false),
            media_decoder: self.media_decoder.take().map(|value| read("mediaDecoder", value)).transpose()?,
            media_fetcher: self
                .media_fetcher
                .take()
                .map(|value| read_over_defaults("mediaFetcher", value))
                .transpose()?,
            default_thinking_mode: self.default_thinking_mode.take(),
            ..defaults
        })
    }
}

/// How long the end of a worker waits for a discovery that does not answer.
const DETACH_LIMIT: Duration = Duration::from_secs(2);

/// The crate exits the process if its shutdown takes longer than this variable says (30 s). The engine's part must end
/// well before.
fn cleanup_limit(wanted_ms: Option<u64>) -> Duration {
    let seconds = std::env::var("DYN_WORKER_GRACEFUL_SHUTDOWN_TIMEOUT").ok().and_then(|text| text.parse::<u64>().ok());
    let most = Duration::from_secs(seconds.unwrap_or(30)) * 4 / 5;
    wanted_ms.map_or(most, |wanted| Duration::from_millis(wanted).min(most))
}

/// Lets the card take the path of an equal copy, see `copies`. It does not end before it is dropped.
async fn share_path_once_listed(endpoint: Endpoint) {
    if let Ok(listed) = listed(endpoint.drt(), endpoint.id()).await {
        listed.await;
        if let Err(error) = share_path(&endpoint, SETTLED).await {
            tracing::warn!(%error, "could not compare the model card with those of other workers");
        }
    }
    std::future::pending().await
}

/// Starts a worker for an endpoint. `args`: `WorkerArgs`. Returns a `HostWorker` and the `Inbox` of the calls to its
/// engine. The worker becomes ready after its engine has answered `start` in that inbox.
/// Takes: handle endpoint, args bytes. Returns: nothing, handle worker, handle inbox.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_worker_start(call: &dyn_call) {
    op(call, |call: &Call| {
        let endpoint = call.handle::<EndpointRef>()?;
        let mut args = call.args::<WorkerArgs>()?;
        let config = args.config(&endpoint)?;
        let limits = QueueLimits::new(args.max_queued, args.max_queued_bytes);
        let refused = endpoint.refused_requests()?;
        if !endpoint.runtime.served.lock().insert(config.endpoint.clone()) {
            return Err(Failure::conflict(format!(
                "this runtime already serves an endpoint named {}; the names must differ",
                config.endpoint,
            )));
        }
        Ok(async move {
            let high_water_bytes = args.high_water_bytes.unwrap_or(crate::sink::HIGH_WATER_BYTES);
            let inbox = Inbox::limited(high_water_bytes, limits, refused);
            let publishers = Arc::new(Publishers::default());
            let limit = cleanup_limit(args.cleanup_timeout_ms);
            let engine = HostEngine::new(inbox.clone(), args.engine, 0, publishers.clone(), limit);
            let worker = match args.raw {
                true => Worker::new_raw(Arc::new(HostRawEngine(engine)), config),
                false => Worker::new(Arc::new(engine), config),
            };
            let stop = CancellationToken::new();
            let running = worker.run_with_drt(endpoint.runtime.drt.clone(), stop.clone());
            let (ending_inbox, ending_publishers) = (inbox.clone(), publishers.clone());
            let (served, runtime) = (endpoint.endpoint.clone(), endpoint.runtime.clone());
            let shared = share_path_once_listed(served.clone());
            let task = Task::spawn(async move {
                let ended = match crate::sockets::start_request_plane(&runtime.drt).await {
                    Ok(()) => tokio::select! {
                        ended = running => ended.map_err(|error| Failure::from(&error)),
                        () = shared => unreachable!("it waits for the end"),
                    },
                    Err(error) => Err(error.into()),
                };
                // The crate only removes the card when the runtime ends. The runtime may still serve other
                // endpoints.
                let detached = LocalModel::detach_from_endpoint(&served, None);
                let _ = tokio::time::timeout(DETACH_LIMIT, detached).await;
                runtime.served.lock().remove(served.name());
                ending_publishers.clear();
                ending_inbox.close();
                ended?;
                runtime.check_lease()
            });
            let worker = HostWorker { task, stop, inbox: inbox.clone(), endpoint, publishers };
            Ok(Reply::with_handles(Vec::new(), vec![Handle::new(Arc::new(worker)), Handle::new(inbox)]))
        })
    })
}

/// Completes when discovery lists the instance of the worker. Fails if the worker ends before.
/// Takes: handle worker. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_worker_ready(call: &dyn_call) {
    op(call, |call: &Call| {
        let worker = call.handle::<HostWorker>()?;
        Ok(async move {
            let listed = listed(&worker.endpoint.runtime.drt, worker.endpoint.endpoint.id()).await?;
            tokio::select! {
                biased;
                ended = worker.task.ended() => {
                    ended?;
                    Err(Failure::closed("the worker"))
                }
                () = listed => Ok(Reply::unit()),
            }
        })
    })
}

/// Completes when the worker has ended. Fails if the worker failed.
/// Takes: handle worker. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_worker_wait(call: &dyn_call) {
    op(call, |call: &Call| {
        let worker = call.handle::<HostWorker>()?;
        Ok(async move { worker.task.ended().await.map(|()| Reply::unit()) })
    })
}

/// Leaves discovery, waits for the crates' grace period and for requests in flight, and cleans the engine up.
/// Idempotent.
/// Takes: handle worker. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_worker_close(call: &dyn_call) {
    op(call, |call: &Call| {
        let worker = call.handle::<HostWorker>()?;
        Ok(async move {
            worker.stop.cancel();
            // `dyn_worker_wait` reports an earlier failure.
            let _ = worker.task.ended().await;
            Ok(Reply::unit())
        })
    })
}

/// Sets the metrics of the engine. The payload is Prometheus text in UTF-8. Every scrape returns it.
/// Takes: handle worker, payload bytes. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_worker_metrics_text(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let worker = call.handle::<HostWorker>()?;
        let text = std::str::from_utf8(call.payload())
            .map_err(|error| Failure::invalid(format!("text: expected UTF-8: {error}")))?;
        worker.publishers.set_metrics_text(text);
        Ok(Reply::unit())
    })
}

/// Publishes KV cache events of the rank `a`, in order. The payload is a MessagePack array of `KvCacheEvent` in the
/// crates' field names. Returns 0, or 1 if the rank has no publisher: KV routing is off, or the worker has not started.
/// Takes: handle worker, payload bytes, a dpRank. Returns: number.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_worker_publish_kv(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let worker = call.handle::<HostWorker>()?;
        let events: Vec<KvCacheEvent> =
            rmp_serde::from_slice(call.payload()).map_err(|error| Failure::invalid(format!("events: {error}")))?;
        let Some(publisher) = worker.publishers.kv(call.a() as u32) else {
            return Ok(Reply::number(1));
        };
        for event in events {
            publisher.publish(event).map_err(|_| Failure::closed("the KV event publisher"))?;
        }
        Ok(Reply::number(0))
    })
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

/// Publishes the load of one rank. `args`: `{dpRank, kvUsedBlocks, kvTotalBlocks, gpuCacheUsage, kvCacheHitRate}`.
/// Returns the same as `dyn_worker_publish_kv`.
/// Takes: handle worker, args bytes. Returns: number.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_worker_publish_load(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let worker = call.handle::<HostWorker>()?;
        let args = call.args::<SnapshotArgs>()?;
        let Some(publisher) = worker.publishers.snapshots() else { return Ok(Reply::number(1)) };
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
