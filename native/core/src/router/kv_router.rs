//! The crates' KV router on a runtime. It finds its workers, their load and their cache events through discovery.

use std::collections::HashSet;
use std::sync::Arc;

use dynamo_kv_router::config::RouterConfigOverride;
use dynamo_kv_router::plugins::worker_selection::WorkerSelectionPolicyFactory;
use dynamo_kv_router::protocols::{BlockExtraInfo, RoutingConstraints, WorkerWithDpRank};
use dynamo_kv_router::{DEFAULT_ROUTING_GROUP, RoutingPartitionRef, SessionContext};
use dynamo_llm::discovery::{ModelManager, RuntimeConfigWatch};
use dynamo_llm::kv_router::plugins::router_plugin_registry;
use dynamo_llm::kv_router::{FindBestMatchOutcome, ManagedKvRouter, SelectionPolicySource};
use dynamo_llm::worker_type::WorkerType;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::choices::{ChoiceRequest, choices, packed};
use super::config::router_config;
use super::explain::{Chooser, Snapshots, Wanted, explain};
use super::policy::{HostPolicy, PolicyArgs};
use super::selection::policy_of;
use super::words::{encode_events, u32s};
use crate::abi::{Call, Failure, Handle, Reply, dyn_call, dyn_reply, op, reply};
use crate::args::parse;
use crate::runtime::EndpointRef;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct KvRouterArgs {
    block_size: u32,
    #[serde(default)]
    config: Option<Value>,
    worker_type: Option<String>,
    model: Option<String>,
    #[serde(default)]
    eagle: bool,
    policy: Option<PolicyArgs>,
}

/// A router and what it depends on. Its tasks end when this is dropped.
#[derive(Clone)]
struct Routing {
    router: ManagedKvRouter,
    workers: RuntimeConfigWatch,
    _manager: Arc<ModelManager>,
}

pub struct KvRouter {
    routing: Mutex<Option<Routing>>,
    role: WorkerType,
    model: Option<String>,
    /// The policy of the router.
    policy: WorkerSelectionPolicyFactory,
    _endpoint: Arc<EndpointRef>,
}

impl KvRouter {
    fn open(&self) -> Result<Routing, Failure> {
        self.routing.lock().clone().ok_or_else(|| Failure::closed("the KV router"))
    }
}

/// `args`: `KvRouterArgs`. The handle is the endpoint of the workers. Returns a `KvRouter`, and with a policy its
/// `Inbox` and the `HostPolicy`.
/// Takes: handle endpoint, args bytes. Returns: handle kvRouter or nothing, handle kvRouter, handle inbox, handle
/// policy.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_kv_router_create(call: &dyn_call) {
    op(call, |call: &Call| {
        let endpoint = call.handle::<EndpointRef>()?;
        let args = call.args::<KvRouterArgs>()?;
        let mut config = router_config(args.config)?;
        let role = args.worker_type.as_deref().unwrap_or("aggregated");
        let role: WorkerType = parse("workerType", "aggregated, prefill, decode or encode", role)?;
        Ok(async move {
            config.apply_policy_config().map_err(|error| Failure::invalid(format!("config: {error}")))?;
            let host = args.policy.map(|args| HostPolicy::new(args, Some(&endpoint.runtime.drt))).transpose()?;
            let policy = policy_of(host.as_ref(), &router_plugin_registry(), &config, role)?;
            let source = match host {
                Some(_) => SelectionPolicySource::Factory(policy.clone()),
                None => SelectionPolicySource::Registry,
            };
            let model = args.model;
            let manager = Arc::new(ModelManager::new());
            let router = manager
                .managed_kv_router_for_with_policy(
                    &endpoint.endpoint,
                    args.block_size,
                    source,
                    Some(config),
                    None,
                    Some(role),
                    role.default_selector_label(),
                    model.clone(),
                    args.eagle,
                )
                .await?;
            let workers = manager.get_or_create_runtime_config_watcher(&endpoint.endpoint).await?;
            let routing = Mutex::new(Some(Routing { router, workers, _manager: manager }));
            let router = KvRouter { routing, role, model, policy, _endpoint: endpoint };
            let mut handles = vec![Handle::new(Arc::new(router))];
            handles.extend(host.into_iter().flat_map(|policy| [Handle::new(policy.inbox()), Handle::new(policy)]));
            Ok(Reply::with_handles(Vec::new(), handles))
        })
    })
}

