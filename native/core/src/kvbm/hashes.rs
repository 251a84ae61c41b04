//! Lineage hashes cross as 16 bytes each, big-endian: the crates' own serialized form. The crates panic on other bytes,
//! so each hash is checked here.

use dynamo_tokens::{PositionalLineageHash, TokenBlock};

use crate::abi::Failure;

pub const DYN_HASH_BYTES: usize = 16;

/// What the events of a block need and its lineage hash does not contain.
#[derive(Clone, Copy)]
pub struct Identity {
    /// Hash of the block's tokens alone.
    pub tokens_hash: u64,
    /// Sequence hash of the preceding block. `None` for the first block.
    pub parent: Option<u64>,
}

impl From<&TokenBlock> for Identity {
    fn from(block: &TokenBlock) -> Self {
        Self { tokens_hash: block.block_hash(), parent: block.parent_sequence_hash() }
    }
}

/// The widths in bits of the position and of the parent's fragment, by the two bits of the mode.
const LAYOUTS: [(u32, u32); 3] = [(8, 54), (16, 46), (24, 38)];

fn parse(raw: u128) -> Option<PositionalLineageHash> {
    let (position_bits, parent_bits) = *LAYOUTS.get((raw >> 126) as usize)?;
    let position = (raw >> (64 + parent_bits)) as u64 & ((1 << position_bits) - 1);
    let parent = raw as u64 & ((1 << parent_bits) - 1);
    let hash = PositionalLineageHash::new((raw >> parent_bits) as u64, Some(parent), position);
    (hash.as_u128() == raw).then_some(hash)
}

pub fn from_bytes(bytes: &[u8]) -> Result<Vec<PositionalLineageHash>, Failure> {
    if !bytes.len().is_multiple_of(DYN_HASH_BYTES) {
        return Err(Failure::invalid(format!(
            "hashes: expected {DYN_HASH_BYTES} bytes each, got {} bytes",
            bytes.len()
        )));
    }
    let parsed = bytes.chunks_exact(DYN_HASH_BYTES).enumerate().map(|(index, chunk)| {
        let mut raw = [0; DYN_HASH_BYTES];
        raw.copy_from_slice(chunk);
        parse(u128::from_be_bytes(raw))
            .ok_or_else(|| Failure::invalid(format!("hashes[{index}]: expected a lineage hash, got other bytes")))
    });
    parsed.collect()
}

pub fn to_bytes<'a>(hashes: impl Iterator<Item = &'a PositionalLineageHash>) -> Vec<u8> {
    hashes.flat_map(|hash| hash.as_u128().to_be_bytes()).collect()
}

const RANGE_BITS: u32 = 24;
const RANGE_MASK: u64 = (1 << RANGE_BITS) - 1;

/// Two numbers below 2^24 in one argument. The first is in the low bits.
pub fn pair(value: u64) -> (usize, usize) {
    ((value & RANGE_MASK) as usize, (value >> RANGE_BITS) as usize)
}

pub fn sequence_blocks(
    sequence: &dynamo_tokens::TokenBlockSequence,
    range: u64,
    block_size: usize,
) -> Result<&[TokenBlock], Failure> {
    if sequence.block_size() != block_size {
        return Err(Failure::invalid(format!(
            "sequence: expected blocks of {block_size} tokens, got {}",
            sequence.block_size()
        )));
    }
    let (first, count) = pair(range);
    let blocks = sequence.blocks();
    blocks.get(first..first + count).ok_or_else(|| {
        Failure::invalid(format!(
            "sequence: expected blocks {first} to {} of {} full ones",
            first + count,
            blocks.len()
        ))
    })
}

#[cfg(test)]
mod tests;
