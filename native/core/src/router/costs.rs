//! The terms of the default policy's cost. `explain` reports them, and a policy in the host language falls back to
//! their sum. The crates compute the same sum, but do not expose its terms. Source: `dynamo-custom-policy-builtin`
//! `default/scorer.rs`.

use dynamo_kv_router::WorkerType;
use dynamo_kv_router::config::{KvRouterConfig, SharedCacheType};
use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Weights {
    overlap_credit: f64,
    overlap_credit_decay: f64,
    host_hit: f64,
    disk_hit: f64,
    shared_hit: f64,
    prefill_scale: f64,
    active_request: f64,
    /// Whether the pool has decode workers that never prefill.
    #[serde(skip)]
    plain_decode: bool,
    #[serde(skip)]
    decode: bool,
}

impl Weights {
    pub fn new(config: &KvRouterConfig, role: WorkerType) -> Self {
        Self {
            overlap_credit: config.overlap_score_credit,
            overlap_credit_decay: config.overlap_score_credit_decay,
            host_hit: config.host_cache_hit_weight,
            disk_hit: config.disk_cache_hit_weight,
            shared_hit: config.shared_cache_multiplier.unwrap_or(match config.shared_cache_type {
                SharedCacheType::None => 0.0,
                SharedCacheType::Hicache => 0.5,
            }),
            prefill_scale: config.prefill_load_scale,
            active_request: config.decode_active_request_weight,
            plain_decode: role == WorkerType::Decode && !config.conditional_disagg_enabled,
            decode: role.default_selector_label() == "decode",
        }
    }

    pub fn uses_cache(&self) -> bool {
        !self.plain_decode && self.overlap_credit != 0.0
    }
}

/// What all candidates of a request have in common.
pub struct Request {
    pub prompt_tokens: usize,
    pub blocks: u64,
    pub block_size: u32,
    pub tracks_prefill: bool,
    /// The minimum of the candidates' prefill tokens.
    pub least_prefill_tokens: usize,
}

/// The inputs of the cost of one candidate.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    pub device_blocks: f64,
    pub host_blocks: f64,
    pub disk_blocks: f64,
    /// Blocks of a shared cache that the worker does not have.
    pub shared_blocks: f64,
    pub cached_tokens: usize,
    pub load_known: bool,
    pub active_prefill_tokens: usize,
    pub decode_blocks: f64,
    pub active_requests: usize,
    pub taint_multiplier: f64,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Terms {
    /// Blocks that need no prefill, weighted by their tier.
    pub overlap_credit: f64,
    /// The factor of the credit for blocks on the device. It falls with the load above that of the least loaded
    /// candidate. 1 is the full credit.
    pub credit_decay: f64,
    /// Blocks to prefill, including those of waiting requests, minus the credit, scaled.
    pub prefill: f64,
    /// Blocks in use after the request is added.
    pub decode: f64,
    pub requests: f64,
    pub taint_multiplier: f64,
    pub cost: f64,
}

pub fn terms(weights: &Weights, request: &Request, facts: &Facts) -> Terms {
    let credit_each = match weights.plain_decode && !request.tracks_prefill {
        true => 0.0,
        false => weights.overlap_credit,
    };
    let size = f64::from(request.block_size);
    let credit_decay = match request.tracks_prefill && weights.overlap_credit_decay > 0.0 {
        true => {
            let excess = facts.active_prefill_tokens.saturating_sub(request.least_prefill_tokens) as f64 / size;
            1.0 / (1.0 + weights.overlap_credit_decay * (excess / request.blocks.max(1) as f64))
        }
        false => 1.0,
    };
    let overlap_credit = match weights.uses_cache() {
        true => {
            credit_each * credit_decay * facts.device_blocks
                + weights.host_hit * facts.host_blocks
                + weights.disk_hit * facts.disk_blocks
                + weights.shared_hit * facts.shared_blocks
        }
        false => 0.0,
    };
    let requests = weights.active_request * facts.active_requests as f64;
    let (prefill, decode) = if weights.decode && !request.tracks_prefill && credit_each > 0.0 {
        (0.0, (facts.decode_blocks - overlap_credit).max(0.0))
    } else {
        let tokens = match (request.tracks_prefill, facts.load_known) {
            (false, _) => 0,
            (true, true) => facts.active_prefill_tokens + request.prompt_tokens.max(facts.cached_tokens),
            (true, false) => request.prompt_tokens,
        };
        (weights.prefill_scale * (tokens as f64 / size - overlap_credit).max(0.0), facts.decode_blocks)
    };
    let taint_multiplier = facts.taint_multiplier;
    let cost = (prefill + decode + requests) * taint_multiplier;
    Terms { overlap_credit, credit_decay, prefill, decode, requests, taint_multiplier, cost }
}

/// Returns the index of the lowest cost, chosen at random among equal costs. Above temperature 0 the index is drawn by
/// softmax over the range of the costs.
pub fn pick(costs: &[f64], temperature: f64) -> usize {
    let (least, most) =
        costs.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), cost| (low.min(*cost), high.max(*cost)));
    let weight = |cost: f64| match (temperature > 0.0, most > least) {
        (true, true) => (-(cost - least) / ((most - least) * temperature)).exp(),
        (true, false) => 1.0,
        (false, _) => f64::from(u8::from(cost == least)),
    };
    let mut left = random_unit() * costs.iter().copied().map(weight).sum::<f64>();
    let mut last = 0;
    for (index, cost) in costs.iter().enumerate() {
        let share = weight(*cost);
        if share == 0.0 {
            continue;
        }
        last = index;
        left -= share;
        if left < 0.0 {
            break;
        }
    }
    last
}

/// A random number from 0 to less than 1.
fn random_unit() -> f64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    // Every state has new random keys, so an empty hash is as good as a random word.
    (RandomState::new().build_hasher().finish() >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests;
