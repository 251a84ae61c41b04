//! Finds workers by the `runtime_data` of their model card, which their engine sets.

use std::collections::HashMap;

use dynamo_llm::discovery::runtime_config_watch;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::abi::{Call, dyn_call, op};
use crate::runtime::Client;

/// Completes when `a` instances are routable whose card has these entries in its `runtime_data`. Returns all such
/// instances. `args`: a map of keys and values.
/// Takes: handle client, args bytes, a instanceCount. Returns: bytes.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_client_wait_for_data(call: &dyn_call) {
    op(call, |call: &Call| {
        let client = call.handle::<Client>()?;
        client.open()?;
        let wanted = call.args::<HashMap<String, Value>>()?;
        let count = call.a() as usize;
        Ok(async move {
            let watching = CancellationToken::new();
            let _end = watching.clone().drop_guard();
            let configs = runtime_config_watch(client.endpoint(), watching).await?;
            client
                .routable(count, configs, |configs, id| {
                    let has = |(key, value): (&String, &Value)| {
                        configs.get(&id).is_some_and(|config| config.runtime_data.get(key) == Some(value))
                    };
                    wanted.iter().all(has)
                })
                .await
        })
    })
}
