//! Arrays of integers cross as little-endian words. Cache events cross as 64-bit words too, so that thousands of them
//! cost one buffer and no decoding of names.
//!
//! An event is `[worker, head, id, size, parent]` and its hashes. A stored event has `size` block hashes and then
//! `size` hashes of tokens. A removed event has `size` block hashes. `head` is kind (8 bits), tier (8), flags (16),
//! rank (32, high). `size` is the count (32) and the start position (32, high).

use dynamo_kv_router::protocols::{
    ExternalSequenceBlockHash, KvCacheEvent, KvCacheEventData, KvCacheRemoveData, KvCacheStoreData,
    KvCacheStoredBlockData, LocalBlockHash, OverlapScores, RouterEvent, StorageTier,
};

use crate::abi::Failure;

/// The words of a buffer of any alignment.
pub fn u64s(what: &str, bytes: &[u8]) -> Result<Vec<u64>, Failure> {
    whole::<8>(what, bytes)?;
    Ok(bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default())).collect())
}

pub fn u32s(what: &str, bytes: &[u8]) -> Result<Vec<u32>, Failure> {
    whole::<4>(what, bytes)?;
    Ok(bytes.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap_or_default())).collect())
}

pub fn local_hashes(what: &str, bytes: &[u8]) -> Result<Vec<LocalBlockHash>, Failure> {
    whole::<8>(what, bytes)?;
    Ok(bytes
        .chunks_exact(8)
        .map(|word| LocalBlockHash(u64::from_le_bytes(word.try_into().unwrap_or_default())))
        .collect())
}

fn whole<const SIZE: usize>(what: &str, bytes: &[u8]) -> Result<(), Failure> {
    match bytes.len() % SIZE {
        0 => Ok(()),
        _ => Err(Failure::invalid(format!("{what}: expected words of {SIZE} bytes, got {} bytes", bytes.len()))),
    }
}

