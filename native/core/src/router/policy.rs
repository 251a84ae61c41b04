//! A routing policy in the host language. Its scorer sends a snapshot of all candidates to an inbox and waits for their
//! costs until a deadline. After the deadline, or if the answer is not valid, the costs of the default policy apply.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use dynamo_kv_router::ScoredWorkerCandidate;
use dynamo_kv_router::plugins::worker_selection::{
    WorkerCandidates, WorkerInputView, WorkerInputs, WorkerPicker, WorkerScorer, WorkerSelectionContext,
    WorkerSelectionPolicy, WorkerSelectionPolicyError, WorkerSelectionPolicyFactory,
};
use dynamo_runtime::metrics::MetricsHierarchy;
use prometheus::CounterVec;
use rmp::encode as mp;
use serde::{Deserialize, Serialize};

use super::costs::{Facts, Request as CostRequest, Terms, Weights, pick, terms};
use crate::abi::{Call, Failure, Reply, dyn_call, dyn_reply, reply};
use crate::blocking_call::{Outcome, blocking_call};
use crate::inbox::{Inbox, Request};

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyArgs {
    pub time_limit_us: u64,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    /// Scored by the host's policy.
    scored: AtomicU64,
    /// The host did not answer in time.
    timed_out: AtomicU64,
    /// The host answered with an error, or not with one finite cost for each candidate.
    failed: AtomicU64,
}

const OUTCOMES: [&str; 3] = ["scored", "timed_out", "failed"];

pub struct HostPolicy {
    inbox: Arc<Inbox>,
    limit: Duration,
    counts: Counts,
    /// The same counts on the runtime's `/metrics`.
    exposed: Option<CounterVec>,
}

/// The capacity of an answer, which is a few floats.
const ANSWER_BYTES: usize = 1 << 16;

impl HostPolicy {
    pub fn new(args: PolicyArgs, metrics: Option<&dynamo_runtime::DistributedRuntime>) -> Result<Arc<Self>, Failure> {
        let exposed = metrics
            .map(|drt| {
                let help = "Requests to the routing policy of the host language, by outcome";
                MetricsHierarchy::metrics(&drt).create_countervec(
                    "router_policy_requests_total",
                    help,
                    &["outcome"],
                    &[],
                )
            })
            .transpose()?;
        for outcome in exposed.iter().flat_map(|counter| OUTCOMES.map(|outcome| (counter, outcome))) {
            outcome.0.with_label_values(&[outcome.1]).inc_by(0.0);
        }
        let limit = Duration::from_micros(args.time_limit_us);
        Ok(Arc::new(Self { inbox: Inbox::new(ANSWER_BYTES), limit, counts: Counts::default(), exposed }))
    }

    pub fn inbox(&self) -> Arc<Inbox> {
        self.inbox.clone()
    }

    pub fn factory(self: &Arc<Self>) -> WorkerSelectionPolicyFactory {
        let policy = self.clone();
        Arc::new(move |config, role, _partition| {
            let scorer =
                HostScorer { policy: policy.clone(), weights: Weights::new(config, role), role: role.as_str() };
            let picker = LeastCost { temperature: config.router_temperature };
            WorkerSelectionPolicy::new(
                config.clone(),
                role.default_selector_label(),
                vec![Box::new(scorer)],
                Box::new(picker),
            )
            .with_exclusive_affinity(true)
        })
    }

    fn count(&self, outcome: usize) {
        [&self.counts.scored, &self.counts.timed_out, &self.counts.failed][outcome].fetch_add(1, Relaxed);
        if let Some(exposed) = &self.exposed {
            exposed.with_label_values(&[OUTCOMES[outcome]]).inc();
        }
    }

    /// The costs from the host, or `None` if the default costs apply.
    fn score(&self, snapshot: Vec<u8>, count: usize) -> Option<Vec<f64>> {
        let costs = match blocking_call(&self.inbox, Request::new("score", snapshot), self.limit) {
            Outcome::TimedOut => {
                self.count(1);
                return None;
            }
            Outcome::Failed(_) => None,
            Outcome::Answered(bytes) => costs(&bytes, count),
        };
        self.count(if costs.is_some() { 0 } else { 2 });
        costs
    }
}

fn costs(bytes: &[u8], count: usize) -> Option<Vec<f64>> {
    let costs: Vec<f64> =
        bytes.chunks_exact(8).map(|word| f64::from_le_bytes(word.try_into().unwrap_or_default())).collect();
    (bytes.len() == count * 8 && costs.iter().all(|cost| cost.is_finite())).then_some(costs)
}

struct HostScorer {
    policy: Arc<HostPolicy>,
    weights: Weights,
    role: &'static str,
}

impl WorkerScorer for HostScorer {
    fn required_worker_inputs(&self) -> WorkerInputs {
        WorkerInputs::CACHE | WorkerInputs::LOAD | WorkerInputs::PREFERRED_TAINT | WorkerInputs::OCCUPANCY
    }

