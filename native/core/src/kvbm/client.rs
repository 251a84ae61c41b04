//! The batches that one environment has of a manager of one tier.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use dynamo_tokens::{PositionalLineageHash, TokenBlock};
use kvbm_logical::blocks::BlockDuplicationPolicy;
use kvbm_logical::{CompleteBlock, ImmutableBlock, MutableBlock, WeakBlock};
use parking_lot::Mutex;

use super::batch::{Batch, wrong_state};
use super::hashes::Identity;
use super::options::Options;
use super::pool::{CheckedOut, DYN_NO_BLOCK, PendingReleases, Pinned, Pool};
use super::registry::Registry;
use super::shared::{Shared, for_each_catching};
use super::storage::Storage;
use super::table::Table;
use super::{Tier, journal};
use crate::abi::{Failure, Out};
use crate::stream::Items;

pub struct Client<T: Tier> {
    shared: Arc<Shared<T>>,
    table: Mutex<Table<T>>,
}

impl<T: Tier> Client<T> {
    pub fn new(shared: Arc<Shared<T>>) -> Self {
        Self { shared, table: Mutex::default() }
    }

    fn journal(&self) -> Option<parking_lot::MutexGuard<'_, journal::State>> {
        self.shared.journal.as_ref().map(journal::Journal::lock)
    }

    fn stage_all(
        &self,
        blocks: Vec<MutableBlock<T>>,
        hashes: impl Iterator<Item = PositionalLineageHash>,
    ) -> Result<Vec<CompleteBlock<T>>, Failure> {
        let size = self.shared.manager.block_size();
        blocks.into_iter().zip(hashes).map(|(block, hash)| block.stage(hash, size).map_err(Failure::internal)).collect()
    }

    fn register_all(&self, blocks: Vec<CompleteBlock<T>>, identities: &[Identity]) -> Vec<ImmutableBlock<T>> {
        if let Some(storage) = &self.shared.storage {
            blocks.iter().for_each(|block| storage.seal(block.block_id()));
        }
        // Locked before the store changes, see `Journal::lock`.
        let mut journal = self.journal();
        let registered = self.shared.manager.register_blocks(blocks);
        if identities.len() == registered.len() {
            if self.shared.registry.keeps_identities() {
                for (block, identity) in registered.iter().zip(identities) {
                    // This fails only if the type is attached in the crate's other way, which no code here does.
                    let _ = block.registration_handle().attach_unique(*identity);
                }
            }
            if let Some(journal) = &mut journal {
                let hashes = registered.iter().map(ImmutableBlock::sequence_hash);
                journal.stored(hashes.zip(identities.iter().copied()));
            }
        }
        registered
    }

    fn release_all(&self, table: &mut Table<T>, pending: PendingReleases) {
        for_each_catching(pending.ids(), |id| {
            if let Some(Batch::CheckedOut { released }) = table.find_batch(id) {
                *released = true;
                return;
            }
            match table.remove(id) {
                Some(Batch::Registered(blocks)) => self.shared.release_registered(blocks),
                other => drop(other),
            }
        });
    }
}

fn put_ids<B>(out: Out, from: usize, blocks: &[B], id: impl Fn(&B) -> usize) {
    out.put_all(from, blocks.iter().map(|block| id(block) as u32));
}

impl<T: Tier> Pool for Client<T> {
    fn id(&self) -> u64 {
        self.shared.manager.id().0
    }

    fn options(&self) -> &Options {
        &self.shared.options
    }

    fn registry(&self) -> &Arc<Registry> {
        &self.shared.registry
    }

    fn storage(&self) -> Option<&Arc<Storage>> {
        self.shared.storage.as_ref()
    }

    fn wants_identities(&self) -> bool {
        self.shared.journal.is_some() || self.shared.registry.keeps_identities()
    }

    fn available(&self) -> usize {
        self.shared.manager.available_blocks()
    }

