//! Forward-pass metrics: what the scheduler of an engine did in one pass. They go to planners, on the event plane.

use std::sync::Arc;

use dynamo_llm::fpm_publisher::{FpmDirectPublisher, FpmEventRelay};
use dynamo_mocker::common::protocols::{ForwardPassSnapshot, FpmPublisher};
use parking_lot::Mutex;
use serde::Deserialize;

use crate::abi::{Call, Failure, Handle, Reply, dyn_call, dyn_reply, op, reply};
use crate::runtime::EndpointRef;

/// The crates' publisher, with one sink for each data-parallel rank.
struct ForwardPass(Mutex<Option<(FpmDirectPublisher, Vec<FpmPublisher>)>>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PublisherArgs {
    ranks: u32,
    /// The crates' default is the instance id of the endpoint.
    worker_id: Option<String>,
}

/// Returns a `ForwardPass` for an endpoint. It sends a heartbeat every second while nothing else is published. `args`:
/// `{ranks, workerId}`.
/// Takes: handle endpoint, args bytes. Returns: handle forwardPass.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_forward_pass_open(call: &dyn_call) {
    op(call, |call: &Call| {
        let this = call.handle::<EndpointRef>()?;
        let args = call.args::<PublisherArgs>()?;
        Ok(async move {
            let worker_id = args.worker_id.unwrap_or_else(|| this.runtime.drt.connection_id().to_string());
            let made = FpmDirectPublisher::new(this.endpoint.clone(), worker_id, args.ranks).await?;
            Ok(Reply::handle(Handle::new(Arc::new(ForwardPass(Mutex::new(Some(made)))))))
        })
    })
}

/// Counts of one pass, the fields of `Scheduled` and `Queued` in `lib/llm/forward-pass.ts`.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Counts {
    prefill_requests: u32,
    prefill_tokens: u64,
    prefill_length_variance: f64,
    prefill_kv_tokens: u64,
    decode_requests: u32,
    decode_kv_tokens: u64,
    decode_kv_variance: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PassArgs {
    wall_time_seconds: f64,
    #[serde(default)]
    scheduled: Counts,
    #[serde(default)]
    queued: Counts,
}

/// Publishes one pass. `a`: the rank. `args`: `PassArgs`.
/// Takes: handle forwardPass, args bytes, a dpRank. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_forward_pass_publish(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let this = call.handle::<ForwardPass>()?;
        let PassArgs { wall_time_seconds, scheduled, queued } = call.args()?;
        let open = this.0.lock();
        let (_, ranks) = open.as_ref().ok_or_else(|| Failure::closed("the publisher"))?;
        let rank = ranks
            .get(call.a() as usize)
            .ok_or_else(|| Failure::invalid(format!("rank: expected less than {}, got {}", ranks.len(), call.a())))?;
        rank.publish(ForwardPassSnapshot {
            num_prefill_requests: scheduled.prefill_requests,
            sum_prefill_tokens: scheduled.prefill_tokens,
            var_prefill_length: scheduled.prefill_length_variance,
            sum_prefill_kv_tokens: scheduled.prefill_kv_tokens,
            num_decode_requests: scheduled.decode_requests,
            sum_decode_kv_tokens: scheduled.decode_kv_tokens,
            var_decode_kv_tokens: scheduled.decode_kv_variance,
            num_queued_prefill: queued.prefill_requests,
            sum_queued_prefill_tokens: queued.prefill_tokens,
            var_queued_prefill_length: queued.prefill_length_variance,
            num_queued_decode: queued.decode_requests,
            sum_queued_decode_kv_tokens: queued.decode_kv_tokens,
            var_queued_decode_kv_tokens: queued.decode_kv_variance,
            wall_time_secs: wall_time_seconds,
            ..ForwardPassSnapshot::default()
        })?;
        Ok(Reply::unit())
    })
}

/// Ends a `ForwardPass` or a relay. Idempotent.
/// Takes: handle forwardPass|forwardPassRelay. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_forward_pass_close(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let _enter = crate::process::enter();
        if let Ok(relay) = call.handle::<Relay>() {
            relay.0.lock().take();
        } else {
            call.handle::<ForwardPass>()?.0.lock().take();
        }
        Ok(Reply::unit())
    })
}

struct Relay(Mutex<Option<FpmEventRelay>>);

/// Forwards what an engine publishes on its own ZMQ socket. The payload is the address of the socket. Returns a relay.
/// Takes: handle endpoint, payload bytes. Returns: handle forwardPassRelay.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_forward_pass_relay(call: &dyn_call) {
    op(call, |call: &Call| {
        let this = call.handle::<EndpointRef>()?;
        let address = String::from_utf8(call.payload().to_vec())
            .map_err(|error| Failure::invalid(format!("address: {error}")))?;
        Ok(async move {
            // It blocks the thread that calls it.
            let endpoint = this.endpoint.clone();
            let relay = tokio::task::spawn_blocking(move || FpmEventRelay::new(endpoint, address)).await;
            let relay = relay.map_err(Failure::internal)??;
            Ok(Reply::handle(Handle::new(Arc::new(Relay(Mutex::new(Some(relay)))))))
        })
    })
}