/// A prompt with its routing options. Its tokens are in the payload.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Prompt {
    selection_id: Option<String>,
    /// Whether the request counts as load until it is freed.
    book: bool,
    block_mm_infos: Option<Vec<Option<BlockExtraInfo>>>,
    lora_name: Option<String>,
    cache_salt: Option<String>,
    router_config_override: Option<RouterConfigOverride>,
    priority_jump: f64,
    strict_priority: u32,
    session_id: Option<String>,
    expected_output_tokens: Option<u32>,
    pinned_worker: Option<WorkerWithDpRank>,
    allowed_worker_ids: Option<HashSet<u64>>,
    routing_constraints: RoutingConstraints,
}

#[derive(Serialize)]
struct Selected {
    worker_id: u64,
    dp_rank: u32,
    overlap_blocks: f64,
    cached_tokens: usize,
    potential_decode_blocks: u64,
}

async fn select(router: &ManagedKvRouter, tokens: &[u32], prompt: &Prompt) -> Result<Selected, Failure> {
    let session = prompt.session_id.clone().map(|id| SessionContext::new(id, None, None, None));
    let outcome = router
        .find_best_match_details_with_policy_class(
            prompt.selection_id.as_deref(),
            tokens,
            prompt.block_mm_infos.as_deref(),
            prompt.router_config_override.as_ref(),
            prompt.book,
            false,
            prompt.lora_name.clone(),
            prompt.cache_salt.clone(),
            prompt.priority_jump,
            prompt.strict_priority,
            None,
            session,
            prompt.expected_output_tokens,
            prompt.pinned_worker,
            prompt.allowed_worker_ids.clone(),
            prompt.routing_constraints.clone(),
        )
        .await?;
    match outcome {
        FindBestMatchOutcome::Routed {
            worker,
            effective_overlap_blocks,
            cached_tokens,
            potential_decode_blocks,
            ..
        } => Ok(Selected {
            worker_id: worker.worker_id,
            dp_rank: worker.dp_rank,
            overlap_blocks: effective_overlap_blocks,
            cached_tokens,
            potential_decode_blocks,
        }),
        FindBestMatchOutcome::QueueRejected { rejection } => {
            let mut failure =
                Failure::new("CapacityExhausted", "router.queue_rejected", "the queue of the router is full");
            failure.details = serde_json::to_value(&rejection).ok();
            Err(failure)
        }
    }
}

fn prompt(call: &Call) -> Result<(ManagedKvRouter, Vec<u32>, Prompt), Failure> {
    let Routing { router, .. } = call.handle::<KvRouter>()?.open()?;
    Ok((router, u32s("tokens", call.payload())?, call.args()?))
}

async fn chosen(router: &ManagedKvRouter, asked: ChoiceRequest) -> Result<Vec<u8>, Failure> {
    packed(&select(router, &asked.tokens()?, &asked.args()?).await?)
}

/// `args`: `Prompt`. The payload is tokens, as 32-bit words. Completes with the chosen worker.
/// Takes: handle kvRouter, args bytes, payload u32s. Returns: bytes.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_kv_router_select(call: &dyn_call) {
    op(call, |call: &Call| {
        let Routing { router, .. } = call.handle::<KvRouter>()?.open()?;
        let asked = ChoiceRequest::new(0, call.raw_args(), call.payload());
        Ok(async move { Ok(Reply::bytes(chosen(&router, asked).await?)) })
    })
}

/// Makes several choices at the same time. The payload has the layout of `choices`; the arguments are `Prompt`s, and
/// kinds mean nothing. Returns a `PullStream` of the answers.
/// Takes: handle kvRouter, payload bytes. Returns: handle stream.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_kv_router_select_many(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let Routing { router, .. } = call.handle::<KvRouter>()?.open()?;
        choices(call, |asked| {
            let router = router.clone();
            async move { chosen(&router, asked).await }
        })
    })
}

/// `args`: `Prompt`. The payload is tokens, as 32-bit words. Completes with the blocks that each worker has.
/// Takes: handle kvRouter, args bytes, payload u32s. Returns: bytes.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_kv_router_overlap(call: &dyn_call) {
    op(call, |call: &Call| {
        let (router, tokens, prompt) = prompt(call)?;
        Ok(async move {
            let infos = prompt.block_mm_infos.as_deref();
            let (lora, salt) = (prompt.lora_name.as_deref(), prompt.cache_salt.as_deref());
            Reply::value(&router.get_overlap_scores(&tokens, infos, lora, salt, true).await?)
        })
    })
}

