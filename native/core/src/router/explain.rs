//! Explains the choice of a worker from two snapshots: of the index, then of the loads. The crates take them in the
//! same order for every choice. The winner is what the crates' policy chooses from exactly these snapshots.

use std::collections::{HashMap, HashSet};

use dynamo_kv_router::config::{KvRouterConfig, RouterConfigOverride};
use dynamo_kv_router::plugins::worker_selection::WorkerSelectionPolicyFactory;
use dynamo_kv_router::protocols::{
    PotentialLoad, RoutingConstraints, SharedCacheHits, WorkerConfigLike, WorkerWithDpRank,
};
use dynamo_kv_router::scheduling::{
    OverlapScoresResponse, OverlapSignals, ScheduleMode, SchedulingRequest, WorkerOverlapScore,
};
use dynamo_kv_router::{
    KvSchedulerError, RoutingPartitionRef, SessionContext, WorkerLoadProjection, WorkerSelectionInput, WorkerSelector,
    WorkerType,
};
use serde::Serialize;

use super::costs::{Facts, Request, Terms, Weights, terms};
use crate::abi::Failure;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Candidate {
    worker_id: u64,
    dp_rank: u32,
    /// Why the worker is excluded, if it is.
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
    worker_id: u64,
    dp_rank: u32,
}

/// The parts of a request, besides its prompt, that affect the choice.
pub struct Wanted {
    pub overrides: Option<RouterConfigOverride>,
    pub expected_output_tokens: Option<u32>,
    pub session: Option<SessionContext>,
    pub pinned: Option<WorkerWithDpRank>,
    pub allowed: Option<HashSet<u64>>,
    pub constraints: RoutingConstraints,
}

impl Wanted {
    /// The overrides for the snapshot of the loads. With them it has the tokens that wait for prefill without those of
    /// the request, and the blocks in use with those of the request.
    pub fn snapshot_overrides(&self) -> RouterConfigOverride {
        RouterConfigOverride { track_prefill_tokens: Some(false), ..self.overrides.clone().unwrap_or_default() }
    }

    fn excluded<C: WorkerConfigLike>(&self, worker: u64, config: Option<&C>) -> Option<&'static str> {
        let Some(config) = config else { return Some("has blocks, but is not registered") };
        if self.allowed.as_ref().is_some_and(|allowed| !allowed.contains(&worker)) {
            return Some("not allowed by the request");
        }
        (!self.constraints.is_compatible_with_worker_taints(config.taints())).then_some("lacks a required taint")
    }
}

pub struct Snapshots {
    pub prompt_tokens: usize,
    pub overlap: OverlapScoresResponse,
    /// Read with `Wanted::snapshot_overrides`.
    pub loads: Vec<PotentialLoad>,
}

/// The router whose choice is explained.
pub struct Chooser<'a, C> {
    pub config: &'a KvRouterConfig,
    pub role: WorkerType,
    pub policy: &'a WorkerSelectionPolicyFactory,
    pub partition: RoutingPartitionRef<'a>,
    pub workers: &'a HashMap<u64, C>,
}

fn rank_of(score: &WorkerOverlapScore) -> WorkerWithDpRank {
    WorkerWithDpRank::new(score.worker_id, score.dp_rank)
}

/// The request as the crates' scheduler passes it to a policy.
fn scheduled(
    config: &KvRouterConfig,
    wanted: Wanted,
    snapshots: &Snapshots,
    tracks_prefill: bool,
) -> SchedulingRequest {
    let mut signals = OverlapSignals::default();
    for score in &snapshots.overlap.workers {
        let (rank, tiers) = (rank_of(score), &mut signals.tier_overlap_blocks);
        tiers.device.insert(rank, score.device_blocks);
        tiers.host_pinned.insert(rank, score.host_pinned_extension_blocks);
        tiers.disk.insert(rank, score.disk_extension_blocks);
        let weighted = score.device_blocks as f64
            + config.host_cache_hit_weight * score.host_pinned_extension_blocks as f64
            + config.disk_cache_hit_weight * score.disk_extension_blocks as f64;
        signals.effective_overlap_blocks.insert(rank, weighted);
        let tokens = (weighted * f64::from(snapshots.overlap.block_size)).round().max(0.0);
        signals.effective_cached_tokens.insert(rank, tokens as usize);
    }
    // Workers that joined after the snapshots are not candidates.
    let read = snapshots.overlap.workers.iter().map(|score| score.worker_id);
    let allowed =
        read.filter(|worker| wanted.allowed.as_ref().is_none_or(|allowed| allowed.contains(worker))).collect();
    let shared = &snapshots.overlap.shared_cache;
    let load = |load: &PotentialLoad| WorkerLoadProjection {
        active_prefill_tokens: load.potential_prefill_tokens,
        active_decode_blocks: load.potential_decode_blocks,
        active_requests: load.active_requests,
        additional_active_blocks: 0,
    };
    let loads = snapshots.loads.iter().map(|one| (WorkerWithDpRank::new(one.worker_id, one.dp_rank), load(one)));
    SchedulingRequest {
        mode: ScheduleMode::QueryOnly { request_id: None },
        token_seq: None,
        isl_tokens: snapshots.prompt_tokens,
        lora_name: None,
        expected_output_tokens: wanted.expected_output_tokens,
        affinity_target: None,
        pinned_worker: wanted.pinned,
        allowed_worker_ids: Some(allowed),
        routing_constraints: wanted.constraints,
        router_config_override: wanted.overrides,
        track_prefill_tokens: tracks_prefill,
        priority_jump: 0.0,
        strict_priority: 0,
        policy_class: None,
        session_context: wanted.session,
        overlap: signals,
        kv_transfer_candidates: None,
        retain_kv_transfer_chain: false,
        shared_cache_hits: shared
            .enabled
            .then(|| SharedCacheHits::from_ranges(shared.ranges.iter().map(|(start, end)| *start..*end).collect())),
        worker_loads: loads.collect(),
        resp_tx: None,
    }
}

