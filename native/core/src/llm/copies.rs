//! Workers of one model whose folders are equal copies. The crates' checksum of a card covers the path of the folder,
//! so a frontend would serve only one of them. Here the worker that registers later takes the path of the other into
//! its card. The files of its card stay its own. Source: dynamo-llm `ModelDeploymentCard::mdcsum`.

use std::time::Duration;

use dynamo_llm::model_card::ModelDeploymentCard;
use dynamo_runtime::component::Endpoint;
use dynamo_runtime::discovery::{DiscoveryInstance, DiscoveryQuery, DiscoverySpec};
use dynamo_runtime::traits::DistributedRuntimeProvider;
use serde_json::Value;

use super::cards::group;
use crate::abi::Failure;

/// How long the worker with the smaller path waits for one that registers at the same time. That one is faster if it
/// has seen this worker.
const PATIENCE: Duration = Duration::from_secs(1);
/// More than two workers may have to agree.
const ROUNDS: usize = 3;

struct Listed {
    instance: DiscoveryInstance,
    json: Value,
    card: ModelDeploymentCard,
}

impl Listed {
    fn path(&self) -> Option<&str> {
        self.card.source_path.as_deref().filter(|path| path.starts_with('/'))
    }
}

async fn cards(endpoint: &Endpoint) -> Result<Vec<Listed>, Failure> {
    let id = endpoint.id();
    let query = DiscoveryQuery::EndpointModels { namespace: id.namespace, component: id.component, endpoint: id.name };
    let instances = endpoint.drt().discovery().list(query).await?;
    let listed = instances.into_iter().filter_map(|instance| {
        let DiscoveryInstance::Model { card_json, .. } = &instance else { return None };
        let (json, card) = (card_json.clone(), instance.deserialize_model().ok()?);
        Some(Listed { instance, json, card })
    });
    Ok(listed.collect())
}

fn with_path(card: &Value, path: &str) -> Option<Value> {
    let mut card = card.clone();
    card.as_object_mut()?.insert("source_path".into(), path.into());
    Some(card)
}

/// The paths of the cards that equal a card in everything else.
fn paths_of_copies(own: &Listed, cards: &[Listed]) -> Vec<String> {
    let Some(own_path) = own.path() else { return Vec::new() };
    let others = cards.iter().filter(|other| other.instance.id() != own.instance.id());
    let equal = others.filter_map(|other| {
        let path = other.path().filter(|path| *path != own_path && group(&other.card) == group(&own.card))?;
        let copy: ModelDeploymentCard = serde_json::from_value(with_path(&own.json, path)?).ok()?;
        (copy.mdcsum() == other.card.mdcsum()).then(|| path.to_string())
    });
    let mut paths: Vec<String> = equal.collect();
    paths.sort_unstable();
    paths
}

/// The path that this worker's card takes, if there is another one.
async fn wanted_path(endpoint: &Endpoint, own: &Listed, cards_now: &[Listed]) -> Result<Option<String>, Failure> {
    let paths = paths_of_copies(own, cards_now);
    let Some(least) = paths.first() else { return Ok(None) };
    if own.path().is_some_and(|path| least.as_str() < path) {
        return Ok(Some(least.clone()));
    }
    tokio::time::sleep(PATIENCE).await;
    let left = paths_of_copies(own, &cards(endpoint).await?);
    Ok(paths.into_iter().find(|path| left.contains(path)))
}

fn registration(instance: &DiscoveryInstance, card_json: Value) -> Option<DiscoverySpec> {
    let DiscoveryInstance::Model { namespace, component, endpoint, model_suffix, .. } = instance.clone() else {
        return None;
    };
    Some(DiscoverySpec::Model { namespace, component, endpoint, card_json, model_suffix })
}

async fn replace(endpoint: &Endpoint, own: Listed, path: &str) -> Result<(), Failure> {
    let shared = with_path(&own.json, path).and_then(|json| registration(&own.instance, json));
    let (Some(shared), Some(kept)) = (shared, registration(&own.instance, own.json)) else { return Ok(()) };
    let discovery = endpoint.drt().discovery();
    // A registration of the same instance with another card is refused.
    discovery.unregister(own.instance).await?;
    if let Err(error) = discovery.register(shared).await {
        discovery.register(kept).await?;
        return Err(error.into());
    }
    Ok(())
}

/// Lets the cards of this runtime for an endpoint take the path of an equal copy. Called once they are registered.
pub async fn share_path(endpoint: &Endpoint) -> Result<(), Failure> {
    for _ in 0..ROUNDS {
        let (mut all, mut changed) = (cards(endpoint).await?, false);
        let instance_id = endpoint.drt().connection_id();
        while let Some(at) = all.iter().position(|listed| listed.instance.instance_id() == instance_id) {
            let own = all.swap_remove(at);
            if let Some(path) = wanted_path(endpoint, &own, &all).await? {
                replace(endpoint, own, &path).await?;
                changed = true;
            }
        }
        if !changed {
            return Ok(());
        }
    }
    Ok(())
}