/// `args`: `Prompt`. The payload is tokens, as 32-bit words. Completes with the load that each worker would have with
/// the request.
/// Takes: handle kvRouter, args bytes, payload u32s. Returns: bytes.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_kv_router_loads(call: &dyn_call) {
    op(call, |call: &Call| {
        let (router, tokens, prompt) = prompt(call)?;
        Ok(async move {
            let infos = prompt.block_mm_infos.as_deref();
            let (lora, salt) = (prompt.lora_name.as_deref(), prompt.cache_salt.as_deref());
            let wanted = prompt.router_config_override.as_ref();
            Reply::value(&router.get_potential_loads(&tokens, wanted, infos, lora, salt).await?)
        })
    })
}

/// `args`: `Prompt`. The payload is tokens, as 32-bit words. Completes with an `Explanation` of the choice. Reserves
/// nothing.
/// Takes: handle kvRouter, args bytes, payload u32s. Returns: bytes.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_kv_router_explain(call: &dyn_call) {
    op(call, |call: &Call| {
        let this = call.handle::<KvRouter>()?;
        let (role, policy, Routing { workers, .. }) = (this.role, this.policy.clone(), this.open()?);
        let (router, tokens, prompt) = prompt(call)?;
        let prompt = Prompt { book: false, ..prompt };
        Ok(async move {
            let workers = workers.borrow().clone();
            // Only the router knows which workers have a LoRA adapter.
            let decided = match prompt.lora_name {
                Some(_) => Some(select(&router, &tokens, &prompt).await?),
                None => None,
            };
            let wanted = Wanted {
                overrides: prompt.router_config_override,
                expected_output_tokens: prompt.expected_output_tokens,
                session: prompt.session_id.map(|id| SessionContext::new(id, None, None, None)),
                pinned: prompt.pinned_worker,
                allowed: prompt.allowed_worker_ids,
                constraints: prompt.routing_constraints,
            };
            let infos = prompt.block_mm_infos.as_deref();
            let (lora, salt) = (prompt.lora_name.as_deref(), prompt.cache_salt.as_deref());
            let overlap = router.get_overlap_scores(&tokens, infos, lora, salt, true).await?;
            let overrides = wanted.snapshot_overrides();
            let loads = router.get_potential_loads(&tokens, Some(&overrides), infos, lora, salt).await?;
            let chooser = Chooser {
                config: router.kv_router_config(),
                role,
                policy: &policy,
                partition: RoutingPartitionRef::new(this.model.as_deref().unwrap_or("default"), DEFAULT_ROUTING_GROUP),
                workers: &workers,
            };
            let decided = decided.map(|winner| WorkerWithDpRank::new(winner.worker_id, winner.dp_rank));
            let snapshots = Snapshots { prompt_tokens: tokens.len(), overlap, loads };
            Reply::value(&explain(&chooser, wanted, snapshots, decided)?)
        })
    })
}

/// Updates a reserved request. `args`: its id. `a`: 0 its prefill is finished, 1 it has ended.
/// Takes: handle kvRouter, args bytes, a isEnd. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_kv_router_mark(call: &dyn_call) {
    op(call, |call: &Call| {
        let Routing { router, .. } = call.handle::<KvRouter>()?.open()?;
        let id = call.args::<String>()?;
        let ended = call.a() == 1;
        Ok(async move {
            let marked = match ended {
                true => router.free(&id).await,
                false => router.mark_prefill_completed(&id).await,
            };
            marked.map_err(|error| Failure::new("NotFound", "router.not_found", error.to_string()))?;
            Ok(Reply::unit())
        })
    })
}

/// Completes with events that rebuild the index of the router, as words.
/// Takes: handle kvRouter. Returns: bytes or nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_kv_router_dump(call: &dyn_call) {
    op(call, |call: &Call| {
        let Routing { router, .. } = call.handle::<KvRouter>()?.open()?;
        Ok(async move { Ok(Reply::bytes(encode_events(&router.dump_events().await?))) })
    })
}

/// Ends the tasks of the router after the calls in flight. Idempotent.
/// Takes: handle kvRouter. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_kv_router_close(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let routing = call.handle::<KvRouter>()?.routing.lock().take();
        let _enter = crate::process::enter();
        drop(routing);
        Ok(Reply::unit())
    })
}
