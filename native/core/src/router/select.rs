//! Chooses a worker for a prompt, and explains the choice.

use std::collections::{HashMap, HashSet};

use dynamo_kv_router::protocols::{WorkerConfigLike, WorkerWithDpRank};
use dynamo_kv_router::services::selection::{
    OverlapScoresRequest, PotentialLoadsRequest, PromptRequest, SelectAndReserveRequest, SelectRequest,
    WorkerCatalogRecord, WorkerLifecycle,
};
use dynamo_kv_router::{RoutingPartitionRef, SessionContext};

use super::choices::{ChoiceRequest, choices, packed};
use super::explain::{Chooser, Explanation, Snapshots, Wanted, explain};
use super::selection::{Partition, Selection, failure};
use super::words::u32s;
use crate::abi::{Call, Failure, Reply, dyn_call, dyn_reply, op, reply};

/// Takes the tokens of the prompt from the payload, as 32-bit words. Without them the request has hashes.
fn tokens(call: &Call, prompt: &mut PromptRequest) -> Result<(), Failure> {
    if !call.payload().is_empty() {
        prompt.token_ids = Some(u32s("tokens", call.payload())?);
    }
    Ok(())
}

/// The kind of a choice that also reserves the worker.
const RESERVED: u32 = 1;

async fn chosen(this: &Selection, asked: ChoiceRequest) -> Result<Vec<u8>, Failure> {
    let tokens = Some(asked.tokens()?).filter(|tokens| !tokens.is_empty());
    let response = if asked.kind == RESERVED {
        let mut request = asked.args::<SelectAndReserveRequest>()?;
        request.prompt.token_ids = tokens.or(request.prompt.token_ids);
        this.service.select_and_reserve(request).await
    } else {
        let mut request = asked.args::<SelectRequest>()?;
        request.prompt.token_ids = tokens.or(request.prompt.token_ids);
        this.service.select(request).await
    };
    packed(&response.map_err(failure)?)
}

/// `args`: `SelectRequest` if `a` is 0, `SelectAndReserveRequest` if `a` is 1, without tokens. The payload is the
/// tokens, as 32-bit words. Completes with a `SelectResponse`. All are in the crates' field names.
/// Takes: handle selection, args bytes, payload u32s?, a isReserved. Returns: bytes.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_selection_select(call: &dyn_call) {
    op(call, |call: &Call| {
        let this = call.handle::<Selection>()?;
        let asked = ChoiceRequest::new(call.a() as u32, call.raw_args(), call.payload());
        Ok(async move { Ok(Reply::bytes(chosen(&this, asked).await?)) })
    })
}

/// Makes several choices at the same time. The payload has the layout of `choices`; kinds and arguments are those of
/// `dyn_selection_select`. Returns a `PullStream` of the answers.
/// Takes: handle selection, payload bytes. Returns: handle stream.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_selection_select_many(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let this = call.handle::<Selection>()?;
        choices(call, |asked| {
            let this = this.clone();
            async move { chosen(&this, asked).await }
        })
    })
}

/// `args`: `OverlapScoresRequest` without tokens. The payload is the tokens, as 32-bit words. Completes with an
/// `OverlapScoresResponse`.
/// Takes: handle selection, args bytes, payload u32s?. Returns: bytes.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_selection_overlap(call: &dyn_call) {
    op(call, |call: &Call| {
        let this = call.handle::<Selection>()?;
        let mut request = call.args::<OverlapScoresRequest>()?;
        tokens(call, &mut request.prompt)?;
        Ok(async move { Reply::value(&this.service.overlap_scores(request).await.map_err(failure)?) })
    })
}

/// `args`: `PotentialLoadsRequest` without tokens. The payload is the tokens, as 32-bit words. Completes with the load
/// that each worker would have with the request.
/// Takes: handle selection, args bytes, payload u32s?. Returns: bytes.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_selection_potential_loads(call: &dyn_call) {
    op(call, |call: &Call| {
        let this = call.handle::<Selection>()?;
        let mut request = call.args::<PotentialLoadsRequest>()?;
        tokens(call, &mut request.prompt)?;
        Ok(async move { Reply::value(&this.service.potential_loads(request).await.map_err(failure)?) })
    })
}

