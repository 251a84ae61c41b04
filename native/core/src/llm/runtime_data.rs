//! Workers found by what their engine says of itself in its model card.

use std::collections::HashMap;

use dynamo_llm::discovery::runtime_config_watch;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::abi::{Call, dyn_call, op};
use crate::runtime::Client;

/// Completes once `a` instances can be routed to whose card has this in its `runtime_data`, with all of these. `args`: a
/// map of keys and their values.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_client_wait_for_data(call: *const dyn_call) {
    unsafe {
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
}
