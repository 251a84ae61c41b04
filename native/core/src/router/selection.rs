//! The crates' selection service in this process: a complete KV router that needs no runtime. Its workers and their
//! cache events come from the host, or from the ZMQ publishers of engines.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dynamo_kv_router::WorkerType;
use dynamo_kv_router::config::KvRouterConfig;
use dynamo_kv_router::identity::RoutingPartitionId;
use dynamo_kv_router::protocols::PotentialLoad;
use dynamo_kv_router::services::indexer::backend::Indexer;
use dynamo_kv_router::services::indexer::registry::WorkerRegistry;
use dynamo_kv_router::services::selection::{
    KvEventIngress, KvIndexSource, RouterPluginRegistry, SelectionError, SelectionService, SelectionServiceBuilder,
    WorkerCatalogRecord, WorkerLifecycle, WorkerRequest, WorkerSelectionPolicyFactory,
};
use serde::Deserialize;
use serde_json::Value;

use super::config::router_config;
use super::policy::{HostPolicy, PolicyArgs};
use super::tree::worker_id;
use super::words::decode_events;
use crate::abi::{Call, Failure, Handle, Reply, dyn_call, dyn_reply, op, reply};
use crate::args::parse;

pub fn failure(error: SelectionError) -> Failure {
    let (class, reason) = match (error.kind(), error.status_code()) {
        ("bad_request", _) | (_, 400) => ("InvalidRequest", "router.bad_request"),
        ("not_found", _) | (_, 404) => ("NotFound", "router.not_found"),
        ("conflict", _) | (_, 409) => ("Conflict", "router.conflict"),
        (_, 429) => ("CapacityExhausted", "router.overloaded"),
        ("not_ready", _) | (_, 503) => ("Unavailable", "router.not_ready"),
        _ => ("Internal", "router.internal"),
    };
    Failure::new(class, reason, error.to_string())
}

/// Events come from the host, except for workers whose engine has a ZMQ publisher.
struct HostIngress {
    zmq: Arc<dyn KvEventIngress>,
}

fn has_publisher(record: &WorkerCatalogRecord) -> bool {
    record.kv_events_endpoint.is_some() || !record.kv_events_endpoints.is_empty()
}

#[async_trait]
impl KvEventIngress for HostIngress {
    fn open(&self, registry: &WorkerRegistry, key: &RoutingPartitionId, block_size: u32) -> Indexer {
        self.zmq.open(registry, key, block_size)
    }

    fn missing_metadata(&self, record: &WorkerCatalogRecord) -> Vec<String> {
        if has_publisher(record) { self.zmq.missing_metadata(record) } else { Vec::new() }
    }

    async fn reconcile(
        &self,
        registry: &WorkerRegistry,
        previous: Option<&WorkerCatalogRecord>,
        record: &WorkerCatalogRecord,
    ) -> Result<(), SelectionError> {
        match has_publisher(record) || previous.is_some_and(has_publisher) {
            true => self.zmq.reconcile(registry, previous, record).await,
            false => Ok(()),
        }
    }

