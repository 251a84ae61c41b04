//! Model cards. A card announces to frontends that an endpoint serves a model.

use std::collections::HashSet;
use std::path::PathBuf;

use dynamo_llm::local_model::{LocalModel, LocalModelBuilder, register_model_card, update_model_taints};
use dynamo_llm::model_card::LoraInfo;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::config::{RouterArgs, local_path, model_input, model_type, worker_type};
use super::copies::{SOON, share_path};
use crate::abi::{Call, Failure, Reply, dyn_call, dyn_reply, op, reply};
use crate::args::{read, read_over_defaults};
use crate::runtime::EndpointRef;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ModelArgs {
    /// A directory, or a name on the model hub. Without it the card only has the name, no tokenizer and no template.
    model_path: Option<String>,
    model_name: Option<String>,
    #[serde(default)]
    model_aliases: Vec<String>,
    model_types: Vec<String>,
    model_input: String,
    worker_type: String,
    /// The worker is complete if all worker types of one of these sets are present.
    #[serde(default)]
    needs: Vec<Vec<String>>,
    lora: Option<LoraInfo>,
    kv_cache_block_size: Option<u32>,
    migration_limit: Option<u32>,
    chat_template: Option<PathBuf>,
    router: Option<RouterArgs>,
    runtime_config: Option<Value>,
    user_data: Option<Value>,
    media_decoder: Option<Value>,
    media_fetcher: Option<Value>,
}

/// Publishes a model card for an endpoint. `args`: `ModelArgs`.
/// Takes: handle endpoint, args bytes. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_model_register(call: &dyn_call) {
    op(call, |call: &Call| {
        let this = call.handle::<EndpointRef>()?;
        let args = call.args::<ModelArgs>()?;
        let types = model_type("modelTypes", &args.model_types)?;
        let input = model_input("modelInput", &args.model_input)?;
        let role = worker_type("workerType", &args.worker_type)?;
        let needs = args
            .needs
            .iter()
            .map(|set| set.iter().map(|name| worker_type("needs", name)).collect())
            .collect::<Result<Vec<Vec<_>>, Failure>>()?;
        if args.model_path.is_none() && args.model_name.is_none() {
            return Err(Failure::invalid("model: expected modelPath or modelName, got neither"));
        }
        Ok(async move {
            let mut builder = LocalModelBuilder::default();
            let named_only = args.model_path.is_none();
            if let Some(name) = &args.model_path {
                builder.model_path(local_path(name, true).await?).source_path(PathBuf::from(name));
            }
            if let Some(value) = args.media_decoder {
                builder.media_decoder(Some(read("mediaDecoder", value)?));
            }
            if let Some(value) = args.media_fetcher {
                builder.media_fetcher(Some(read_over_defaults("mediaFetcher", value)?));
            }
            if let Some(value) = args.runtime_config {
                builder.runtime_config(read_over_defaults("runtimeConfig", value)?);
            }
            builder
                .model_name(args.model_name.or(args.model_path))
                .model_aliases(args.model_aliases)
                .kv_cache_block_size(args.kv_cache_block_size)
                .migration_limit(args.migration_limit)
                .custom_template_path(args.chat_template)
                .router_config(args.router.map(RouterArgs::config).transpose()?)
                .user_data(args.user_data);
            let mut model = builder.build().await?;
            if named_only {
                let mut card = model.into_card();
                card.model_type = types;
                card.model_input = input;
                card.worker_type = Some(role);
                card.needs = needs;
                card.lora = args.lora;
                register_model_card(&this.endpoint, &card).await?;
            } else {
                model.attach(&this.endpoint, types, input, args.lora, Some(role), needs).await?;
                share_path(&this.endpoint, SOON).await?;
            }
            Ok(Reply::unit())
        })
    })
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct UnregisterArgs {
    lora_name: Option<String>,
}

/// Removes the model card of an endpoint. `args`: `{loraName}`.
/// Takes: handle endpoint, args bytes?. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_model_unregister(call: &dyn_call) {
    op(call, |call: &Call| {
        let this = call.handle::<EndpointRef>()?;
        let args: UnregisterArgs = if call.has_args() { call.args()? } else { UnregisterArgs::default() };
        Ok(async move {
            LocalModel::detach_from_endpoint(&this.endpoint, args.lora_name.as_deref()).await?;
            Ok(Reply::unit())
        })
    })
}

/// Replaces the taints of the model card of an endpoint. `args`: an array of strings.
/// Takes: handle endpoint, args bytes. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_model_taints(call: &dyn_call) {
    op(call, |call: &Call| {
        let this = call.handle::<EndpointRef>()?;
        let taints = call.args::<HashSet<String>>()?;
        Ok(async move {
            update_model_taints(&this.endpoint, taints).await?;
            Ok(Reply::unit())
        })
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ParserNames {
    tool_call: Vec<&'static str>,
    reasoning: Vec<&'static str>,
}

/// Returns the parsers that a card may name: `{toolCall, reasoning}`, each sorted.
/// Takes: nothing. Returns: bytes.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_model_parsers(call: &dyn_call) -> dyn_reply {
    reply(call, |_| {
        let mut names = ParserNames {
            tool_call: dynamo_parsers::tool_calling::parsers::get_available_tool_parsers(),
            reasoning: dynamo_parsers::reasoning::get_available_reasoning_parsers(),
        };
        names.tool_call.sort_unstable();
        names.reasoning.sort_unstable();
        Reply::value(&names)
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FetchArgs {
    name: String,
    ignore_weights: bool,
}

/// Fetches a model from the model hub into its cache. `args`: `{name, ignoreWeights}`. Completes with the directory, a
/// string.
/// Takes: args bytes. Returns: bytes.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_model_fetch(call: &dyn_call) {
    op(call, |call: &Call| {
        let args = call.args::<FetchArgs>()?;
        Ok(async move {
            let path = local_path(&args.name, args.ignore_weights).await?;
            Reply::value(&path.to_string_lossy())
        })
    })
}
