use std::sync::Arc;

use dynamo_tokens::{PositionalLineageHash, TokenBlock};
use kvbm_logical::LifecyclePinRef;
use parking_lot::{MappedRwLockReadGuard, RwLock, RwLockReadGuard};

use super::hashes::Identity;
use super::manager::{Options, Owner};
use super::registry::Registry;
use super::storage::Storage;
use crate::abi::{Failure, Out};
use crate::stream::Items;

/// Batches that JavaScript has done with, by their ids as doubles. The next call that it makes anyway gives them back.
#[derive(Clone, Copy)]
pub struct Noted<'a>(pub &'a [u8]);

impl Noted<'_> {
    pub fn ids(&self) -> impl Iterator<Item = u64> {
        self.0.as_chunks::<8>().0.iter().map(|id| f64::from_le_bytes(*id) as u64)
    }
}

/// In place of a block's id where there is none.
pub const NO_BLOCK: u32 = u32::MAX;

/// One environment's part in a manager, whatever its tier. Closed, or dropped with its environment, it gives back all that
/// it holds.
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

/// Registered blocks that stay while this lives, wherever their batch goes.
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

/// Mutable blocks taken from their batch until this is dropped.
pub trait Lent: Send {
    fn ids(&self) -> Vec<usize>;
}

pub trait Pool: Send + Sync {
    fn id(&self) -> u64;
    fn options(&self) -> &Options;
    fn registry(&self) -> &Arc<Registry>;
    fn storage(&self) -> Option<&Arc<Storage>>;
    /// Whether blocks are to be staged with what their hashes do not tell.
    fn wants_identities(&self) -> bool;
    fn available(&self) -> usize;
    fn statistics(&self) -> Vec<u64>;
    /// Resets every inactive block; how many that were, and how many are held.
    fn drain(&self) -> (usize, usize);
    fn events(&self, snapshot: bool) -> Result<Items, Failure>;

    /// The batch's id, or 0 where there are not that many blocks; `out` gets the blocks' ids. What is noted goes back before.
    fn allocate(&self, count: usize, out: Out, noted: Noted) -> Result<u64, Failure>;
    fn stage(&self, id: u64, hashes: Vec<PositionalLineageHash>, identities: Vec<Identity>) -> Result<(), Failure>;
    /// How many of the blocks were there already; where some were, `out` gets the ids of those that now stand for the hashes.
    fn register(&self, id: u64, out: Out) -> Result<u64, Failure>;
    /// The first `blocks.len()` blocks of a mutable batch, staged and registered as a batch of their own.
    fn commit(&self, id: u64, blocks: &[TokenBlock], out: Out) -> Result<u64, Failure>;
    fn unstage(&self, id: u64) -> Result<(), Failure>;
    /// `out` gets how many blocks match and their ids. The batch's id, or 0 where none does. What is noted goes back before.
    fn match_prefix(&self, hashes: &[PositionalLineageHash], out: Out, noted: Noted) -> Result<u64, Failure>;
    /// `out` gets a block's id for each hash, or `NO_BLOCK`; the batch has those that are there, in their order.
    fn match_each(&self, hashes: &[PositionalLineageHash], out: Out) -> Result<u64, Failure>;
    /// As `match_each`, without counting as a use unless `touch`.
    fn scan(&self, hashes: &[PositionalLineageHash], touch: bool, out: Out) -> Result<u64, Failure>;
    /// A batch that is gone is no error.
    fn release(&self, noted: Noted);
    fn copy_of(&self, id: u64, range: std::ops::Range<usize>) -> Result<u64, Failure>;
    /// Moves the blocks from `at` on to a batch of their own.
    fn split(&self, id: u64, at: usize) -> Result<u64, Failure>;
    /// Moves the blocks of `from` behind those of `id`; `from` is gone.
    fn join(&self, id: u64, from: u64) -> Result<(), Failure>;
    fn weak(&self, id: u64) -> Result<u64, Failure>;
    fn upgrade(&self, id: u64, out: Out) -> Result<u64, Failure>;
    fn hashes(&self, id: u64) -> Result<Vec<PositionalLineageHash>, Failure>;
    fn reset_on_release(&self, id: u64, reset: bool) -> Result<(), Failure>;

    fn pin(&self, id: u64, range: Option<std::ops::Range<usize>>) -> Result<Pinned, Failure>;
    fn lend(self: Arc<Self>, id: u64) -> Result<Box<dyn Lent>, Failure>;
    /// The ids of a batch's blocks, and whether they are registered, not mutable.
    fn block_ids(&self, id: u64) -> Result<(Vec<usize>, bool), Failure>;
    /// The id of a block of a batch that is mutable or registered.
    fn block_id(&self, id: u64, index: usize) -> Result<usize, Failure>;
}
