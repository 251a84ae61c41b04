use kvbm_logical::{ImmutableBlock, MutableBlock};

use super::Tier;
use super::batch::{Batch, wrong_state};
use crate::abi::Failure;

const SLOT_BITS: u32 = 24;
const MAX_SLOTS: usize = 1 << SLOT_BITS;
const GENERATION_MASK: u32 = (1 << 29) - 1;

struct Slot<T: Tier> {
    generation: u32,
    batch: Option<Batch<T>>,
}

pub struct Table<T: Tier> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T: Tier> Default for Table<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T: Tier> Table<T> {
    pub fn insert(&mut self, batch: Batch<T>) -> Result<u64, Failure> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.slots.len() == MAX_SLOTS => {
                return Err(Failure::new(
                    "CapacityExhausted",
                    "kvbm.batches",
                    format!("there are already {MAX_SLOTS} batches of blocks"),
                ));
            }
            None => {
                self.slots.push(Slot { generation: 1, batch: None });
                self.slots.len() as u32 - 1
            }
        };
        let entry = &mut self.slots[slot as usize];
        entry.batch = Some(batch);
        Ok(u64::from(entry.generation) << SLOT_BITS | u64::from(slot))
    }

    fn find(&mut self, id: u64) -> Option<&mut Slot<T>> {
        let (slot, generation) = (id as usize & (MAX_SLOTS - 1), id >> SLOT_BITS);
        self.slots.get_mut(slot).filter(|slot| u64::from(slot.generation) == generation)
    }

    pub fn find_batch(&mut self, id: u64) -> Option<&mut Batch<T>> {
        self.find(id).and_then(|slot| slot.batch.as_mut())
    }

    pub fn get(&mut self, id: u64) -> Result<&mut Batch<T>, Failure> {
        self.find_batch(id).ok_or_else(|| Failure::closed("the batch of blocks"))
    }

    /// Removes a batch, whose id is then no longer valid. `None` if there is no such batch.
    pub fn remove(&mut self, id: u64) -> Option<Batch<T>> {
        let slot = self.find(id)?;
        let batch = slot.batch.take()?;
        // An id is never 0: 0 means no batch.
        slot.generation = ((slot.generation + 1) & GENERATION_MASK).max(1);
        self.free.push(id as u32 & (MAX_SLOTS as u32 - 1));
        Some(batch)
    }

    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub fn mutable(&mut self, id: u64) -> Result<&mut Vec<MutableBlock<T>>, Failure> {
        match self.get(id)? {
            Batch::Mutable(blocks) => Ok(blocks),
            other => Err(wrong_state("mutable", other.state())),
        }
    }

    pub fn registered(&mut self, id: u64) -> Result<&mut Vec<ImmutableBlock<T>>, Failure> {
        match self.get(id)? {
            Batch::Registered(blocks) => Ok(blocks),
            other => Err(wrong_state("registered", other.state())),
        }
    }

    /// Makes a batch of registered blocks. Returns 0 if there are no blocks.
    pub fn hold(&mut self, blocks: Vec<ImmutableBlock<T>>) -> Result<u64, Failure> {
        if blocks.is_empty() { Ok(0) } else { self.insert(Batch::Registered(blocks)) }
    }

    /// Moves the blocks from index `at` on to a new batch.
    pub fn split(&mut self, id: u64, at: usize) -> Result<u64, Failure> {
        let rest = match self.get(id)? {
            Batch::Mutable(blocks) => Batch::Mutable(split_off(blocks, at)?),
            Batch::Registered(blocks) => Batch::Registered(split_off(blocks, at)?),
            other => return Err(wrong_state("mutable or registered", other.state())),
        };
        self.insert(rest)
    }

    /// Appends the blocks of `from` to those of `id`. The id `from` is no longer valid.
    pub fn join(&mut self, id: u64, from: u64) -> Result<(), Failure> {
        let (expected, got) = (self.get(id)?.state(), self.get(from)?.state());
        if id == from || expected != got || !matches!(expected, "mutable" | "registered") {
            return Err(wrong_state(expected, got));
        }
        match (self.remove(from), self.get(id)?) {
            (Some(Batch::Mutable(more)), Batch::Mutable(blocks)) => blocks.extend(more),
            (Some(Batch::Registered(more)), Batch::Registered(blocks)) => blocks.extend(more),
            _ => return Err(wrong_state(expected, got)),
        }
        Ok(())
    }
}

fn split_off<B>(blocks: &mut Vec<B>, at: usize) -> Result<Vec<B>, Failure> {
    if at > blocks.len() {
        return Err(Failure::invalid(format!("at: expected 0 to {}, got {at}", blocks.len())));
    }
    Ok(blocks.split_off(at))
}

#[cfg(test)]
mod tests;
