//! The configuration of the crates' KV router.

use dynamo_kv_router::config::KvRouterConfig;
use serde_json::Value;

use crate::abi::Failure;
use crate::args::{parse, read};

/// Reads a `KvRouterConfig` in its field names. This includes the fields that the crates do not deserialize, because a
/// worker's card must not set them.
pub fn kv_router_config(path: &str, mut value: Value) -> Result<KvRouterConfig, Failure> {
    let mut own = |name: &str| -> Result<Option<String>, Failure> {
        let given = value.as_object_mut().and_then(|fields| fields.remove(name)).unwrap_or(Value::Null);
        read(&format!("{path}.{name}"), given)
    };
    let cache = own("router_approximate_cache_policy")?;
    let (prefill, decode) = (own("router_prefill_policy")?, own("router_decode_policy")?);
    let mut config: KvRouterConfig = read(path, value)?;
    if let Some(cache) = cache {
        config.router_approximate_cache_policy =
            parse(&format!("{path}.router_approximate_cache_policy"), "ttl or lru", &cache)?;
    }
    config.router_prefill_policy = prefill;
    config.router_decode_policy = decode;
    Ok(config)
}

/// Reads the option `config`. Without it the crates' default applies.
pub fn router_config(value: Option<Value>) -> Result<KvRouterConfig, Failure> {
    value.map_or_else(|| Ok(KvRouterConfig::default()), |value| kv_router_config("config", value))
}
