//! Choosing a worker for a prompt, and why it was that one.

use std::collections::HashMap;

use dynamo_kv_router::protocols::{PotentialLoad, RoutingConstraints, WorkerWithDpRank};
use dynamo_kv_router::scheduling::OverlapScoresResponse;
use dynamo_kv_router::services::selection::{
    OverlapScoresRequest, PotentialLoadsRequest, PromptRequest, SelectAndReserveRequest, SelectRequest,
};
use serde::Serialize;

use super::costs::{Facts, Request, Terms, Weights, terms};
use super::selection::{Partition, Selection, failure};
use super::words::u32s;
use crate::abi::{Call, Failure, Reply, dyn_call, op};

/// The prompt's tokens travel as the payload, 32-bit words; without them the request has hashes.
fn tokens(call: &Call, prompt: &mut PromptRequest) -> Result<(), Failure> {
    if !call.payload().is_empty() {
        prompt.token_ids = Some(u32s("tokens", call.payload())?);
    }
    Ok(())
}

/// `args`: `SelectRequest` (`a` = 0), or `SelectAndReserveRequest` (`a` = 1), without tokens. Completes with a
/// `SelectResponse`; all in the crates' own field names.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_selection_select(call: *const dyn_call) {
    unsafe {
        op(call, |call: &Call| {
            let this = call.handle::<Selection>()?;
            let (mut select, mut reserve) = (None, None);
            if call.a() == 1 {
                let request = reserve.insert(call.args::<SelectAndReserveRequest>()?);
                tokens(call, &mut request.prompt)?;
            } else {
                let request = select.insert(call.args::<SelectRequest>()?);
                tokens(call, &mut request.prompt)?;
            }
            Ok(async move {
                let response = match (select, reserve) {
                    (Some(request), _) => this.service.select(request).await,
                    (_, Some(request)) => this.service.select_and_reserve(request).await,
                    (None, None) => return Err(Failure::internal("no request")),
                };
                Reply::value(&response.map_err(failure)?)
            })
        })
    }
}

/// `args`: `OverlapScoresRequest` without tokens. Completes with an `OverlapScoresResponse`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_selection_overlap(call: *const dyn_call) {
    unsafe {
        op(call, |call: &Call| {
            let this = call.handle::<Selection>()?;
            let mut request = call.args::<OverlapScoresRequest>()?;
            tokens(call, &mut request.prompt)?;
            Ok(async move { Reply::value(&this.service.overlap_scores(request).await.map_err(failure)?) })
        })
    }
}

/// `args`: `PotentialLoadsRequest` without tokens. Completes with each worker's load if it got the request.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_selection_potential_loads(call: *const dyn_call) {
    unsafe {
        op(call, |call: &Call| {
            let this = call.handle::<Selection>()?;
            let mut request = call.args::<PotentialLoadsRequest>()?;
            tokens(call, &mut request.prompt)?;
            Ok(async move { Reply::value(&this.service.potential_loads(request).await.map_err(failure)?) })
        })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    worker_id: u64,
    dp_rank: u32,
    /// Why the request may not go there, if it may not.
    excluded: Option<&'static str>,
    #[serde(flatten)]
    facts: Facts,
    #[serde(flatten)]
    terms: Terms,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    block_size: u32,
    prompt_tokens: usize,
    prompt_blocks: usize,
    weights: Weights,
    candidates: Vec<Candidate>,
    pub worker_id: u64,
    pub dp_rank: u32,
}

pub struct Snapshot {
    pub prompt_tokens: usize,
    pub tracks_prefill: bool,
    pub overlap: OverlapScoresResponse,
    /// With the request on each worker.
    pub loads: Vec<PotentialLoad>,
    /// As they are.
    pub idle: Vec<PotentialLoad>,
}

