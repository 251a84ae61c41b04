use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dynamo_tokens::PositionalLineageHash;
use kvbm_logical::{BlockManager, ImmutableBlock, LifecyclePinRef};

use super::Tier;
use super::journal::Journal;
use super::options::Options;
use super::pool::Owner;
use super::registry::Registry;
use super::storage::Storage;

/// A manager of one tier, which all its environments share.
pub struct Shared<T: Tier> {
    pub manager: BlockManager<T>,
    pub registry: Arc<Registry>,
    pub journal: Option<Journal>,
    pub storage: Option<Arc<Storage>>,
    pub options: Options,
    /// Whether a release may reset a block. If so, a release can remove blocks and must report them.
    pub may_reset: AtomicBool,
}

impl<T: Tier> Drop for Shared<T> {
    fn drop(&mut self) {
        self.registry.disclaim(T::NAME);
    }
}

impl<T: Tier> Owner for Shared<T> {
    fn unpin(&self, pins: Vec<LifecyclePinRef>) {
        self.release(pins, LifecyclePinRef::sequence_hash);
    }
}

/// Drops the guards one by one. The crate panics if two hashes have the same position and value but different parents.
/// Only hashes that the host made up do. A second panic within one drop would abort the process.
fn drop_each<G>(guards: Vec<G>) {
    for_each_catching(guards, drop);
}

/// Calls `what` for all items, even if it panics for some. After the last item the first panic continues.
pub fn for_each_catching<T>(all: impl IntoIterator<Item = T>, mut what: impl FnMut(T)) {
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

    /// Drops guards of registered blocks, and reports the blocks that this removes.
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

#[cfg(test)]
mod tests;
