use std::sync::Arc;

use dynamo_tokens::{PositionalLineageHash, TokenBlock};
use kvbm_logical::LifecyclePinRef;
use parking_lot::{MappedRwLockReadGuard, RwLock, RwLockReadGuard};

use super::hashes::Identity;
use super::options::Options;
use super::registry::Registry;
use super::storage::Storage;
use crate::abi::{Failure, Out};
use crate::stream::Items;

/// The ids, as doubles, of batches that JavaScript no longer uses. Its next call releases them.
#[derive(Clone, Copy)]
pub struct PendingReleases<'a>(pub &'a [u8]);

impl PendingReleases<'_> {
    pub fn ids(&self) -> impl Iterator<Item = u64> {
        self.0.as_chunks::<8>().0.iter().map(|id| f64::from_le_bytes(*id) as u64)
    }
}

/// The id in place of a block that does not exist.
pub const DYN_NO_BLOCK: u32 = u32::MAX;

/// One environment's share of a manager of any tier. Closing it, or dropping it with its environment, releases all its
/// batches.
pub struct Blocks(RwLock<Option<Arc<dyn Pool>>>);

impl Blocks {
    pub fn new(pool: Arc<dyn Pool>) -> Self {
        Self(RwLock::new(Some(pool)))
    }

    pub fn open(&self) -> Result<MappedRwLockReadGuard<'_, Arc<dyn Pool>>, Failure> {
        RwLockReadGuard::try_map(self.0.read(), Option::as_ref).map_err(|_| Failure::closed("the block manager"))
    }

    pub fn close(&self) {
        let pool = self.0.write().take();
        drop(pool);
    }
}

/// Releases the pins of a manager of any tier.
pub trait Owner: Send + Sync {
    fn unpin(&self, pins: Vec<LifecyclePinRef>);
}

/// Registered blocks that stay registered while this exists, even if their batch is released.
pub struct Pinned {
    pins: Vec<LifecyclePinRef>,
    owner: Arc<dyn Owner>,
}

impl Pinned {
    pub fn new(pins: Vec<LifecyclePinRef>, owner: Arc<dyn Owner>) -> Self {
        Self { pins, owner }
    }

    pub fn ids(&self) -> impl ExactSizeIterator<Item = usize> + '_ {
        self.pins.iter().map(LifecyclePinRef::block_id)
    }

    pub fn names(&self) -> impl Iterator<Item = (PositionalLineageHash, Option<Identity>)> + '_ {
        self.pins
            .iter()
            .map(|pin| (pin.sequence_hash(), pin.registration_handle().get::<Identity>().with_unique(|one| *one)))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.owner.unpin(std::mem::take(&mut self.pins));
    }
}

/// Mutable blocks that are taken out of their batch until this is dropped.
pub trait CheckedOut: Send {
    fn ids(&self) -> Vec<usize>;
}

pub trait Pool: Send + Sync {
    fn id(&self) -> u64;
    fn options(&self) -> &Options;
    fn registry(&self) -> &Arc<Registry>;
    fn storage(&self) -> Option<&Arc<Storage>>;
    /// Whether `stage` needs identities.
    fn wants_identities(&self) -> bool;
    fn available(&self) -> usize;
    fn statistics(&self) -> Vec<u64>;
    /// Resets every inactive block. Returns how many there were, and how many blocks are in use.
    fn drain(&self) -> (usize, usize);
    fn events(&self, snapshot: bool) -> Result<Items, Failure>;

    /// Returns the id of the batch, or 0 if there are not enough blocks. Writes the ids of the blocks to `out`.
    /// Releases `pending` first.
    fn allocate(&self, count: usize, out: Out, pending: PendingReleases) -> Result<u64, Failure>;
    fn stage(&self, id: u64, hashes: Vec<PositionalLineageHash>, identities: Vec<Identity>) -> Result<(), Failure>;
    /// Returns how many blocks were replaced by blocks that existed before. If there were any, writes the ids of all
    /// blocks to `out`.
    fn register(&self, id: u64, out: Out) -> Result<u64, Failure>;
    /// Stages and registers the first `blocks.len()` blocks of a mutable batch as a new batch.
    fn commit(&self, id: u64, blocks: &[TokenBlock], out: Out) -> Result<u64, Failure>;
    fn unstage(&self, id: u64) -> Result<(), Failure>;
    /// Writes the number of matches and their ids to `out`. Returns the id of the batch, or 0 without a match. Releases
    /// `pending` first.
    fn match_prefix(
        &self,
        hashes: &[PositionalLineageHash],
        out: Out,
        pending: PendingReleases,
    ) -> Result<u64, Failure>;
    /// Writes the id of a block for each hash to `out`, or `DYN_NO_BLOCK`. The batch has the blocks that exist, in
    /// order.
    fn match_each(&self, hashes: &[PositionalLineageHash], out: Out) -> Result<u64, Failure>;
    /// Like `match_each`. A match only counts as a use with `touch`.
    fn scan(&self, hashes: &[PositionalLineageHash], touch: bool, out: Out) -> Result<u64, Failure>;
    /// An unknown id is not an error.
    fn release(&self, pending: PendingReleases);
    fn copy_of(&self, id: u64, range: std::ops::Range<usize>) -> Result<u64, Failure>;
    /// Moves the blocks from index `at` on to a new batch.
    fn split(&self, id: u64, at: usize) -> Result<u64, Failure>;
    /// Appends the blocks of `from` to those of `id`. The id `from` is no longer valid.
    fn join(&self, id: u64, from: u64) -> Result<(), Failure>;
    fn weak(&self, id: u64) -> Result<u64, Failure>;
    fn upgrade(&self, id: u64, out: Out) -> Result<u64, Failure>;
    fn hashes(&self, id: u64) -> Result<Vec<PositionalLineageHash>, Failure>;
    fn reset_on_release(&self, id: u64, reset: bool) -> Result<(), Failure>;

    fn pin(&self, id: u64, range: Option<std::ops::Range<usize>>) -> Result<Pinned, Failure>;
    fn check_out(self: Arc<Self>, id: u64) -> Result<Box<dyn CheckedOut>, Failure>;
    /// The ids of the blocks of a mutable or registered batch, and whether they are registered.
    fn block_ids(&self, id: u64) -> Result<(Vec<usize>, bool), Failure>;
    /// The id of one block of a mutable or registered batch.
    fn block_id(&self, id: u64, index: usize) -> Result<usize, Failure>;
}
