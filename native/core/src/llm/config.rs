//! Options that several entries share.

use std::path::PathBuf;

use dynamo_kv_router::config::KvRouterConfig;
use dynamo_llm::discovery::LoadThresholdConfig;
use dynamo_llm::entrypoint::RouterConfig;
use dynamo_llm::local_model::LocalModel;
use dynamo_llm::model_type::{ModelInput, ModelType};
use dynamo_llm::session_affinity::SessionAffinityMode;
use dynamo_llm::worker_type::WorkerType;
use dynamo_runtime::pipeline::RouterMode;
use serde::Deserialize;
use serde_json::Value;

use crate::abi::Failure;
use crate::args::{parse, read};
use crate::router::config::kv_router_config;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouterArgs {
    mode: Option<String>,
    /// In the field names of `KvRouterConfig`.
    kv: Option<Value>,
    /// In the field names of `LoadThresholdConfig`.
    busy: Option<Value>,
    session_affinity_ttl_secs: Option<u64>,
    session_affinity_mode: Option<String>,
}

impl RouterArgs {
    pub fn config(self) -> Result<RouterConfig, Failure> {
        let mode = match self.mode.as_deref() {
            None => RouterMode::default(),
            Some("kv") => RouterMode::KV,
            Some(mode) => read("router.mode", Value::String(mode.into()))?,
        };
        let kv = match self.kv {
            None => KvRouterConfig::default(),
            Some(value) => kv_router_config("router.kv", value)?,
        };
        let busy: LoadThresholdConfig = match self.busy {
            None => LoadThresholdConfig::default(),
            Some(value) => read("router.busy", value)?,
        };
        let mut config = RouterConfig::new(mode, kv).with_load_threshold_config(busy);
        config.session_affinity_ttl_secs = self.session_affinity_ttl_secs;
        if let Some(mode) = self.session_affinity_mode {
            config.session_affinity_mode =
                parse::<SessionAffinityMode>("router.sessionAffinityMode", "hard or soft", &mode)?;
        }
        Ok(config)
    }
}

pub fn model_type(path: &str, names: &[String]) -> Result<ModelType, Failure> {
    names.iter().try_fold(ModelType::empty(), |types, name| {
        Ok(types
            | match name.as_str() {
                "chat" => ModelType::Chat,
                "completions" => ModelType::Completions,
                "embedding" => ModelType::Embedding,
                "tensor" => ModelType::TensorBased,
                "prefill" => ModelType::Prefill,
                "images" => ModelType::Images,
                "audios" => ModelType::Audios,
                "videos" => ModelType::Videos,
                "realtime" => ModelType::Realtime,
                "classify" => ModelType::Classify,
                "pooling" => ModelType::Pooling,
                "rerank" => ModelType::Rerank,
                other => return Err(Failure::invalid(format!("{path}: expected a model type, got {other:?}"))),
            })
    })
}

pub fn model_input(path: &str, name: &str) -> Result<ModelInput, Failure> {
    match name {
        "text" => Ok(ModelInput::Text),
        "tokens" => Ok(ModelInput::Tokens),
        "tensor" => Ok(ModelInput::Tensor),
        other => Err(Failure::invalid(format!("{path}: expected text, tokens or tensor, got {other:?}"))),
    }
}

pub fn worker_type(path: &str, name: &str) -> Result<WorkerType, Failure> {
    parse(path, "aggregated, prefill, decode or encode", name)
}

/// Returns a local directory as it is. Any other name is first fetched from the model hub into its cache.
pub async fn local_path(name: &str, ignore_weights: bool) -> Result<PathBuf, Failure> {
    let path = PathBuf::from(name);
    if path.exists() {
        return Ok(path);
    }
    if path.is_absolute() || name.starts_with('.') {
        return Err(Failure::new("NotFound", "", format!("model: no such directory: {name}")));
    }
    let fetched = LocalModel::fetch(name, ignore_weights).await;
    fetched.map_err(|error| Failure::new("Unavailable", "model.fetch", format!("model {name}: {error:#}")))
}

#[cfg(test)]
mod tests;