    fn statistics(&self) -> Vec<u64> {
        let pool = self.shared.manager.metrics().snapshot();
        vec![
            self.shared.manager.total_blocks() as u64,
            self.shared.manager.available_blocks() as u64,
            pool.reset_pool_size as u64,
            pool.inactive_pool_size as u64,
            pool.inflight_mutable as u64,
            pool.inflight_immutable as u64,
            self.table.lock().len() as u64,
            pool.allocations,
            pool.allocations_from_reset,
            pool.evictions,
            pool.stagings,
            pool.registrations,
            pool.duplicate_blocks,
            pool.registration_dedup,
            pool.match_hashes_requested,
            pool.match_blocks_returned,
            pool.scan_hashes_requested,
            pool.scan_blocks_returned,
        ]
    }

    fn drain(&self) -> (usize, usize) {
        let mut journal = self.journal();
        let manager = &self.shared.manager;
        let drained = manager.metrics().snapshot().inactive_pool_size.max(0) as usize;
        // It fails if there are blocks in use, but it still resets the inactive ones.
        let _ = manager.reset_inactive_pool();
        if let Some(journal) = &mut journal {
            journal.sweep(|hash| self.shared.is_present(hash));
        }
        (drained, manager.total_blocks() - manager.available_blocks())
    }

    fn events(&self, snapshot: bool) -> Result<Items, Failure> {
        match &self.shared.journal {
            Some(journal) => Ok(Box::pin(journal.subscribe(snapshot))),
            None => Err(Failure::invalid("events: expected a manager with the option events, got one without")),
        }
    }

    fn allocate(&self, count: usize, out: Out, pending: PendingReleases) -> Result<u64, Failure> {
        out.check(count)?;
        let mut table = self.table.lock();
        self.release_all(&mut table, pending);
        let blocks = {
            let mut journal = self.journal();
            let Some((blocks, evicted)) = self.shared.manager.allocate_blocks_with_evictions(count) else {
                return Ok(0);
            };
            if let Some(journal) = &mut journal {
                journal.removed(evicted.into_iter());
            }
            blocks
        };
        if let Some(storage) = &self.shared.storage {
            blocks.iter().for_each(|block| storage.forget(block.block_id()));
        }
        put_ids(out, 0, &blocks, MutableBlock::block_id);
        table.insert(Batch::Mutable(blocks))
    }

    fn stage(&self, id: u64, hashes: Vec<PositionalLineageHash>, identities: Vec<Identity>) -> Result<(), Failure> {
        let mut table = self.table.lock();
        let batch = table.get(id)?;
        match batch {
            Batch::Mutable(blocks) if blocks.len() == hashes.len() => {
                let staged = self.stage_all(std::mem::take(blocks), hashes.into_iter())?;
                *batch = Batch::Staged(staged, identities);
                Ok(())
            }
            Batch::Mutable(blocks) => Err(Failure::invalid(format!(
                "hashes: expected {}, one for each block, got {}",
                blocks.len(),
                hashes.len()
            ))),
            other => Err(wrong_state("mutable", other.state())),
        }
    }

    fn register(&self, id: u64, out: Out) -> Result<u64, Failure> {
        let mut table = self.table.lock();
        let batch = table.get(id)?;
        let Batch::Staged(blocks, identities) = batch else { return Err(wrong_state("staged", batch.state())) };
        out.check(blocks.len())?;
        let may_replace = matches!(self.shared.manager.duplication_policy(), BlockDuplicationPolicy::Reject);
        let before: Vec<usize> =
            if may_replace { blocks.iter().map(CompleteBlock::block_id).collect() } else { Vec::new() };
        let registered = self.register_all(std::mem::take(blocks), &std::mem::take(identities));
        let replaced = registered.iter().zip(before).filter(|(block, before)| block.block_id() != *before).count();
        if replaced > 0 {
            put_ids(out, 0, &registered, ImmutableBlock::block_id);
        }
        *batch = Batch::Registered(registered);
        Ok(replaced as u64)
    }

