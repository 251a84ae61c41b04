//! The mocker's offline replay. It runs a trace through simulated workers and the real router, in virtual time.

use std::path::PathBuf;
use std::sync::Arc;

use dynamo_mocker::config::MockerConfig;
use dynamo_mocker::loadgen::TraceFileFormat;
use dynamo_mocker::replay::{
    OfflineDisaggReplayConfig, ReplayRouterMode, ReplayRuntimeObservers, ReplayScalingPolicy, ReplayTelemetryOptions,
    SlaThresholds, TraceSimulationReport,
    simulate_trace_file_disagg_with_router_mode_and_format_and_runtime_observers as simulate_disaggregated,
    simulate_trace_file_with_router_mode_and_format_and_runtime_observers as simulate_aggregated,
};
use serde::Deserialize;
use serde_json::Value;

use super::config::router_config;
use super::replay_scaling::{CancelCheck, HostScaling, ReplayEnd, ScalingArgs};
use crate::abi::{Call, Failure, Handle, Reply, dyn_call, dyn_reply, op, reply};
use crate::inbox::Inbox;
use crate::sink::HIGH_WATER_BYTES;

/// The simulated time between two checks whether the host has cancelled.
const CANCEL_CHECK_MS: f64 = 10_000.0;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind", deny_unknown_fields)]
enum Pool {
    Aggregated {
        workers: usize,
        engine: Value,
    },
    #[serde(rename_all = "camelCase")]
    Disaggregated {
        prefill_workers: usize,
        decode_workers: usize,
        prefill_engine: Value,
        decode_engine: Value,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ReplayArgs {
    trace: PathBuf,
    /// How many tokens one hash of the trace stands for.
    trace_block_size: usize,
    pool: Pool,
    /// `round_robin` or `kv`.
    mode: String,
    /// In the field names of `KvRouterConfig`.
    config: Option<Value>,
    speedup: f64,
    sla: Option<SlaThresholds>,
    /// Needs the handle of an inbox.
    scaling: Option<ScalingArgs>,
}

fn engine(path: &str, value: Value) -> Result<MockerConfig, Failure> {
    MockerConfig::from_value(value).map_err(|error| Failure::invalid(format!("{path}: {error:#}")))
}

fn run(
    args: ReplayArgs,
    inbox: Option<Arc<Inbox>>,
    cancellable: bool,
    end: &Arc<ReplayEnd>,
) -> Result<TraceSimulationReport, Failure> {
    let mode = match args.mode.as_str() {
        "round_robin" => ReplayRouterMode::RoundRobin,
        "kv" => ReplayRouterMode::KvRouter,
        other => return Err(Failure::invalid(format!("mode: expected round_robin or kv, got {other}"))),
    };
    let config = args.config.map(|config| router_config(Some(config))).transpose()?;
    let (trace, size, speedup) = (args.trace.as_path(), args.trace_block_size, args.speedup);
    let aggregated = matches!(args.pool, Pool::Aggregated { .. });
    let policy = args.scaling.zip(inbox).map(|(args, inbox)| -> Box<dyn ReplayScalingPolicy> {
        Box::new(HostScaling { args, aggregated, inbox, end: end.clone() })
    });
    // A sample splits the sums over simulated time, which changes their last digit.
    let telemetry = cancellable.then(|| ReplayTelemetryOptions {
        sample_interval_ms: CANCEL_CHECK_MS,
        observer: Box::new(CancelCheck(end.clone())),
    });
    let observers = ReplayRuntimeObservers { scaling_policy: policy, telemetry };
    let (format, sla) = (TraceFileFormat::Mooncake, args.sla.unwrap_or_default());
    let simulated = match args.pool {
        Pool::Aggregated { workers, engine: value } => {
            let engine = engine("pool.engine", value)?;
            simulate_aggregated(
                engine, config, None, trace, size, workers, speedup, mode, format, 0.0, 0, false, None, None, sla,
                observers,
            )
        }
        Pool::Disaggregated { prefill_workers, decode_workers, prefill_engine, decode_engine } => {
            let pools = OfflineDisaggReplayConfig {
                prefill_args: engine("pool.prefillEngine", prefill_engine)?,
                decode_args: engine("pool.decodeEngine", decode_engine)?,
                num_prefill_workers: prefill_workers,
                num_decode_workers: decode_workers,
            };
            simulate_disaggregated(
                pools, config, None, trace, size, speedup, mode, format, 0.0, 0, false, None, None, sla, observers,
            )
        }
    };
    simulated.map_err(|error| end.take().unwrap_or_else(|| error.into()))
}

/// Ends the replay of an operation that is cancelled, and the calls to its policy with every operation.
struct EndWithOperation(Arc<ReplayEnd>, Option<Arc<Inbox>>);

impl Drop for EndWithOperation {
    fn drop(&mut self) {
        self.0.cancel();
        if let Some(inbox) = &self.1 {
            inbox.close();
        }
    }
}

/// The inbox of a scaling policy.
/// Takes: nothing. Returns: handle inbox.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_replay_inbox(call: &dyn_call) -> dyn_reply {
    reply(call, |_: &Call| Ok(Reply::handle(Handle::new(Inbox::new(HIGH_WATER_BYTES)))))
}

/// `handle`: the inbox of the scaling policy, if `args` has one. `args`: `ReplayArgs`. `a`: 1 if the simulation must
/// end when the operation is cancelled. Completes with the crates' report.
/// Takes: handle inbox?, args bytes, a isCancellable. Returns: bytes.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_replay_run(call: &dyn_call) {
    op(call, |call: &Call| {
        let args = call.args::<ReplayArgs>()?;
        let inbox = args.scaling.map(|_| call.handle::<Inbox>()).transpose()?;
        let cancellable = call.a() == 1;
        Ok(async move {
            let end = Arc::new(ReplayEnd::default());
            let _ends = EndWithOperation(end.clone(), inbox.clone());
            let simulated = tokio::task::spawn_blocking(move || run(args, inbox, cancellable, &end));
            let report = simulated.await.map_err(Failure::internal)??;
            Reply::value(&serde_json::to_value(&report).map_err(Failure::internal)?)
        })
    })
}