fn refusal(error: KvSchedulerError) -> Failure {
    match error {
        KvSchedulerError::NoEndpoints => Failure::new("Unavailable", "router.not_ready", error.to_string()),
        _ => Failure::new("InvalidRequest", "router.bad_request", error.to_string()),
    }
}

/// Returns the terms of each candidate, and the winner. `decided` is the winner if it does not depend on these
/// snapshots.
pub fn explain<C: WorkerConfigLike>(
    chooser: &Chooser<'_, C>,
    wanted: Wanted,
    snapshots: Snapshots,
    decided: Option<WorkerWithDpRank>,
) -> Result<Explanation, Failure> {
    let (config, workers, overlap) = (chooser.config, chooser.workers, &snapshots.overlap);
    let loads: HashMap<(u64, u32), &PotentialLoad> =
        snapshots.loads.iter().map(|load| ((load.worker_id, load.dp_rank), load)).collect();
    let facts: Vec<(WorkerWithDpRank, Option<&'static str>, Facts)> = overlap
        .workers
        .iter()
        .map(|score| {
            let load = loads.get(&(score.worker_id, score.dp_rank));
            let taints = workers.get(&score.worker_id).map(WorkerConfigLike::taints);
            let facts = Facts {
                device_blocks: score.device_blocks as f64,
                host_blocks: score.host_pinned_extension_blocks as f64,
                disk_blocks: score.disk_extension_blocks as f64,
                shared_blocks: score.shared_beyond_device_blocks.unwrap_or(0).into(),
                cached_tokens: 0,
                load_known: load.is_some(),
                active_prefill_tokens: load.map_or(0, |load| load.potential_prefill_tokens),
                decode_blocks: load.map_or(0.0, |load| load.potential_decode_blocks as f64),
                active_requests: load.map_or(0, |load| load.active_requests),
                taint_multiplier: taints
                    .and_then(|taints| wanted.constraints.preferred_taint_multiplier(taints))
                    .unwrap_or(1.0),
            };
            (rank_of(score), wanted.excluded(score.worker_id, workers.get(&score.worker_id)), facts)
        })
        .collect();
    let eligible = facts.iter().filter(|(_, excluded, _)| excluded.is_none());
    let tracks_prefill = wanted
        .overrides
        .as_ref()
        .and_then(|overrides| overrides.track_prefill_tokens)
        .unwrap_or(config.router_track_prefill_tokens);
    let request = Request {
        prompt_tokens: snapshots.prompt_tokens,
        blocks: snapshots.prompt_tokens.div_ceil(overlap.block_size as usize) as u64,
        block_size: overlap.block_size,
        tracks_prefill,
        least_prefill_tokens: eligible.map(|(_, _, facts)| facts.active_prefill_tokens).min().unwrap_or(0),
    };
    let weights = Weights::new(config, chooser.role);
    let mut candidates: Vec<Candidate> = facts
        .into_iter()
        .map(|(rank, excluded, facts)| {
            let terms = terms(&weights, &request, &facts);
            Candidate { worker_id: rank.worker_id, dp_rank: rank.dp_rank, excluded, facts, terms }
        })
        .collect();
    candidates.sort_by(|a, b| {
        a.terms.cost.total_cmp(&b.terms.cost).then((a.worker_id, a.dp_rank).cmp(&(b.worker_id, b.dp_rank)))
    });

    let winner = match decided {
        Some(winner) => winner,
        None => {
            let request = scheduled(config, wanted, &snapshots, tracks_prefill);
            let policy = (chooser.policy)(config, chooser.role, chooser.partition);
            let input = WorkerSelectionInput::configured(workers, &request, request.eligibility(), overlap.block_size);
            policy.select_worker(input).map_err(refusal)?.worker
        }
    };
    Ok(Explanation {
        block_size: overlap.block_size,
        prompt_tokens: snapshots.prompt_tokens,
        prompt_blocks: overlap.num_blocks,
        weights,
        candidates,
        worker_id: winner.worker_id,
        dp_rank: winner.dp_rank,
    })
}
