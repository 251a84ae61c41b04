//! Reports finished prefills to routers, for workers whose requests do not go through dynamo-backend-common.

use std::sync::Arc;

use dynamo_llm::first_token::{FirstTokenNotifier, FirstTokenSource};
use parking_lot::Mutex;

use super::config::worker_type;
use crate::abi::{Call, Failure, Handle, Reply, dyn_call, dyn_reply, op, reply};
use crate::runtime::EndpointRef;

struct FirstTokens(Mutex<Option<FirstTokenSource>>);

/// Returns a `FirstTokens` for an endpoint. `args`: the worker type, `aggregated` or `decode`.
/// Takes: handle endpoint, args bytes. Returns: handle firstTokens.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_first_token_open(call: &dyn_call) {
    op(call, |call: &Call| {
        let this = call.handle::<EndpointRef>()?;
        let role = worker_type("workerType", &call.args::<String>()?)?;
        Ok(async move {
            let source = FirstTokenSource::for_endpoint(&this.endpoint, role).await.ok_or_else(|| {
                Failure::new(
                    "Unavailable",
                    "transport.cannot_connect",
                    "the event plane accepted no publisher; the log has the reason",
                )
            })?;
            Ok(Reply::handle(Handle::new(Arc::new(FirstTokens(Mutex::new(Some(source)))))))
        })
    })
}

/// Reports to routers that the prefill of a request is finished. `a`: the data-parallel rank. The payload is the id of
/// the request.
/// Takes: handle firstTokens, payload bytes, a dpRank. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_first_token_notify(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let this = call.handle::<FirstTokens>()?;
        let id =
            std::str::from_utf8(call.payload()).map_err(|error| Failure::invalid(format!("requestId: {error}")))?;
        let open = this.0.lock();
        let source = open.as_ref().ok_or_else(|| Failure::closed("the first token source"))?;
        if let Some(notifier) = FirstTokenNotifier::for_request(None, Some(source), id, Some(call.a() as u32)) {
            notifier.notify();
        }
        Ok(Reply::unit())
    })
}

/// Ends a `FirstTokens`. Idempotent.
/// Takes: handle firstTokens. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_first_token_close(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let _enter = crate::process::enter();
        call.handle::<FirstTokens>()?.0.lock().take();
        Ok(Reply::unit())
    })
}
