//! Batches of block guards, and the states that they can be in.

use kvbm_logical::{CompleteBlock, ImmutableBlock, MutableBlock, WeakBlock};

use super::Tier;
use super::hashes::Identity;
use crate::abi::Failure;

pub enum Batch<T: Tier> {
    Mutable(Vec<MutableBlock<T>>),
    /// Blocks with hashes. The identities are one for each block if events are published, else none.
    Staged(Vec<CompleteBlock<T>>, Vec<Identity>),
    Registered(Vec<ImmutableBlock<T>>),
    Weak(Vec<WeakBlock<T>>),
    /// Mutable blocks that a copy is writing to. `released`: their owner has released them in the meantime.
    CheckedOut {
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
            Batch::CheckedOut { .. } => "in use by a copy",
        }
    }
}

pub fn wrong_state(expected: &str, got: &str) -> Failure {
    Failure::new("Conflict", "kvbm.block_state", format!("blocks: expected {expected} ones, got {got} ones"))
}
