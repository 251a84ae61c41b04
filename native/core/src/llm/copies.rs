//! Workers of one model whose folders are equal copies. The crates' checksum of a card covers the path of the folder,
//! so a frontend would serve only one of them. Here the workers agree on one path, and each writes it into its card.
//! The files of its card stay its own. Source: dynamo-llm `ModelDeploymentCard::mdcsum`.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use dynamo_llm::model_card::ModelDeploymentCard;
use dynamo_runtime::component::Endpoint;
use dynamo_runtime::discovery::{DiscoveryInstance, DiscoveryInstanceId, DiscoveryQuery, DiscoverySpec};
use dynamo_runtime::traits::DistributedRuntimeProvider;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::cards::group;
use crate::abi::Failure;
use choice::{Choice, pause_after};

mod choice;

/// How long a card is absent before it returns with another path. A frontend must see that it was removed: a new
/// card of the same worker is ignored otherwise. With files, the watch omits the removal of a file that exists again.
/// Source: dynamo-runtime `storage/kv/file.rs`, `should_emit_delete`, and `discovery/mod.rs`,
/// `classify_discovery_change`.
const ABSENCE: Duration = Duration::from_secs(1);

/// When a worker no longer looks at the cards of others.
pub struct Until {
    /// How long all paths have been equal.
    pub equal: Duration,
    /// How long nothing has changed, if they are not.
    pub unchanged: Duration,
}

/// For a call that waits for it.
pub const SOON: Until = Until { equal: Duration::ZERO, unchanged: Duration::from_secs(3) };
/// For a worker that serves in the meantime.
pub const SETTLED: Until = Until { equal: Duration::from_secs(10), unchanged: Duration::from_secs(60) };

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

/// The cards of this runtime, and those of others.
async fn cards(endpoint: &Endpoint) -> Result<(Vec<Listed>, Vec<Listed>), Failure> {
    let id = endpoint.id();
    let query = DiscoveryQuery::EndpointModels { namespace: id.namespace, component: id.component, endpoint: id.name };
    let instances = endpoint.drt().discovery().list(query).await?;
    let listed = instances.into_iter().filter_map(|instance| {
        let DiscoveryInstance::Model { card_json, .. } = &instance else { return None };
        let (json, card) = (card_json.clone(), instance.deserialize_model().ok()?);
        Some(Listed { instance, json, card })
    });
    let instance_id = endpoint.drt().connection_id();
    Ok(listed.partition(|listed| listed.instance.instance_id() == instance_id))
}

fn with_path(card: &Value, path: &str) -> Option<Value> {
    let mut card = card.clone();
    card.as_object_mut()?.insert("source_path".into(), path.into());
    Some(card)
}

/// The paths of the cards that equal a card in everything else.
fn paths_of_copies(own: &Listed, others: &[Listed]) -> BTreeSet<String> {
    let Some(own_path) = own.path() else { return BTreeSet::new() };
    let equal = others.iter().filter_map(|other| {
        let path = other.path().filter(|path| *path != own_path && group(&other.card) == group(&own.card))?;
        let copy: ModelDeploymentCard = serde_json::from_value(with_path(&own.json, path)?).ok()?;
        (copy.mdcsum() == other.card.mdcsum()).then(|| path.to_string())
    });
    equal.collect()
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
    discovery.unregister(own.instance).await?;
    sleep(ABSENCE).await;
    if let Err(error) = discovery.register(shared).await {
        discovery.register(kept).await?;
        return Err(error.into());
    }
    Ok(())
}

/// Lets the cards of this runtime for an endpoint agree with equal copies on one path. Called once they are registered.
pub async fn share_path(endpoint: &Endpoint, until: Until) -> Result<(), Failure> {
    let mut choices: HashMap<DiscoveryInstanceId, Choice> = HashMap::new();
    let (mut view, mut since) = (BTreeSet::new(), Instant::now());
    loop {
        let (own, others) = cards(endpoint).await?;
        let (mut seen, mut has_changed) = (BTreeSet::new(), false);
        for own in own {
            let paths = paths_of_copies(&own, &others);
            let now = Instant::now();
            let choice = choices.entry(own.instance.id()).or_insert_with(|| Choice::new(now));
            let next = own.path().and_then(|path| choice.look(path, &paths, now));
            seen.extend(paths);
            if let Some(path) = next {
                replace(endpoint, own, &path).await?;
                has_changed = true;
            }
        }
        if has_changed || seen != view {
            (view, since) = (seen, Instant::now());
        }
        if has_changed {
            continue;
        }
        let limit = if view.is_empty() { until.equal } else { until.unchanged };
        if since.elapsed() >= limit {
            return Ok(());
        }
        sleep(pause_after(since.elapsed())).await;
    }
}
