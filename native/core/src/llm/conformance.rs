//! Runs upstream's conformance kit against an engine in the host language, for this project's own tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use dynamo_backend_common::testing::{run_conformance, run_encode_conformance, run_raw_conformance};
use serde::Deserialize;

use super::engine::{HostEngine, HostRawEngine};
use super::publish::Publishers;
use super::registration::EngineTraits;
use crate::abi::{Call, Failure, Handle, Reply, dyn_call, dyn_reply, op, reply};
use crate::inbox::Inbox;
use crate::sink::HIGH_WATER_BYTES;

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kit {
    Token,
    Encode,
    Raw,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConformanceArgs {
    kit: Kit,
    engine: EngineTraits,
}

/// Returns an `Inbox` without a worker.
/// Takes: nothing. Returns: handle inbox.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_conformance_inbox(call: &dyn_call) -> dyn_reply {
    reply(call, |_: &Call| Ok(Reply::handle(Handle::new(Inbox::new(HIGH_WATER_BYTES)))))
}

/// Runs a kit on an inbox. `args`: `{kit: token | encode | raw, engine}`. Fails with the check that the engine failed.
/// The kit uses several engines. The metadata of each request has the number of its engine.
/// Takes: handle inbox, args bytes. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_conformance_run(call: &dyn_call) {
    op(call, |call: &Call| {
        let inbox = call.handle::<Inbox>()?;
        let args = call.args::<ConformanceArgs>()?;
        Ok(async move {
            let made = AtomicUsize::new(0);
            let engine = || {
                let index = made.fetch_add(1, Relaxed);
                let limit = Duration::from_secs(5);
                HostEngine::new(inbox.clone(), args.engine.clone(), index, Arc::new(Publishers::default()), limit)
            };
            let ran = match args.kit {
                Kit::Token => run_conformance(engine).await,
                Kit::Encode => run_encode_conformance(engine).await,
                Kit::Raw => run_raw_conformance(|| HostRawEngine(engine())).await,
            };
            inbox.close();
            ran.map_err(|failure| Failure::new("BackendProtocol", "", failure.to_string()))?;
            Ok(Reply::unit())
        })
    })
}