/// Each candidate's terms. `excluded` says why a worker is none; `taints` its multiplier.
pub fn explain(
    weights: Weights,
    snapshot: Snapshot,
    winner: WorkerWithDpRank,
    excluded: impl Fn(u64) -> Option<&'static str>,
    taints: impl Fn(u64) -> f64,
) -> Explanation {
    let by_rank = |loads: Vec<PotentialLoad>| -> HashMap<(u64, u32), PotentialLoad> {
        loads.into_iter().map(|load| ((load.worker_id, load.dp_rank), load)).collect()
    };
    let (loads, idle) = (by_rank(snapshot.loads), by_rank(snapshot.idle));
    let overlap = snapshot.overlap;
    let facts: Vec<((u64, u32), Facts)> = overlap
        .workers
        .iter()
        .map(|worker| {
            let rank = (worker.worker_id, worker.dp_rank);
            let load = loads.get(&rank);
            let facts = Facts {
                device_blocks: worker.device_blocks as f64,
                host_blocks: worker.host_pinned_extension_blocks as f64,
                disk_blocks: worker.disk_extension_blocks as f64,
                shared_blocks: worker.shared_beyond_device_blocks.unwrap_or(0).into(),
                cached_tokens: 0,
                load_known: load.is_some(),
                active_prefill_tokens: idle.get(&rank).map_or(0, |idle| idle.potential_prefill_tokens),
                decode_blocks: load.map_or(0.0, |load| load.potential_decode_blocks as f64),
                active_requests: load.map_or(0, |load| load.active_requests),
                taint_multiplier: taints(worker.worker_id),
            };
            (rank, facts)
        })
        .collect();
    let eligible = facts.iter().filter(|((worker, _), _)| excluded(*worker).is_none());
    let request = Request {
        prompt_tokens: snapshot.prompt_tokens,
        blocks: snapshot.prompt_tokens.div_ceil(overlap.block_size as usize) as u64,
        block_size: overlap.block_size,
        tracks_prefill: snapshot.tracks_prefill,
        least_prefill_tokens: eligible.map(|(_, facts)| facts.active_prefill_tokens).min().unwrap_or(0),
    };
    let mut candidates: Vec<Candidate> = facts
        .into_iter()
        .map(|((worker_id, dp_rank), facts)| Candidate {
            worker_id,
            dp_rank,
            excluded: excluded(worker_id),
            terms: terms(&weights, &request, &facts),
            facts,
        })
        .collect();
    candidates.sort_by(|a, b| a.terms.cost.total_cmp(&b.terms.cost).then((a.worker_id, a.dp_rank).cmp(&(b.worker_id, b.dp_rank))));
    Explanation {
        block_size: overlap.block_size,
        prompt_tokens: snapshot.prompt_tokens,
        prompt_blocks: overlap.num_blocks,
        weights,
        candidates,
        worker_id: winner.worker_id,
        dp_rank: winner.dp_rank,
    }
}

async fn explained(this: &Selection, request: SelectRequest) -> Result<Explanation, Failure> {
    let (model_name, routing_group) = (request.model_name.clone(), request.routing_group.clone());
    let (prompt, config_override) = (request.prompt.clone(), request.router_config_override.clone());
    let constraints: RoutingConstraints = request.routing_constraints.clone();
    let allowed = request.allowed_worker_ids.clone();
    let prompt_tokens = prompt.token_ids.as_ref().map_or(prompt.isl_tokens.unwrap_or(0), Vec::len);
    let key = Partition { model_name: model_name.clone(), routing_group: routing_group.clone() };

    let overlap = OverlapScoresRequest {
        model_name: model_name.clone(),
        routing_group: routing_group.clone(),
        prompt: prompt.clone(),
        router_config_override: config_override.clone(),
    };
    let overlap = this.service.overlap_scores(overlap).await.map_err(failure)?;
    let tracks_prefill = config_override
        .as_ref()
        .and_then(|wanted| wanted.track_prefill_tokens)
        .unwrap_or(this.config.router_track_prefill_tokens);
    let loads = PotentialLoadsRequest { model_name, routing_group, prompt, router_config_override: config_override };
    let loads = this.service.potential_loads(loads).await.map_err(failure)?;
    let idle = this.service.loads(Some(&key.model_name), Some(&key.routing_group));
    let idle = idle.into_iter().flat_map(|model| model.loads).collect();
    let workers = this.service.list_workers(Some(&key.model_name), Some(&key.routing_group));
    let taints: HashMap<u64, _> = workers.into_iter().map(|worker| (worker.worker_id, worker.taints)).collect();
    let winner = this.service.select(SelectRequest { advisory: true, ..request }).await.map_err(failure)?;

    let excluded = |worker: u64| {
        if allowed.as_ref().is_some_and(|allowed| !allowed.contains(&worker)) {
            return Some("not allowed by the request");
        }
        let compatible = taints.get(&worker).is_none_or(|taints| constraints.is_compatible_with_worker_taints(taints));
        (!compatible).then_some("lacks a required taint")
    };
    let multiplier = |worker: u64| {
        taints.get(&worker).and_then(|taints| constraints.preferred_taint_multiplier(taints)).unwrap_or(1.0)
    };
    let snapshot = Snapshot { prompt_tokens, tracks_prefill, overlap, loads, idle };
    let winner = WorkerWithDpRank::new(winner.worker_id, winner.dp_rank);
    Ok(explain(Weights::new(&this.config, this.role), snapshot, winner, excluded, multiplier))
}

/// `args`: `SelectRequest` without tokens. Completes with an `Explanation` of what would be chosen now; books nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_selection_explain(call: *const dyn_call) {
    unsafe {
        op(call, |call: &Call| {
            let this = call.handle::<Selection>()?;
            let mut request = call.args::<SelectRequest>()?;
            tokens(call, &mut request.prompt)?;
            Ok(async move { Reply::value(&explained(&this, request).await?) })
        })
    }
}
