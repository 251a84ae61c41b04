use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Weak};

use kvbm_logical::BlockManager;
use kvbm_logical::blocks::BlockDuplicationPolicy;
use kvbm_logical::manager::LineageEviction;
use parking_lot::Mutex;

use super::client::Client;
use super::journal::{Journal, check_event_memory};
use super::options::Options;
use super::pool::Pool;
use super::registry::Registry;
use super::shared::Shared;
use super::storage::{Storage, check_memory};
use super::{Device, Disk, Host, Tier, TierName};
use crate::abi::Failure;

/// The managers of the process by id, for environments that attach to them.
static MANAGERS: LazyLock<Mutex<HashMap<u64, Weak<dyn Attach>>>> = LazyLock::new(Default::default);

trait Attach: Send + Sync {
    fn attach(self: Arc<Self>) -> Arc<dyn Pool>;
}

impl<T: Tier> Attach for Shared<T> {
    fn attach(self: Arc<Self>) -> Arc<dyn Pool> {
        Arc::new(Client::new(self))
    }
}

pub fn attach(id: u64) -> Result<Arc<dyn Pool>, Failure> {
    let shared = MANAGERS.lock().get(&id).and_then(Weak::upgrade);
    match shared {
        Some(shared) => Ok(shared.attach()),
        None => Err(Failure::new("NotFound", "kvbm.manager", format!("no block manager {id} exists in this process"))),
    }
}

pub fn create(options: Options, registry: Arc<Registry>) -> Result<Arc<dyn Pool>, Failure> {
    match options.tier {
        TierName::Device => build::<Device>(options, registry),
        TierName::Host => build::<Host>(options, registry),
        TierName::Disk => build::<Disk>(options, registry),
    }
}

/// The memory of the crate's records of a block, with the eviction that needs the most.
const MAX_BYTES_PER_BLOCK: usize = 320;

fn build<T: Tier>(options: Options, registry: Arc<Registry>) -> Result<Arc<dyn Pool>, Failure> {
    if !options.block_size.is_power_of_two() || options.block_size > 1024 {
        return Err(Failure::invalid(format!(
            "blockSize: expected a power of 2 up to 1024, got {}",
            options.block_size
        )));
    }
    let policy = match options.duplicates.as_str() {
        "allow" => BlockDuplicationPolicy::Allow,
        "reject" => BlockDuplicationPolicy::Reject,
        other => return Err(Failure::invalid(format!("duplicates: expected allow or reject, got {other}"))),
    };
    let builder = BlockManager::<T>::builder()
        .block_count(options.block_count)
        .block_size(options.block_size)
        .duplication_policy(policy)
        .registry(registry.blocks.clone())
        .with_default_reset_on_release(options.reset_on_release);
    let builder = match (options.eviction.as_str(), options.thresholds) {
        ("lineage", _) => builder.with_lineage_backend_eviction(LineageEviction::Tick),
        ("lineage-fifo", _) => builder.with_lineage_backend_eviction(LineageEviction::Fifo),
        ("lru", _) => builder.with_lru_backend(),
        ("fifo", _) => builder.with_hashmap_backend(),
        // The crate panics on other values.
        ("multi-lru", Some([cold, warm, hot])) if 1 <= cold && cold < warm && warm < hot && hot <= 15 => {
            builder.with_multi_lru_backend_custom_thresholds(cold, warm, hot)
        }
        (other, _) => {
            return Err(Failure::invalid(format!(
                "eviction: expected a known one, with thresholds that rise from 1 to 15 for multi-lru, got {other}"
            )));
        }
    };
    let storage = match &options.storage {
        Some(args) => {
            let layout = options
                .layout
                .as_ref()
                .ok_or_else(|| Failure::invalid("layout: expected one with a storage, got none"))?;
            Some(Arc::new(Storage::create(args, layout, options.block_count)?))
        }
        None => None,
    };
    check_memory(options.block_count.saturating_mul(MAX_BYTES_PER_BLOCK), "records of blocks")?;
    let manager = builder.build().map_err(|error| Failure::invalid(error.to_string()))?;
    options.event_capacity.map(check_event_memory).transpose()?;
    let journal = options.event_capacity.map(Journal::new);
    registry.claim(T::NAME)?;
    if journal.is_some() {
        registry.identities.store(true, Ordering::Relaxed);
    }
    let may_reset = AtomicBool::new(options.reset_on_release);
    let shared = Arc::new(Shared { manager, registry, journal, storage, options, may_reset });
    let mut managers = MANAGERS.lock();
    managers.retain(|_, manager| manager.strong_count() > 0);
    managers.insert(shared.manager.id().0, Arc::downgrade(&shared) as Weak<dyn Attach>);
    Ok(shared.attach())
}