/// The record of a worker in the catalog, as the configuration that a policy reads.
struct Cataloged(WorkerCatalogRecord);

impl WorkerConfigLike for Cataloged {
    fn data_parallel_start_rank(&self) -> u32 {
        self.0.data_parallel_start_rank.unwrap_or(0)
    }

    fn data_parallel_size(&self) -> u32 {
        self.0.data_parallel_size.unwrap_or(1)
    }

    fn max_num_batched_tokens(&self) -> Option<u64> {
        self.0.max_num_batched_tokens
    }

    fn total_kv_blocks(&self) -> Option<u64> {
        self.0.total_kv_blocks
    }

    fn taints(&self) -> &HashSet<String> {
        &self.0.taints
    }
}

async fn explained(this: &Selection, request: SelectRequest) -> Result<Explanation, Failure> {
    let key = Partition { model_name: request.model_name.clone(), routing_group: request.routing_group.clone() };
    let prompt = request.prompt.clone();
    let prompt_tokens = prompt.token_ids.as_ref().map_or(prompt.isl_tokens.unwrap_or(0), Vec::len);
    let session = request.session_id.clone();
    let wanted = Wanted {
        overrides: request.router_config_override.clone(),
        expected_output_tokens: request.expected_output_tokens,
        session: session.clone().map(|id| SessionContext::new(id, None, None, None)),
        pinned: request.pinned_worker,
        allowed: request.allowed_worker_ids.clone(),
        constraints: request.routing_constraints.clone(),
    };
    let workers = this.service.list_workers(Some(&key.model_name), Some(&key.routing_group)).into_iter();
    let workers: HashMap<u64, Cataloged> = workers
        .filter(|worker| worker.lifecycle == WorkerLifecycle::Schedulable)
        .map(|worker| (worker.worker_id, Cataloged(worker)))
        .collect();
    // Only the service knows to which worker a session is bound.
    let decided = match session.is_some() && this.affinity {
        true => {
            let winner = this.service.select(SelectRequest { advisory: true, ..request }).await.map_err(failure)?;
            Some(WorkerWithDpRank::new(winner.worker_id, winner.dp_rank))
        }
        false => None,
    };
    let overlap = OverlapScoresRequest {
        model_name: key.model_name.clone(),
        routing_group: key.routing_group.clone(),
        prompt: prompt.clone(),
        router_config_override: wanted.overrides.clone(),
    };
    let overlap = this.service.overlap_scores(overlap).await.map_err(failure)?;
    let loads = PotentialLoadsRequest {
        model_name: key.model_name.clone(),
        routing_group: key.routing_group.clone(),
        prompt,
        router_config_override: Some(wanted.snapshot_overrides()),
    };
    let loads = this.service.potential_loads(loads).await.map_err(failure)?;
    let chooser = Chooser {
        config: &this.config,
        role: this.role,
        policy: &this.policy,
        partition: RoutingPartitionRef::new(&key.model_name, &key.routing_group),
        workers: &workers,
    };
    explain(&chooser, wanted, Snapshots { prompt_tokens, overlap, loads }, decided)
}

/// `args`: `SelectRequest` without tokens. The payload is the tokens, as 32-bit words. Completes with an `Explanation`
/// of the choice. Reserves nothing.
/// Takes: handle selection, args bytes, payload u32s?. Returns: bytes.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_selection_explain(call: &dyn_call) {
    op(call, |call: &Call| {
        let this = call.handle::<Selection>()?;
        let mut request = call.args::<SelectRequest>()?;
        tokens(call, &mut request.prompt)?;
        Ok(async move { Reply::value(&explained(&this, request).await?) })
    })
}
