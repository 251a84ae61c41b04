//! The model cards of an endpoint. A frontend puts the workers of one model, endpoint and role in one set, and serves
//! only those whose cards have the checksum of the first card that it saw. Source: `dynamo-llm`
//! `discovery/controller.rs` and `model_card.rs`.

use std::collections::BTreeMap;

use dynamo_llm::model_card::{
    GenerationConfig, ModelDeploymentCard, ModelInfoType, PromptFormatterArtifact, TokenizerKind,
};
use dynamo_runtime::discovery::{DiscoveryEvent, DiscoveryInstance, DiscoveryInstanceId, DiscoveryQuery};
use serde::Serialize;
use serde_json::Value;

use crate::abi::{Call, Reply, dyn_call, dyn_reply, reply};
use crate::runtime::{EndpointRef, watch};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CardInfo {
    instance_id: u64,
    /// The adapter that the card describes, or empty.
    suffix: String,
    model: String,
    /// See `group`.
    group: String,
    checksum: String,
    /// The fields that the checksum covers, in words.
    fields: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
#[serde(tag = "type")]
enum Change {
    Added {
        card: CardInfo,
    },
    #[serde(rename_all = "camelCase")]
    Removed {
        instance_id: u64,
        suffix: String,
    },
    Resync {
        cards: Vec<CardInfo>,
    },
}

/// The fields that `ModelDeploymentCard::mdcsum` covers. Files are named by their contents.
fn fields(card: &ModelDeploymentCard, json: &Value) -> BTreeMap<&'static str, String> {
    let mut fields = BTreeMap::from([
        ("contextLength", card.effective_context_length().to_string()),
        ("kvCacheBlockSize", card.kv_cache_block_size.to_string()),
    ]);
    let files = [
        ("config", card.model_info.as_ref().map(ModelInfoType::checksum)),
        ("tokenizer", card.tokenizer.as_ref().map(TokenizerKind::checksum)),
        ("promptFormatter", card.prompt_formatter.as_ref().map(PromptFormatterArtifact::checksum)),
        ("chatTemplate", card.chat_template_file.as_ref().map(PromptFormatterArtifact::checksum)),
        ("generationConfig", card.gen_config.as_ref().map(GenerationConfig::checksum)),
        ("modelPath", card.source_path.clone()),
    ];
    fields.extend(files.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let plain = [
        ("needs", "needs"),
        ("router", "router_config"),
        ("modelAliases", "aliases"),
        ("promptContext", "prompt_context"),
        ("indexerIdentity", "indexer_identity"),
    ];
    for (name, key) in plain {
        if let Some(value) = json.get(key).filter(|value| !value.is_null()) {
            fields.insert(name, value.to_string());
        }
    }
    let mut files: Vec<String> = card
        .extra_files
        .iter()
        .map(|file| format!("{} {}", file.basename().unwrap_or_default(), file.checksum().hash()))
        .collect();
    files.sort_unstable();
    if !files.is_empty() {
        fields.insert("extraFiles", files.join(", "));
    }
    if let Some(data) = json.pointer("/runtime_config/runtime_data") {
        fields.insert("runtimeData", data.to_string());
    }
    fields
}

/// Cards of one group must have equal checksums.
pub fn group(card: &ModelDeploymentCard) -> String {
    format!("{} as {:?} for {}", card.name(), card.effective_worker_type(), card.model_type)
}

/// A card that cannot be read is left out. Frontends refuse it with an error in their log.
fn card_info(instance: &DiscoveryInstance) -> Option<CardInfo> {
    let DiscoveryInstance::Model { instance_id, card_json, model_suffix, .. } = instance else { return None };
    let card = instance
        .deserialize_model::<ModelDeploymentCard>()
        .inspect_err(|error| tracing::warn!(instance_id, "a model card cannot be read: {error:#}"))
        .ok()?;
    Some(CardInfo {
        instance_id: *instance_id,
        suffix: model_suffix.clone().unwrap_or_default(),
        model: card.name().to_string(),
        group: group(&card),
        checksum: card.mdcsum().to_string(),
        fields: fields(&card, card_json),
    })
}

fn change(event: DiscoveryEvent) -> Option<Change> {
    match event {
        DiscoveryEvent::Added(instance) => card_info(&instance).map(|card| Change::Added { card }),
        DiscoveryEvent::Removed(DiscoveryInstanceId::Model(id)) => {
            Some(Change::Removed { instance_id: id.instance_id, suffix: id.model_suffix.unwrap_or_default() })
        }
        DiscoveryEvent::Resync(instances) => {
            Some(Change::Resync { cards: instances.iter().filter_map(card_info).collect() })
        }
        _ => None,
    }
}

/// Returns a `PullStream` of the changes to the model cards of an endpoint. It begins with the present cards.
/// Takes: handle endpoint. Returns: handle stream.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_endpoint_cards(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let this = call.handle::<EndpointRef>()?;
        let id = this.endpoint.id();
        let query =
            DiscoveryQuery::EndpointModels { namespace: id.namespace, component: id.component, endpoint: id.name };
        Ok(Reply::handle(watch(this, query, change)))
    })
}