    async fn detach(&self, registry: &WorkerRegistry, record: &WorkerCatalogRecord) {
        self.zmq.detach(registry, record).await;
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SelectionArgs {
    /// In the field names of `KvRouterConfig`.
    #[serde(default)]
    config: Option<Value>,
    worker_type: Option<String>,
    indexer_threads: Option<usize>,
    /// Services whose index is copied at the start, as `http://host:port`.
    #[serde(default)]
    indexer_peers: Vec<String>,
    session_affinity_seconds: Option<u64>,
    replica_port: Option<u16>,
    /// Other routers, as `tcp://host:port`.
    #[serde(default)]
    replica_peers: Vec<String>,
    policy: Option<PolicyArgs>,
}

pub struct Selection {
    pub service: SelectionService,
    /// The configuration of the service, after the settings of a policy file.
    pub config: KvRouterConfig,
    pub role: WorkerType,
    /// The policy of the service.
    pub policy: WorkerSelectionPolicyFactory,
    /// Whether sessions stay on their worker.
    pub affinity: bool,
}

/// The policy of the host, or the policy that the registry has for the pool.
pub fn policy_of(
    host: Option<&Arc<HostPolicy>>,
    registry: &RouterPluginRegistry,
    config: &KvRouterConfig,
    role: WorkerType,
) -> Result<WorkerSelectionPolicyFactory, Failure> {
    match host {
        Some(host) => Ok(host.factory()),
        None => {
            let found = registry
                .resolve_for_worker_type(config, role)
                .map_err(|error| Failure::invalid(format!("config: {error}")))?;
            found.ok_or_else(|| Failure::internal("the registry has no default policy"))
        }
    }
}

/// `args`: `SelectionArgs`. Returns a `Selection`, and with a policy its `Inbox` and the `HostPolicy`.
/// Takes: args bytes. Returns: handle selection or nothing, handle selection, handle inbox, handle policy.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_selection_create(call: &dyn_call) {
    op(call, |call: &Call| {
        let args = call.args::<SelectionArgs>()?;
        let mut config = router_config(args.config)?;
        let role = args.worker_type.as_deref().unwrap_or("aggregated");
        let role: WorkerType = parse("workerType", "aggregated, prefill, decode or encode", role)?;
        Ok(async move {
            config.apply_policy_config().map_err(|error| Failure::invalid(format!("config: {error}")))?;
            let KvIndexSource::Owned(zmq) = KvIndexSource::default();
            let registry = dynamo_custom_policy_builtin::default_registry();
            let mut builder = SelectionServiceBuilder::new(config.clone(), role, registry.clone())
                .kv_index(KvIndexSource::Owned(Arc::new(HostIngress { zmq })))
                .indexer_peers(args.indexer_peers)
                .indexer_threads(args.indexer_threads.unwrap_or(config.router_event_threads as usize));
            let affinity = args.session_affinity_seconds.is_some();
            if let Some(seconds) = args.session_affinity_seconds {
                builder = builder.session_affinity(Duration::from_secs(seconds));
            }
            if let Some(port) = args.replica_port {
                builder = builder.replica_sync(port, args.replica_peers);
            }
            let host = args.policy.map(|args| HostPolicy::new(args, None)).transpose()?;
            let policy = policy_of(host.as_ref(), &registry, &config, role)?;
            if host.is_some() {
                builder = builder.worker_selection_policy_factory(policy.clone());
            }
            let service = builder.build().await?;
            let selection = Arc::new(Selection { service, config, role, policy, affinity });
            let mut handles = vec![Handle::new(selection)];
            handles.extend(host.into_iter().flat_map(|policy| [Handle::new(policy.inbox()), Handle::new(policy)]));
            Ok(Reply::with_handles(Vec::new(), handles))
        })
    })
}

/// Waits until the scheduler has a worker. The scheduler adds it in a task without a notification, and until then the
/// worker has no load.
async fn scheduled(service: &SelectionService, record: &WorkerCatalogRecord) {
    let listed = || {
        let loads = service.loads(Some(&record.model_name), Some(&record.routing_group));
        let of = |load: &PotentialLoad| load.worker_id == record.worker_id;
        loads.iter().any(|model| model.loads.iter().any(of))
    };
    let limit = tokio::time::Instant::now() + Duration::from_secs(1);
    while !listed() && tokio::time::Instant::now() < limit {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// `args`: `WorkerRequest` in the crates' field names. Completes with the record of the worker.
/// Takes: handle selection, args bytes. Returns: bytes.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_selection_put_worker(call: &dyn_call) {
    op(call, |call: &Call| {
        let this = call.handle::<Selection>()?;
        let worker = call.args::<WorkerRequest>()?;
        Ok(async move {
            let record = this.service.upsert_worker(worker).await.map_err(failure)?;
            if record.lifecycle == WorkerLifecycle::Schedulable {
                scheduled(&this.service, &record).await;
            }
            Reply::value(&record)
        })
    })
}

/// Removes a worker and its blocks. The payload is the id of the worker, as a word.
/// Takes: handle selection, payload u64s. Returns: bytes.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_selection_remove_worker(call: &dyn_call) {
    op(call, |call: &Call| {
        let this = call.handle::<Selection>()?;
        let worker = worker_id(call)?;
        Ok(async move { Reply::value(&this.service.delete_worker(worker).await.map_err(failure)?) })
    })
}

#[derive(Deserialize)]
pub struct Partition {
    pub model_name: String,
    pub routing_group: String,
}

impl Partition {
    pub fn id(&self) -> RoutingPartitionId {
        RoutingPartitionId::new(self.model_name.clone(), self.routing_group.clone())
    }
}

/// Waits for everything that was applied to an index before.
async fn flush(indexer: &Indexer) -> Result<(), Failure> {
    let lower = match indexer {
        Indexer::Single { primary, lower_tier, .. } => {
            primary.flush_and_wait().await?;
            lower_tier
        }
        Indexer::Concurrent { primary, lower_tier, .. } => {
            primary.flush_and_wait().await?;
            lower_tier
        }
        Indexer::Remote { .. } | Indexer::None => return Ok(()),
    };
    for tier in lower.all() {
        tier.flush_and_wait().await?;
    }
    Ok(())
}

/// Applies the events of the payload (words). `args`: `{model_name, routing_group}`. Completes when they are applied.
/// Takes: handle selection, args bytes, payload bytes. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_selection_apply(call: &dyn_call) {
    op(call, |call: &Call| {
        let this = call.handle::<Selection>()?;
        let key = call.args::<Partition>()?.id();
        let events = decode_events(call.payload())?;
        Ok(async move {
            let partition = this.service.core().partition(&key);
            let partition = partition.ok_or_else(|| {
                Failure::new("NotFound", "router.not_found", format!("no worker of {key} was added yet"))
            })?;
            for event in events {
                partition.indexer().apply_event_routed(event.router_event()).await?;
            }
            flush(partition.indexer()).await?;
            Ok(Reply::unit())
        })
    })
}