    fn commit(&self, id: u64, blocks: &[TokenBlock], out: Out) -> Result<u64, Failure> {
        out.check(blocks.len())?;
        let mut table = self.table.lock();
        let mutable = table.mutable(id)?;
        if blocks.len() > mutable.len() {
            return Err(Failure::invalid(format!("blocks: expected at most {}, got {}", mutable.len(), blocks.len())));
        }
        let rest = mutable.split_off(blocks.len());
        let first = std::mem::replace(mutable, rest);
        let staged = self.stage_all(first, blocks.iter().map(TokenBlock::positional_lineage_hash))?;
        let identities = if self.wants_identities() { blocks.iter().map(Identity::from).collect() } else { Vec::new() };
        let registered = self.register_all(staged, &identities);
        put_ids(out, 0, &registered, ImmutableBlock::block_id);
        table.insert(Batch::Registered(registered))
    }

    fn unstage(&self, id: u64) -> Result<(), Failure> {
        let mut table = self.table.lock();
        let batch = table.get(id)?;
        let Batch::Staged(blocks, _) = batch else { return Err(wrong_state("staged", batch.state())) };
        *batch = Batch::Mutable(std::mem::take(blocks).into_iter().map(CompleteBlock::reset).collect());
        Ok(())
    }

    fn match_prefix(
        &self,
        hashes: &[PositionalLineageHash],
        out: Out,
        pending: PendingReleases,
    ) -> Result<u64, Failure> {
        out.check(hashes.len() + 1)?;
        let mut table = self.table.lock();
        self.release_all(&mut table, pending);
        let blocks = self.shared.manager.match_blocks(hashes);
        out.put(0, blocks.len() as u32);
        put_ids(out, 1, &blocks, ImmutableBlock::block_id);
        table.hold(blocks)
    }

    fn match_each(&self, hashes: &[PositionalLineageHash], out: Out) -> Result<u64, Failure> {
        out.check(hashes.len())?;
        let blocks = self.shared.manager.match_blocks_scattered(hashes);
        for (index, block) in blocks.iter().enumerate() {
            out.put(index, block.as_ref().map_or(DYN_NO_BLOCK, |block| block.block_id() as u32));
        }
        self.table.lock().hold(blocks.into_iter().flatten().collect())
    }

    fn scan(&self, hashes: &[PositionalLineageHash], touch: bool, out: Out) -> Result<u64, Failure> {
        out.check(hashes.len())?;
        let mut found = self.shared.manager.scan_matches(hashes, touch);
        let mut blocks = Vec::with_capacity(found.len());
        for (index, hash) in hashes.iter().enumerate() {
            // A repeated hash counts once, at its first position.
            let block = found.remove(hash);
            out.put(index, block.as_ref().map_or(DYN_NO_BLOCK, |block| block.block_id() as u32));
            blocks.extend(block);
        }
        self.table.lock().hold(blocks)
    }

    fn release(&self, pending: PendingReleases) {
        self.release_all(&mut self.table.lock(), pending);
    }

    fn copy_of(&self, id: u64, range: Range<usize>) -> Result<u64, Failure> {
        let mut table = self.table.lock();
        let blocks = table.registered(id)?;
        let Some(part) = blocks.get(range.clone()) else {
            return Err(Failure::invalid(format!("range: expected one within {} blocks, got {range:?}", blocks.len())));
        };
        let part = part.to_vec();
        table.insert(Batch::Registered(part))
    }

    fn split(&self, id: u64, at: usize) -> Result<u64, Failure> {
        self.table.lock().split(id, at)
    }

    fn join(&self, id: u64, from: u64) -> Result<(), Failure> {
        self.table.lock().join(id, from)
    }

    fn weak(&self, id: u64) -> Result<u64, Failure> {
        let mut table = self.table.lock();
        let weak = table.registered(id)?.iter().map(ImmutableBlock::downgrade).collect();
        table.insert(Batch::Weak(weak))
    }

    fn upgrade(&self, id: u64, out: Out) -> Result<u64, Failure> {
        let mut table = self.table.lock();
        let batch = table.get(id)?;
        let Batch::Weak(weak) = batch else { return Err(wrong_state("weak", batch.state())) };
        out.check(weak.len())?;
        let mut blocks = Vec::new();
        for (index, one) in weak.iter().enumerate() {
            let block = one.upgrade();
            out.put(index, block.as_ref().map_or(DYN_NO_BLOCK, |block| block.block_id() as u32));
            blocks.extend(block);
        }
        table.hold(blocks)
    }

