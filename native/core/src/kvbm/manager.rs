use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Weak};

use dynamo_tokens::PositionalLineageHash;
use kvbm_logical::blocks::BlockDuplicationPolicy;
use kvbm_logical::manager::LineageEviction;
use kvbm_logical::{BlockManager, ImmutableBlock, LifecyclePinRef};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::client::Client;
use super::journal::Journal;
use super::pool::Pool;
use super::registry::Registry;
use super::storage::{Layout, Storage, StorageArgs};
use super::{Device, Disk, Host, Tier, TierName};
use crate::abi::Failure;

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Options {
    pub tier: TierName,
    pub block_count: usize,
    pub block_size: usize,
    eviction: String,
    /// Of eviction `multiLru`.
    #[serde(default)]
    thresholds: Option<[u8; 3]>,
    duplicates: String,
    reset_on_release: bool,
    /// How many events a subscriber may fall behind; none where no events are kept.
    #[serde(default)]
    event_capacity: Option<usize>,
    #[serde(default)]
    pub layout: Option<Layout>,
    #[serde(default)]
    pub storage: Option<StorageArgs>,
}

/// A manager of one tier, as all its environments share it.
pub struct Shared<T: Tier> {
    pub manager: BlockManager<T>,
    pub registry: Arc<Registry>,
    pub journal: Option<Journal>,
    pub storage: Option<Arc<Storage>>,
    pub options: Options,
    /// Whether a block may be reset by its release: then a release may remove it, and must tell.
    pub may_reset: AtomicBool,
}

impl<T: Tier> Drop for Shared<T> {
    fn drop(&mut self) {
        self.registry.disclaim(T::NAME);
    }
}

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
        None => Err(Failure::new(
            "NotFound",
            "kvbm.manager",
            format!("no block manager {id} in this process, or it is gone"),
        )),
    }
}

pub fn create(options: Options, registry: Arc<Registry>) -> Result<Arc<dyn Pool>, Failure> {
    match options.tier {
        TierName::Device => build::<Device>(options, registry),
        TierName::Host => build::<Host>(options, registry),
        TierName::Disk => build::<Disk>(options, registry),
    }
}

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
        // The crate asserts the same.
        ("multi-lru", Some([cold, warm, hot])) if 1 <= cold && cold < warm && warm < hot && hot <= 15 => {
            builder.with_multi_lru_backend_custom_thresholds(cold, warm, hot)
        }
        (other, _) => {
            return Err(Failure::invalid(format!(
                "eviction: {other} is none, or its thresholds do not rise from 1 to 15"
            )));
        }
    };
    let manager = builder.build().map_err(|error| Failure::invalid(error.to_string()))?;
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

/// Gives back pins of a manager whose type is not known.
pub trait Owner: Send + Sync {
    fn unpin(&self, pins: Vec<LifecyclePinRef>);
}

impl<T: Tier> Owner for Shared<T> {
    fn unpin(&self, pins: Vec<LifecyclePinRef>) {
        self.release(pins, LifecyclePinRef::sequence_hash);
    }
}

/// Drops each by itself. The crate panics where a name meets another of the same position and hash with another parent, which
/// only names of the host's own making do, and a second panic within one drop would end the process.
fn drop_each<G>(guards: Vec<G>) {
    each(guards, drop);
}

/// Does `what` to all of them, whatever it panics with on the way; the first panic goes on behind the last of them.
pub fn each<T>(all: impl IntoIterator<Item = T>, mut what: impl FnMut(T)) {
    let mut first = None;
    for one in all {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| what(one))) {
            first.get_or_insert(panic);
        }
    }
    if let Some(panic) = first {
        resume_unwind(panic);
    }
}

impl<T: Tier> Shared<T> {
    pub fn is_present(&self, hash: PositionalLineageHash) -> bool {
        self.registry.blocks.match_sequence_hash(hash, false).is_some_and(|handle| handle.has_block::<T>())
    }

    /// Drops guards of registered blocks, and tells of those that this removes.
    fn release<G>(&self, guards: Vec<G>, hash: fn(&G) -> PositionalLineageHash) {
        match &self.journal {
            Some(journal) => {
                let mut journal = journal.lock();
                if !self.may_reset.load(Ordering::Relaxed) {
                    return drop_each(guards);
                }
                let hashes: Vec<_> = guards.iter().map(hash).collect();
                drop_each(guards);
                journal.removed(hashes.into_iter().filter(|&hash| !self.is_present(hash)));
            }
            None => drop_each(guards),
        }
    }

    pub fn release_registered(&self, blocks: Vec<ImmutableBlock<T>>) {
        self.release(blocks, ImmutableBlock::sequence_hash);
    }
}
