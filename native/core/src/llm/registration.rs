//! The description of an engine in the host language.

use std::collections::{HashMap, HashSet};

use dynamo_backend_common::{EngineConfig, LlmRegistration};
use serde::Deserialize;
use serde_json::Value;

/// The optional methods that the engine implements. Without this list each missing method would cost a call.
#[derive(Deserialize, Default, Clone)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct EngineTraits {
    pub methods: HashSet<String>,
    pub controls: Vec<String>,
    pub updates: Vec<String>,
    /// Data-parallel ranks that publish load snapshots.
    pub metrics_ranks: Vec<u32>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct LlmArgs {
    context_length: Option<u32>,
    kv_cache_block_size: Option<u32>,
    total_kv_blocks: Option<u64>,
    max_num_seqs: Option<u64>,
    max_num_batched_tokens: Option<u64>,
    max_gpu_lora_count: Option<u32>,
    data_parallel_size: Option<u32>,
    data_parallel_start_rank: Option<u32>,
    enable_eagle: bool,
    bootstrap_host: Option<String>,
    bootstrap_port: Option<u16>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EngineConfigArgs {
    model: String,
    served_model_name: Option<String>,
    #[serde(default)]
    model_aliases: Vec<String>,
    #[serde(default)]
    runtime_data: HashMap<String, Value>,
    llm: Option<LlmArgs>,
}

impl From<EngineConfigArgs> for EngineConfig {
    fn from(args: EngineConfigArgs) -> Self {
        Self {
            model: args.model,
            served_model_name: args.served_model_name,
            model_aliases: args.model_aliases,
            runtime_data: args.runtime_data,
            llm: args.llm.map(|llm| LlmRegistration {
                context_length: llm.context_length,
                kv_cache_block_size: llm.kv_cache_block_size,
                total_kv_blocks: llm.total_kv_blocks,
                max_num_seqs: llm.max_num_seqs,
                max_num_batched_tokens: llm.max_num_batched_tokens,
                max_gpu_lora_count: llm.max_gpu_lora_count,
                data_parallel_size: llm.data_parallel_size,
                data_parallel_start_rank: llm.data_parallel_start_rank,
                enable_eagle: llm.enable_eagle,
                bootstrap_host: llm.bootstrap_host,
                bootstrap_port: llm.bootstrap_port,
            }),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum KvSourceArgs {
    #[serde(rename_all = "camelCase")]
    Zmq {
        endpoint: String,
        #[serde(default)]
        topic: String,
        #[serde(default)]
        dp_rank: u32,
        image_token_id: Option<u32>,
    },
    #[serde(rename_all = "camelCase")]
    Push {
        #[serde(default)]
        dp_rank: u32,
    },
}