    fn score(
        &mut self,
        context: &WorkerSelectionContext<'_>,
        candidates: WorkerCandidates<'_>,
        costs: &mut [f64],
    ) -> Result<(), WorkerSelectionPolicyError> {
        let facts: Vec<Facts> = (0..candidates.len()).map(|row| facts(candidates, row)).collect();
        let request = CostRequest {
            prompt_tokens: context.prompt_tokens(),
            blocks: context.request_blocks(),
            block_size: context.block_size(),
            tracks_prefill: context.tracks_prefill_tokens(),
            least_prefill_tokens: facts.iter().map(|facts| facts.active_prefill_tokens).min().unwrap_or(0),
        };
        let built_in: Vec<Terms> = facts.iter().map(|facts| terms(&self.weights, &request, facts)).collect();
        let snapshot = snapshot(context, self.role, candidates, &facts, &built_in);
        match self.policy.score(snapshot, costs.len()) {
            Some(wanted) => costs.copy_from_slice(&wanted),
            None => costs.iter_mut().zip(&built_in).for_each(|(cost, terms)| *cost = terms.cost),
        }
        Ok(())
    }
}

fn facts(candidates: WorkerCandidates<'_>, row: usize) -> Facts {
    let mut facts = Facts { taint_multiplier: 1.0, ..Facts::default() };
    let Some(candidate) = candidates.get(row) else { return facts };
    if let Some(cache) = candidate.cache() {
        let (estimated, cached_tokens) = cache.accounting_cache_estimate();
        facts.device_blocks = if cache.has_tier_matches() { cache.device_overlap_blocks() } else { estimated };
        facts.host_blocks = cache.host_overlap_blocks();
        facts.disk_blocks = cache.disk_overlap_blocks();
        facts.cached_tokens = cached_tokens;
        let have = facts.device_blocks.round().max(0.0) as u32;
        facts.shared_blocks = cache.shared_hits().map_or(0, |hits| hits.hits_beyond(have)).into();
    }
    if let Some(load) = candidate.load() {
        facts.load_known = load.is_available();
        facts.active_prefill_tokens = load.active_prefill_tokens();
        facts.decode_blocks = load.decode_cost_blocks();
        facts.active_requests = load.active_requests();
    }
    facts.taint_multiplier = candidate.preferred_taint_multiplier().unwrap_or(1.0);
    facts
}

/// A map with the request and one column for each input. A column is the bytes of its words, in the order of the
/// candidates.
fn snapshot(
    context: &WorkerSelectionContext<'_>,
    role: &str,
    candidates: WorkerCandidates<'_>,
    facts: &[Facts],
    built_in: &[Terms],
) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + candidates.len() * 96);
    let floats =
        |column: &dyn Fn(usize) -> f64| (0..facts.len()).flat_map(|row| column(row).to_le_bytes()).collect::<Vec<u8>>();
    let written = (|| -> Result<(), mp::ValueWriteError> {
        mp::write_map_len(&mut out, 17)?;
        mp::write_str(&mut out, "workerType")?;
        mp::write_str(&mut out, role)?;
        mp::write_str(&mut out, "sessionId")?;
        mp::write_str(&mut out, context.session_context().map_or("", |session| session.session_id()))?;
        for (name, number) in [
            ("promptTokens", context.prompt_tokens() as u64),
            ("promptBlocks", context.request_blocks()),
            ("blockSize", context.block_size().into()),
            ("expectedOutputTokens", context.expected_output_tokens().unwrap_or(0).into()),
        ] {
            mp::write_str(&mut out, name)?;
            mp::write_uint(&mut out, number)?;
        }
        mp::write_str(&mut out, "workerIds")?;
        let ids: Vec<u8> = candidates.iter().flat_map(|one| one.worker().worker_id.to_le_bytes()).collect();
        mp::write_bin(&mut out, &ids)?;
        mp::write_str(&mut out, "dpRanks")?;
        let ranks: Vec<u8> = candidates.iter().flat_map(|one| one.worker().dp_rank.to_le_bytes()).collect();
        mp::write_bin(&mut out, &ranks)?;
        let columns: [(&str, &dyn Fn(usize) -> f64); 9] = [
            ("deviceBlocks", &|row| facts[row].device_blocks),
            ("hostBlocks", &|row| facts[row].host_blocks),
            ("diskBlocks", &|row| facts[row].disk_blocks),
            ("sharedBlocks", &|row| facts[row].shared_blocks),
            ("activePrefillTokens", &|row| facts[row].active_prefill_tokens as f64),
            ("decodeBlocks", &|row| facts[row].decode_blocks),
            ("activeRequests", &|row| facts[row].active_requests as f64),
            ("taintMultipliers", &|row| facts[row].taint_multiplier),
            ("costs", &|row| built_in[row].cost),
        ];
        for (name, column) in columns {
            mp::write_str(&mut out, name)?;
            mp::write_bin(&mut out, &floats(column))?;
        }
        Ok(())
    })();
    written.expect("writing to a Vec does not fail");
    out
}

struct LeastCost {
    temperature: f64,
}

impl WorkerPicker for LeastCost {
    fn pick(
        &mut self,
        context: &WorkerSelectionContext<'_>,
        input: WorkerInputView<'_>,
    ) -> Result<usize, WorkerSelectionPolicyError> {
        let costs: Vec<f64> = input.candidates().iter().map(ScoredWorkerCandidate::cost).collect();
        if costs.is_empty() {
            return Err(WorkerSelectionPolicyError::failed("no eligible worker"));
        }
        Ok(pick(&costs, context.router_temperature_override().unwrap_or(self.temperature)))
    }
}

/// Returns `{scored, timedOut, failed}`.
/// Takes: handle policy. Returns: bytes.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_policy_counts(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| Reply::value(&call.handle::<HostPolicy>()?.counts))
}