/// A query of the service without a prompt.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", tag = "verb")]
enum Query {
    Workers {
        model: Option<String>,
        group: Option<String>,
    },
    Loads {
        model: Option<String>,
        group: Option<String>,
    },
    Ready,
    Dump,
    #[serde(rename_all = "camelCase")]
    PrefillComplete {
        selection_id: String,
    },
    #[serde(rename_all = "camelCase")]
    OutputBlock {
        selection_id: String,
        decay: Option<f64>,
    },
    #[serde(rename_all = "camelCase")]
    Free {
        selection_id: String,
    },
    AddPeer {
        endpoint: String,
    },
    RemovePeer {
        endpoint: String,
    },
    Peers,
}

/// `args`: `Query`. Completes with the crates' answer, if there is one.
/// Takes: handle selection, args bytes. Returns: bytes or nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_selection_query(call: &dyn_call) {
    op(call, |call: &Call| {
        let this = call.handle::<Selection>()?;
        let query = call.args::<Query>()?;
        let peer = |error: dynamo_kv_router::services::selection::ReplicaPeerError| {
            Failure::new("InvalidRequest", "router.replica_peer", error.to_string())
        };
        Ok(async move {
            let service = &this.service;
            match query {
                Query::Workers { model, group } => {
                    Reply::value(&service.list_workers(model.as_deref(), group.as_deref()))
                }
                Query::Loads { model, group } => Reply::value(&service.loads(model.as_deref(), group.as_deref())),
                Query::Ready => Reply::value(&service.ready()),
                Query::Dump => Reply::value(&service.indexer_snapshot().await),
                Query::PrefillComplete { selection_id } => {
                    service.prefill_complete(&selection_id).await.map_err(failure)?;
                    Ok(Reply::unit())
                }
                Query::OutputBlock { selection_id, decay } => {
                    service.add_output_block(&selection_id, decay).map_err(failure)?;
                    Ok(Reply::unit())
                }
                Query::Free { selection_id } => {
                    service.free_reservation(&selection_id).await.map_err(failure)?;
                    Ok(Reply::unit())
                }
                Query::AddPeer { endpoint } => {
                    Reply::value(&service.register_replica_peer(endpoint).await.map_err(peer)?)
                }
                Query::RemovePeer { endpoint } => {
                    Reply::value(&service.deregister_replica_peer(endpoint).await.map_err(peer)?)
                }
                Query::Peers => Reply::value(&service.list_replica_peers()),
            }
        })
    })
}

/// Ends the tasks of the service. Idempotent.
/// Takes: handle selection. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_selection_close(call: &dyn_call) {
    op(call, |call: &Call| {
        let this = call.handle::<Selection>()?;
        Ok(async move {
            this.service.shutdown().await;
            Ok(Reply::unit())
        })
    })
}

/// Returns the defaults of `KvRouterConfig`, in the crates' field names.
/// Takes: nothing. Returns: bytes.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_router_defaults(call: &dyn_call) -> dyn_reply {
    reply(call, |_: &Call| Reply::value(&serde_json::to_value(KvRouterConfig::default()).map_err(Failure::internal)?))
}
