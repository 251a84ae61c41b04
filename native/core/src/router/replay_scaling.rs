//! Observers of a replay: a scaling policy in the host language, and the check whether the host has cancelled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::anyhow;
use dynamo_mocker::common::protocols::ForwardPassSnapshot;
use dynamo_mocker::replay::{
    ReplayScalingDecision, ReplayScalingPolicy, ReplayScalingSnapshot, ReplayTelemetryObserver,
    ReplayTelemetrySnapshot, TrafficStats,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::abi::Failure;
use crate::blocking_call::{Outcome, blocking_call};
use crate::inbox::{Inbox, Request};

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScalingArgs {
    pub first_tick_ms: f64,
    pub time_limit_ms: u64,
}

/// Why a replay ends before its trace. The simulator only carries the words of an error.
#[derive(Default)]
pub struct ReplayEnd {
    cancelled: AtomicBool,
    failure: Mutex<Option<Failure>>,
}

impl ReplayEnd {
    pub fn cancel(&self) {
        self.cancelled.store(true, Relaxed);
    }

    pub fn take(&self) -> Option<Failure> {
        self.failure.lock().take()
    }

    fn check(&self) -> anyhow::Result<()> {
        match self.cancelled.load(Relaxed) {
            true => Err(anyhow!("the replay was cancelled")),
            false => Ok(()),
        }
    }

    fn fail(&self, failure: Failure) -> anyhow::Error {
        let error = anyhow!("{}", failure.message);
        *self.failure.lock() = Some(failure);
        error
    }
}

/// Ends a replay that the host has cancelled. Its samples do not affect the simulation.
pub struct CancelCheck(pub Arc<ReplayEnd>);

impl ReplayTelemetryObserver for CancelCheck {
    fn on_sample(&mut self, _: ReplayTelemetrySnapshot) -> anyhow::Result<()> {
        self.0.check()
    }
}

/// Asks the host at each tick, and blocks the simulation until the answer.
pub struct HostScaling {
    pub args: ScalingArgs,
    pub aggregated: bool,
    pub inbox: Arc<Inbox>,
    pub end: Arc<ReplayEnd>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Snapshot {
    tick: u64,
    now_ms: f64,
    pools: Pools,
    traffic: Traffic,
}

#[derive(Serialize, Default)]
struct Pools {
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<Pool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefill: Option<Pool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decode: Option<Pool>,
}

#[derive(Serialize)]
struct Pool {
    active: Vec<usize>,
    starting: Vec<usize>,
    draining: Vec<usize>,
    passes: Vec<Pass>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Pass {
    worker: usize,
    dp_rank: u32,
    wall_ms: f64,
    prefill_requests: u32,
    prefill_tokens: u64,
    decode_requests: u32,
    decode_kv_tokens: u64,
    queued_prefill_requests: u32,
    queued_prefill_tokens: u64,
    queued_decode_requests: u32,
    queued_decode_kv_tokens: u64,
}

/// Means are absent without a request that counts for them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Traffic {
    duration_ms: f64,
    requests: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_tokens: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_tokens: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttft_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    itl_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hit_rate: Option<f64>,
}

/// What the host answers: the counts that change, and the time of the next tick if there is one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Decision {
    prefill: Option<usize>,
    decode: Option<usize>,
    next_tick_ms: Option<f64>,
}

fn pool(
    active: Vec<usize>,
    starting: Vec<usize>,
    draining: Vec<usize>,
    passes: Vec<(usize, ForwardPassSnapshot)>,
) -> Pool {
    let passes = passes.into_iter().map(|(worker, pass)| Pass {
        worker,
        dp_rank: pass.dp_rank,
        wall_ms: pass.wall_time_secs * 1000.0,
        prefill_requests: pass.num_prefill_requests,
        prefill_tokens: pass.sum_prefill_tokens,
        decode_requests: pass.num_decode_requests,
        decode_kv_tokens: pass.sum_decode_kv_tokens,
        queued_prefill_requests: pass.num_queued_prefill,
        queued_prefill_tokens: pass.sum_queued_prefill_tokens,
        queued_decode_requests: pass.num_queued_decode,
        queued_decode_kv_tokens: pass.sum_queued_decode_kv_tokens,
    });
    Pool { active, starting, draining, passes: passes.collect() }
}

impl From<TrafficStats> for Traffic {
    fn from(stats: TrafficStats) -> Self {
        let mean = |count: usize, value: f64| (count > 0).then_some(value);
        Self {
            duration_ms: stats.duration_s * 1000.0,
            requests: stats.num_req,
            input_tokens: mean(stats.shape_count, stats.avg_isl),
            output_tokens: mean(stats.shape_count, stats.avg_osl),
            ttft_ms: mean(stats.ttft_count, stats.avg_ttft_ms),
            itl_ms: mean(stats.itl_count, stats.avg_itl_ms),
            hit_rate: mean(stats.hit_rate_count, stats.avg_kv_hit_rate),
        }
    }
}

impl HostScaling {
    fn snapshot(&self, seen: ReplayScalingSnapshot) -> Snapshot {
        let decode = pool(seen.active_decode_ids, seen.starting_decode_ids, seen.draining_decode_ids, seen.decode_fpm);
        let pools = if self.aggregated {
            Pools { worker: Some(decode), ..Pools::default() }
        } else {
            let prefill =
                pool(seen.active_prefill_ids, seen.starting_prefill_ids, seen.draining_prefill_ids, seen.prefill_fpm);
            Pools { prefill: Some(prefill), decode: Some(decode), ..Pools::default() }
        };
        Snapshot { tick: seen.tick_ordinal, now_ms: seen.now_ms, pools, traffic: seen.traffic.into() }
    }
}

impl ReplayScalingPolicy for HostScaling {
    fn initial_tick_ms(&mut self) -> anyhow::Result<f64> {
        Ok(self.args.first_tick_ms)
    }

    fn on_tick(&mut self, seen: ReplayScalingSnapshot) -> anyhow::Result<ReplayScalingDecision> {
        self.end.check()?;
        let snapshot = rmp_serde::to_vec_named(&self.snapshot(seen))?;
        let limit = Duration::from_millis(self.args.time_limit_ms);
        let answer = match blocking_call(&self.inbox, Request::new("tick", snapshot), limit) {
            Outcome::Answered(answer) => answer,
            Outcome::Failed(failure) => return Err(self.end.fail(failure)),
            Outcome::TimedOut => {
                let message = format!("the scaling policy did not answer within {} ms", self.args.time_limit_ms);
                return Err(self.end.fail(Failure::new("DeadlineExceeded", "replay.policy_deadline", message)));
            }
        };
        let decision = rmp_serde::from_slice::<Decision>(&answer)
            .map_err(|error| self.end.fail(Failure::invalid(format!("scaling: {error}"))))?;
        Ok(ReplayScalingDecision {
            target_prefill: decision.prefill,
            target_decode: decision.decode,
            next_tick_ms: decision.next_tick_ms,
        })
    }
}
