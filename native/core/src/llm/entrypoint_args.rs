//! The options of an entrypoint and the model that they describe.

use std::path::PathBuf;

use dynamo_llm::frontend_config::FrontendApiConfig;
use dynamo_llm::local_model::runtime_config::ModelRuntimeConfig;
use dynamo_llm::local_model::{LocalModel, LocalModelBuilder};
use dynamo_llm::reasoning_field::ReasoningField;
use serde::Deserialize;
use serde_json::Value;

use super::config::{RouterArgs, local_path};
use crate::abi::Failure;
use crate::args::{parse, read_over_defaults};
use crate::router::policy::PolicyArgs;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EntrypointArgs {
    /// `http`, `grpc`, `text`, `stdin`, or `dyn://namespace.component.endpoint`.
    pub input: String,
    #[serde(default)]
    pub engine: EngineKind,
    /// In the field names of `MockerConfig`.
    pub mocker: Option<Value>,
    /// `prefill` or `decode`, for a mocker on an endpoint.
    pub worker_type: Option<String>,
    model: Option<String>,
    model_name: Option<String>,
    #[serde(default)]
    model_aliases: Vec<String>,
    pub host: Option<String>,
    pub port: Option<u16>,
    pub metrics_port: Option<u16>,
    metrics_prefix: Option<String>,
    pub tls_cert_path: Option<PathBuf>,
    tls_key_path: Option<PathBuf>,
    tls_client_ca_cert_path: Option<PathBuf>,
    router: Option<RouterArgs>,
    migration_limit: Option<u32>,
    migration_max_seq_len: Option<u32>,
    namespace: Option<String>,
    namespace_prefix: Option<String>,
    request_template: Option<PathBuf>,
    chat_template: Option<PathBuf>,
    kv_cache_block_size: Option<u32>,
    tokenizer: Option<String>,
    tokenizer_fallback: Option<bool>,
    anthropic_api: Option<bool>,
    strip_anthropic_preamble: Option<bool>,
    streaming_tool_dispatch: Option<bool>,
    streaming_reasoning_dispatch: Option<bool>,
    reasoning_field: Option<String>,
    /// The crates read it from the environment whenever an HTTP input starts.
    pub pre_commit_error_peek_ms: Option<u64>,
    /// In the field names of `ModelRuntimeConfig`.
    runtime_config: Option<Value>,
    /// Paths whose `GET` requests the host answers. For `http`.
    #[serde(default)]
    pub routes: Vec<String>,
    /// The host processes chat requests. For `http` with workers.
    #[serde(default)]
    pub processor: bool,
    /// The host scores the workers for each request. For `http`.
    pub policy: Option<PolicyArgs>,
}

#[derive(Deserialize, Default, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    #[default]
    Dynamic,
    Echo,
    Mocker,
}

impl EntrypointArgs {
    fn api_config(&self) -> Result<Option<FrontendApiConfig>, Failure> {
        let reasoning = self.reasoning_field.as_deref();
        let reasoning = reasoning
            .map(|name| parse::<ReasoningField>("reasoningField", "reasoning or reasoning_content", name))
            .transpose()?;
        Ok(FrontendApiConfig::from_optional_flags(
            self.anthropic_api,
            self.strip_anthropic_preamble,
            self.streaming_tool_dispatch,
            self.streaming_reasoning_dispatch,
            reasoning,
        ))
    }

    pub async fn local_model(self, port: u16) -> Result<LocalModel, Failure> {
        let mut builder = LocalModelBuilder::default();
        if let Some(config) = self.api_config()? {
            builder.frontend_api_config(config);
        }
        if self.metrics_prefix.is_some() {
            builder.metrics_prefix(self.metrics_prefix);
        }
        if self.runtime_config.is_some() || self.tokenizer_fallback.is_some() {
            let mut config: ModelRuntimeConfig = match self.runtime_config {
                Some(value) => read_over_defaults("runtimeConfig", value)?,
                None => ModelRuntimeConfig::default(),
            };
            if self.tokenizer_fallback.is_some() {
                config.set_tokenizer_fallback_enabled(self.tokenizer_fallback);
            }
            builder.runtime_config(config);
        }
        if let Some(name) = &self.tokenizer {
            builder.tokenizer_backend(Some(parse("tokenizer", "default, fastokens or basetenkenizer", name)?));
        }
        if let Some(name) = &self.model {
            builder.model_path(local_path(name, self.engine != EngineKind::Dynamic).await?);
        }
        if let EngineKind::Mocker = self.engine {
            builder.is_mocker(true);
        }
        builder
            .model_name(self.model_name.or(self.model))
            .model_aliases(self.model_aliases)
            .endpoint_id(
                self.input.starts_with("dyn://").then(|| self.input.parse()).transpose().map_err(Failure::internal)?,
            )
            .http_host(self.host)
            .http_port(port)
            .http_metrics_port(self.metrics_port)
            .tls_cert_path(self.tls_cert_path)
            .tls_key_path(self.tls_key_path)
            .tls_client_ca_cert_path(self.tls_client_ca_cert_path)
            .router_config(self.router.map(RouterArgs::config).transpose()?)
            .migration_limit(self.migration_limit)
            .migration_max_seq_len(self.migration_max_seq_len)
            .namespace(self.namespace)
            .namespace_prefix(self.namespace_prefix)
            .request_template(self.request_template)
            .custom_template_path(self.chat_template)
            .kv_cache_block_size(self.kv_cache_block_size);
        Ok(builder.build().await?)
    }
}