    fn hashes(&self, id: u64) -> Result<Vec<PositionalLineageHash>, Failure> {
        let mut table = self.table.lock();
        Ok(match table.get(id)? {
            Batch::Staged(blocks, _) => blocks.iter().map(CompleteBlock::sequence_hash).collect(),
            Batch::Registered(blocks) => blocks.iter().map(ImmutableBlock::sequence_hash).collect(),
            Batch::Weak(blocks) => blocks.iter().map(WeakBlock::sequence_hash).collect(),
            other => return Err(wrong_state("named", other.state())),
        })
    }

    fn reset_on_release(&self, id: u64, reset: bool) -> Result<(), Failure> {
        if reset {
            // After this lock no release that skips the journal is in progress.
            let _journal = self.shared.journal.as_ref().map(|journal| journal.lock());
            self.shared.may_reset.store(true, Ordering::Relaxed);
        }
        self.table.lock().registered(id)?.iter().for_each(|block| block.set_evict_on_reset(reset));
        Ok(())
    }

    fn pin(&self, id: u64, range: Option<Range<usize>>) -> Result<Pinned, Failure> {
        let mut table = self.table.lock();
        let blocks = table.registered(id)?;
        let range = range.unwrap_or(0..blocks.len());
        let Some(part) = blocks.get(range.clone()) else {
            return Err(Failure::invalid(format!(
                "index: expected 0 to {}, got {}",
                blocks.len().saturating_sub(1),
                range.start
            )));
        };
        Ok(Pinned::new(part.iter().map(ImmutableBlock::pin).collect(), self.shared.clone()))
    }

    fn check_out(self: Arc<Self>, id: u64) -> Result<Box<dyn CheckedOut>, Failure> {
        let blocks = {
            let mut table = self.table.lock();
            let blocks = std::mem::take(table.mutable(id)?);
            *table.get(id)? = Batch::CheckedOut { released: false };
            blocks
        };
        Ok(Box::new(CheckedOutBlocks { blocks, id, client: self }))
    }

    fn block_ids(&self, id: u64) -> Result<(Vec<usize>, bool), Failure> {
        match self.table.lock().get(id)? {
            Batch::Mutable(blocks) => Ok((blocks.iter().map(MutableBlock::block_id).collect(), false)),
            Batch::Registered(blocks) => Ok((blocks.iter().map(ImmutableBlock::block_id).collect(), true)),
            other => Err(wrong_state("mutable or registered", other.state())),
        }
    }

    fn block_id(&self, id: u64, index: usize) -> Result<usize, Failure> {
        let mut table = self.table.lock();
        let found = match table.get(id)? {
            Batch::Mutable(blocks) => blocks.get(index).map(MutableBlock::block_id),
            Batch::Registered(blocks) => blocks.get(index).map(ImmutableBlock::block_id),
            other => return Err(wrong_state("mutable or registered", other.state())),
        };
        found.ok_or_else(|| Failure::invalid(format!("index: expected one of the batch's blocks, got {index}")))
    }
}

struct CheckedOutBlocks<T: Tier> {
    blocks: Vec<MutableBlock<T>>,
    id: u64,
    client: Arc<Client<T>>,
}

impl<T: Tier> CheckedOut for CheckedOutBlocks<T> {
    fn ids(&self) -> Vec<usize> {
        self.blocks.iter().map(MutableBlock::block_id).collect()
    }
}

impl<T: Tier> Drop for CheckedOutBlocks<T> {
    fn drop(&mut self) {
        let blocks = std::mem::take(&mut self.blocks);
        let mut table = self.client.table.lock();
        if let Ok(batch @ Batch::CheckedOut { released: false }) = table.get(self.id) {
            *batch = Batch::Mutable(blocks);
        } else {
            table.remove(self.id);
        }
    }
}