pub fn bytes_of(words: impl ExactSizeIterator<Item = u64>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(words.len() * 8);
    for word in words {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes
}

const HAS_PARENT: u64 = 1;
const HAS_POSITION: u64 = 2;
/// The publisher sets the id of the event.
const NUMBERED_HERE: u64 = 4;

const HEAD_WORDS: usize = 5;

fn tier(code: u64) -> Result<StorageTier, Failure> {
    Ok(match code {
        0 => StorageTier::Device,
        1 => StorageTier::HostPinned,
        2 => StorageTier::Disk,
        3 => StorageTier::External,
        other => return Err(Failure::invalid(format!("events: expected a tier from 0 to 3, got {other}"))),
    })
}

fn tier_code(tier: StorageTier) -> u64 {
    match tier {
        StorageTier::Device => 0,
        StorageTier::HostPinned => 1,
        StorageTier::Disk => 2,
        StorageTier::External => 3,
    }
}

/// One event with its worker and tier. `id` is `None` if the publisher sets it.
pub struct Decoded {
    pub worker: u64,
    pub tier: StorageTier,
    pub id: Option<u64>,
    pub event: KvCacheEvent,
}

impl Decoded {
    pub fn router_event(self) -> RouterEvent {
        RouterEvent::with_storage_tier(self.worker, self.event, self.tier)
    }
}

pub fn decode_events(bytes: &[u8]) -> Result<Vec<Decoded>, Failure> {
    let words = u64s("events", bytes)?;
    let mut rest = &words[..];
    let mut events = Vec::new();
    while !rest.is_empty() {
        let (event, next) = decode_event(rest)?;
        events.push(event);
        rest = next;
    }
    Ok(events)
}

fn decode_event(words: &[u64]) -> Result<(Decoded, &[u64]), Failure> {
    let cut = || Failure::invalid("events: the buffer ends inside an event");
    let (head, rest) = words.split_at_checked(HEAD_WORDS).ok_or_else(cut)?;
    let (kind, flags) = (head[1] & 0xff, (head[1] >> 16) & 0xffff);
    let count = (head[3] & 0xffff_ffff) as usize;
    let (data, rest) = match kind {
        0 => {
            let (blocks, rest) = rest.split_at_checked(count).ok_or_else(cut)?;
            let (tokens, rest) = rest.split_at_checked(count).ok_or_else(cut)?;
            let blocks = blocks
                .iter()
                .zip(tokens)
                .map(|(block, tokens)| KvCacheStoredBlockData {
                    block_hash: ExternalSequenceBlockHash(*block),
                    tokens_hash: LocalBlockHash(*tokens),
                    mm_extra_info: None,
                })
                .collect();
            let stored = KvCacheStoreData {
                parent_hash: (flags & HAS_PARENT != 0).then_some(ExternalSequenceBlockHash(head[4])),
                start_position: (flags & HAS_POSITION != 0).then_some((head[3] >> 32) as u32),
                blocks,
            };
            (KvCacheEventData::Stored(stored), rest)
        }
        1 => {
            let (blocks, rest) = rest.split_at_checked(count).ok_or_else(cut)?;
            let block_hashes = blocks.iter().copied().map(ExternalSequenceBlockHash).collect();
            (KvCacheEventData::Removed(KvCacheRemoveData { block_hashes }), rest)
        }
        2 => (KvCacheEventData::Cleared, rest),
        other => return Err(Failure::invalid(format!("events: expected a kind from 0 to 2, got {other}"))),
    };
    let event = KvCacheEvent { event_id: head[2], data, dp_rank: (head[1] >> 32) as u32 };
    let id = (flags & NUMBERED_HERE == 0).then_some(head[2]);
    Ok((Decoded { worker: head[0], tier: tier((head[1] >> 8) & 0xff)?, id, event }, rest))
}

pub fn encode_events(events: &[RouterEvent]) -> Vec<u8> {
    let mut out = Vec::new();
    for RouterEvent { worker_id, storage_tier, event, .. } in events {
        let (kind, mut flags, mut size, mut parent) = (kind_of(&event.data), 0, 0, 0);
        let mut hashes = Vec::new();
        match &event.data {
            KvCacheEventData::Stored(stored) => {
                if let Some(hash) = stored.parent_hash {
                    (flags, parent) = (flags | HAS_PARENT, hash.0);
                }
                if let Some(position) = stored.start_position {
                    (flags, size) = (flags | HAS_POSITION, u64::from(position) << 32);
                }
                size |= stored.blocks.len() as u64;
                hashes.extend(stored.blocks.iter().map(|block| block.block_hash.0));
                hashes.extend(stored.blocks.iter().map(|block| block.tokens_hash.0));
            }
            KvCacheEventData::Removed(removed) => {
                size = removed.block_hashes.len() as u64;
                hashes.extend(removed.block_hashes.iter().map(|hash| hash.0));
            }
            KvCacheEventData::Cleared => {}
        }
        let head = kind | tier_code(*storage_tier) << 8 | flags << 16 | u64::from(event.dp_rank) << 32;
        for word in [*worker_id, head, event.event_id, size, parent].into_iter().chain(hashes) {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }
    out
}

fn kind_of(data: &KvCacheEventData) -> u64 {
    match data {
        KvCacheEventData::Stored(_) => 0,
        KvCacheEventData::Removed(_) => 1,
        KvCacheEventData::Cleared => 2,
    }
}

/// Encodes scores: the ids of all workers, then one word for each worker with its rank (low) and its score (high).
pub fn encode_scores(scores: &OverlapScores) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 * scores.scores.len());
    for worker in scores.scores.keys() {
        out.extend_from_slice(&worker.worker_id.to_le_bytes());
    }
    for (worker, score) in &scores.scores {
        out.extend_from_slice(&(u64::from(worker.dp_rank) | u64::from(*score) << 32).to_le_bytes());
    }
    out
}

#[cfg(test)]
mod tests;
