//! The mocker's offline replay. It runs a trace through simulated workers and the real router, in virtual time.

use std::path::PathBuf;

use dynamo_mocker::config::MockerConfig;
use dynamo_mocker::replay::{
    OfflineDisaggReplayConfig, ReplayRouterMode, TraceSimulationReport, simulate_trace_file_disagg_with_router_mode,
    simulate_trace_file_with_router_mode,
};
use serde::Deserialize;
use serde_json::Value;

use super::config::router_config;
use crate::abi::{Call, Failure, Reply, dyn_call, op};

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
}

fn engine(path: &str, value: Value) -> Result<MockerConfig, Failure> {
    MockerConfig::from_value(value).map_err(|error| Failure::invalid(format!("{path}: {error:#}")))
}

fn run(args: ReplayArgs) -> Result<TraceSimulationReport, Failure> {
    let mode = match args.mode.as_str() {
        "round_robin" => ReplayRouterMode::RoundRobin,
        "kv" => ReplayRouterMode::KvRouter,
        other => return Err(Failure::invalid(format!("mode: expected round_robin or kv, got {other}"))),
    };
    let config = args.config.map(|config| router_config(Some(config))).transpose()?;
    let (trace, size, speedup) = (args.trace.as_path(), args.trace_block_size, args.speedup);
    let report = match args.pool {
        Pool::Aggregated { workers, engine: value } => {
            let engine = engine("pool.engine", value)?;
            simulate_trace_file_with_router_mode(engine, config, None, trace, size, workers, speedup, mode)?
        }
        Pool::Disaggregated { prefill_workers, decode_workers, prefill_engine, decode_engine } => {
            let pools = OfflineDisaggReplayConfig {
                prefill_args: engine("pool.prefillEngine", prefill_engine)?,
                decode_args: engine("pool.decodeEngine", decode_engine)?,
                num_prefill_workers: prefill_workers,
                num_decode_workers: decode_workers,
            };
            simulate_trace_file_disagg_with_router_mode(pools, config, None, trace, size, speedup, mode)?
        }
    };
    Ok(report)
}

/// `args`: `ReplayArgs`. Completes with the crates' report.
/// Takes: args bytes. Returns: bytes.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_replay_run(call: &dyn_call) {
    op(call, |call: &Call| {
        let args = call.args::<ReplayArgs>()?;
        Ok(async move {
            let report = tokio::task::spawn_blocking(move || run(args)).await.map_err(Failure::internal)??;
            Reply::value(&serde_json::to_value(&report).map_err(Failure::internal)?)
        })
    })
}
