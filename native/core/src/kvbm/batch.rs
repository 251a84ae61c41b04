//! Batches of block guards by id. An id is a slot and the slot's generation, so the id of a batch that is gone names
//! nothing; it stays below 2^53.

use kvbm_logical::{CompleteBlock, ImmutableBlock, MutableBlock, WeakBlock};

use super::Tier;
use super::hashes::Identity;
use crate::abi::Failure;

pub enum Batch<T: Tier> {
    Mutable(Vec<MutableBlock<T>>),
    /// With an identity a block where events are published, else none.
    Staged(Vec<CompleteBlock<T>>, Vec<Identity>),
    Registered(Vec<ImmutableBlock<T>>),
    Weak(Vec<WeakBlock<T>>),
    /// Mutable blocks that a copy is writing to; `released` by their owner meanwhile.
    Lent {
        released: bool,
    },
}

impl<T: Tier> Batch<T> {
    pub fn state(&self) -> &'static str {
        match self {
            Batch::Mutable(_) => "mutable",
            Batch::Staged(..) => "staged",
            Batch::Registered(_) => "registered",
            Batch::Weak(_) => "weak",
            Batch::Lent { .. } => "lent to a copy",
        }
    }
}

pub fn wrong_state(expected: &str, got: &str) -> Failure {
    Failure::new("Conflict", "kvbm.block_state", format!("blocks: expected {expected} ones, got {got} ones"))
}

const SLOT_BITS: u32 = 24;
const MOST_SLOTS: usize = 1 << SLOT_BITS;
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
            None if self.slots.len() == MOST_SLOTS => {
                return Err(Failure::new(
                    "CapacityExhausted",
                    "kvbm.batches",
                    format!("more than {MOST_SLOTS} batches are held"),
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
        let (slot, generation) = (id as usize & (MOST_SLOTS - 1), id >> SLOT_BITS);
        self.slots.get_mut(slot).filter(|slot| u64::from(slot.generation) == generation)
    }

    pub fn find_batch(&mut self, id: u64) -> Option<&mut Batch<T>> {
        self.find(id).and_then(|slot| slot.batch.as_mut())
    }

    pub fn get(&mut self, id: u64) -> Result<&mut Batch<T>, Failure> {
        self.find_batch(id).ok_or_else(|| Failure::closed("the batch of blocks"))
    }

    /// Takes the batch out and forgets its id; none where there is none.
    pub fn remove(&mut self, id: u64) -> Option<Batch<T>> {
        let slot = self.find(id)?;
        let batch = slot.batch.take()?;
        // An id is never 0, which tells of none.
        slot.generation = ((slot.generation + 1) & GENERATION_MASK).max(1);
        self.free.push(id as u32 & (MOST_SLOTS as u32 - 1));
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
}
