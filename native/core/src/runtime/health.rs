use std::sync::Arc;

use dynamo_runtime::config::HealthStatus;
use serde::Deserialize;

use super::Runtime;
use crate::abi::{Call, Failure, Handle, Reply, dyn_call, dyn_reply, reply};
use crate::inbox::{Inbox, Request};
use crate::sink::HIGH_WATER_BYTES;

/// Sets what `/health` reports. `a`: 1 ready, 0 not ready.
/// Takes: handle runtime, a isReady. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_runtime_set_health(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let status = if call.a() == 1 { HealthStatus::Ready } else { HealthStatus::NotReady };
        call.handle::<Runtime>()?.drt.system_health().lock().set_health_status(status);
        Ok(Reply::unit())
    })
}

/// Registers `/engine/{route}` on the status server. Returns the `Inbox` of its requests. Requests and answers are JSON
/// values.
/// Takes: handle runtime, args bytes. Returns: handle inbox.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_runtime_engine_route(call: &dyn_call) -> dyn_reply {
    #[derive(Deserialize)]
    struct Args {
        route: String,
    }
    reply(call, |call: &Call| {
        let runtime = call.handle::<Runtime>()?;
        let Args { route } = call.args()?;
        if runtime.drt.engine_routes().get(&route).is_some() {
            return Err(Failure::conflict(format!("engine route {route}: already registered")));
        }
        let inbox = Inbox::new(HIGH_WATER_BYTES);
        let called = inbox.clone();
        runtime.drt.engine_routes().register(
            &route,
            Arc::new(move |body| {
                let called = called.clone();
                Box::pin(async move {
                    let payload = rmp_serde::to_vec_named(&body)?;
                    let answer = called.call(Request::new("route", payload)).await?;
                    Ok(match answer {
                        Some(bytes) => rmp_serde::from_slice(&bytes)?,
                        None => serde_json::Value::Null,
                    })
                })
            }),
        );
        Ok(Reply::handle(Handle::new(inbox)))
    })
}
