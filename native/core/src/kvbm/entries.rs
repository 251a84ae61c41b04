use std::sync::Arc;

use dynamo_tokens::TokenBlock;

use super::hashes::{self, Identity};
use super::manager;
use super::pool::{Blocks, PendingReleases};
use super::registry::Registry;
use super::sequence::{self, Sequence};
use crate::abi::{Call, Failure, Handle, Reply, dyn_call, dyn_reply, reply, reply_number};
use crate::stream::PullStream;

fn words(words: &[u64]) -> Reply {
    Reply::bytes(words.iter().flat_map(|word| word.to_le_bytes()).collect())
}

/// `args`: the options of the manager, `Options`. `other`: its `Registry`. Returns a `Blocks`.
/// Takes: other registry, args bytes. Returns: handle blocks.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_blocks_create(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let registry = call.other::<Registry>()?;
        Ok(Reply::handle(Handle::new(Arc::new(Blocks::new(manager::create(call.args()?, registry)?)))))
    })
}

/// `a`: the id of a manager. Returns its options, and a `Blocks` and a `Registry` for the calling environment.
/// Takes: a manager. Returns: bytes, handle blocks, handle registry.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_blocks_attach(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let pool = manager::attach(call.a())?;
        let options = rmp_serde::to_vec_named(pool.options()).map_err(Failure::internal)?;
        let registry = pool.registry().clone();
        Ok(Reply::with_handles(options, vec![Handle::new(Arc::new(Blocks::new(pool))), Handle::new(registry)]))
    })
}

/// Returns the id of the manager, which is unique in the process.
/// Takes: handle blocks. Returns: number.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_blocks_id(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| Ok(Reply::number(call.handle::<Blocks>()?.open()?.id())))
}

/// Returns how many blocks an allocation could get.
/// Takes: handle blocks. Returns: number.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_blocks_available(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| Ok(Reply::number(call.handle::<Blocks>()?.open()?.available() as u64)))
}

/// Returns words of 8 bytes in the order of `Pool::statistics`.
/// Takes: handle blocks. Returns: bytes.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_blocks_statistics(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| Ok(words(&call.handle::<Blocks>()?.open()?.statistics())))
}

/// Resets every inactive block. Returns two words of 8 bytes: how many were inactive, and how many blocks are in use.
/// Takes: handle blocks. Returns: bytes.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_blocks_drain(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let (drained, in_use) = call.handle::<Blocks>()?.open()?.drain();
        Ok(words(&[drained as u64, in_use as u64]))
    })
}

/// Returns a `PullStream` of events, see `journal`. If `a` is not 0, it begins with a snapshot.
/// Takes: handle blocks, a hasSnapshot. Returns: handle stream.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_blocks_events(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let items = call.handle::<Blocks>()?.open()?.events(call.a() != 0)?;
        Ok(Reply::handle(Handle::new(PullStream::new(items))))
    })
}

/// Allocates `a` blocks. Writes their ids to the payload, from its word `b` on. Returns the id of the batch, or 0 if
/// there are not enough blocks. Releases the batches in `args` first, see `dyn_blocks_release`.
/// Takes: handle blocks, args bytes?, payload u32s, a blockCount, b offset. Returns: number.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_blocks_allocate(call: &dyn_call) -> dyn_reply {
    reply_number(call, |call: &Call| {
        let blocks = call.handle_ref::<Blocks>()?.open()?;
        blocks.allocate(call.a() as usize, call.out(call.b())?, PendingReleases(call.raw_args()))
    })
}

/// Sets the hashes of the blocks of the mutable batch `a`. They are those of the blocks `b` (first, count) of the
/// sequence `other`, or the lineage hashes in `args`. With `args` the payload may have identities of 16 bytes each,
/// little-endian: the hash of the tokens and the sequence hash of the parent.
/// Takes: handle blocks, other sequence?, args bytes?, payload bytes?, a mutableBatch, b blockRange?. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_blocks_stage(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let blocks = call.handle_ref::<Blocks>()?.open()?;
        if call.has_args() {
            let hashes = hashes::from_bytes(call.raw_args())?;
            let identities = identities(call.payload(), &hashes)?;
            blocks.stage(call.a(), hashes, identities)?;
            return Ok(Reply::unit());
        }
        let sequence = call.other_ref::<Sequence>()?.lock();
        let named = hashes::sequence_blocks(&sequence, call.b(), blocks.options().block_size)?;
        let hashes = named.iter().map(TokenBlock::positional_lineage_hash).collect();
        let identities =
            if blocks.wants_identities() { named.iter().map(Identity::from).collect() } else { Vec::new() };
        blocks.stage(call.a(), hashes, identities)?;
        Ok(Reply::unit())
    })
}

fn identities(bytes: &[u8], hashes: &[dynamo_tokens::PositionalLineageHash]) -> Result<Vec<Identity>, Failure> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    if bytes.len() != hashes.len() * 16 {
        return Err(Failure::invalid(format!("identities: expected {} bytes, got {}", hashes.len() * 16, bytes.len())));
    }
    let word = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(word)
    };
    let identities = hashes.iter().enumerate().map(|(index, hash)| Identity {
        tokens_hash: word(index * 16),
        parent: (hash.position() > 0).then(|| word(index * 16 + 8)),
    });
    Ok(identities.collect())
}

/// Sets the hashes of the blocks of the mutable batch `a` to those of the registered batch `b` of `other`.
/// Takes: handle blocks, other blocks, a mutableBatch, b registeredBatch. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_blocks_stage_as(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let (blocks, source) = (call.handle::<Blocks>()?, call.other::<Blocks>()?);
        let pinned = source.open()?.pin(call.b(), None)?;
        let blocks = blocks.open()?;
        let (hashes, identities): (Vec<_>, Vec<_>) = pinned.names().unzip();
        blocks.stage(call.a(), hashes, identities.into_iter().collect::<Option<_>>().unwrap_or_default())?;
        Ok(Reply::unit())
    })
}

/// Registers the staged batch `a`. Returns how many blocks were replaced by blocks that existed before. If there were
/// any, writes the ids of all blocks to the payload, from its word `b` on.
/// Takes: handle blocks, payload u32s, a stagedBatch, b offset. Returns: number.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_blocks_register(call: &dyn_call) -> dyn_reply {
    reply_number(call, |call: &Call| {
        let blocks = call.handle_ref::<Blocks>()?.open()?;
        blocks.register(call.a(), call.out(call.b())?)
    })
}

/// Stages and registers the first blocks of the mutable batch `a`. `args` selects their blocks of the sequence `other`
/// (8 bytes, little-endian: first, count). Writes the ids to the payload, from its word `b` on. Returns the id of the
/// new batch. `a` keeps the other blocks.
/// Takes: handle blocks, other sequence, args bytes, payload u32s, a mutableBatch, b offset. Returns: number.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_blocks_commit(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let blocks = call.handle::<Blocks>()?;
        let blocks = blocks.open()?;
        let range = <[u8; 8]>::try_from(call.raw_args()).map_err(|_| Failure::invalid("range: expected 8 bytes"))?;
        let sequence = call.other::<Sequence>()?;
        let sequence = sequence.lock();
        let named = hashes::sequence_blocks(&sequence, u64::from_le_bytes(range), blocks.options().block_size)?;
        Ok(Reply::number(blocks.commit(call.a(), named, call.out(call.b())?)?))
    })
}

/// Makes the staged batch `a` mutable again.
/// Takes: handle blocks, a stagedBatch. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_blocks_unstage(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        call.handle::<Blocks>()?.open()?.unstage(call.a())?;
        Ok(Reply::unit())
    })
}

/// Matches the longest prefix of the blocks `a` (first, count) of the sequence `other`, and releases the batches in
/// `args` first, see `dyn_blocks_release`. Without `other` it matches the lineage hashes in `args`. Writes the number
/// of matches and then their ids to the payload, from its word `b` on. Returns the id of the batch, or 0.
/// Takes: handle blocks, other sequence?, args bytes?, payload u32s, a blockRange?, b offset. Returns: number.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_blocks_match(call: &dyn_call) -> dyn_reply {
    reply_number(call, |call: &Call| {
        let blocks = call.handle_ref::<Blocks>()?.open()?;
        let out = call.out(call.b())?;
        if !call.has_other() {
            return blocks.match_prefix(&hashes::from_bytes(call.raw_args())?, out, PendingReleases(&[]));
        }
        let pending = PendingReleases(call.raw_args());
        let sequence = call.other_ref::<Sequence>()?;
        sequence.with_names(call.a(), blocks.options().block_size, |names| blocks.match_prefix(names, out, pending))
    })
}

/// Like `dyn_blocks_match`, but continues after a missing block. Writes one word for each hash: the id of the block, or
/// `DYN_NO_BLOCK`.
/// Takes: handle blocks, other sequence?, args bytes?, payload u32s, a blockRange?, b offset. Returns: number.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_blocks_match_each(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let blocks = call.handle::<Blocks>()?;
        let blocks = blocks.open()?;
        let names = sequence::named(call, call.a(), blocks.options().block_size)?;
        Ok(Reply::number(blocks.match_each(&names, call.out(call.b())?)?))
    })
}

/// Like `dyn_blocks_match_each`, for the lineage hashes in `args`. A match only counts as a use if `a` is not 0. A
/// repeated hash is found once.
/// Takes: handle blocks, args bytes, payload u32s, a isUse, b offset. Returns: number.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_blocks_scan(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let blocks = call.handle::<Blocks>()?;
        let blocks = blocks.open()?;
        let names = hashes::from_bytes(call.raw_args())?;
        Ok(Reply::number(blocks.scan(&names, call.a() != 0, call.out(call.b())?)?))
    })
}

/// Releases the batches whose ids are in `args`, as doubles. An unknown id is not an error. Blocks that a copy uses are
/// returned after the copy.
/// Takes: handle blocks, args bytes. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_blocks_release(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        call.handle_ref::<Blocks>()?.open()?.release(PendingReleases(call.raw_args()));
        Ok(Reply::unit())
    })
}

/// Makes a batch of the blocks `b` (first, count) of the registered batch `a`, which keeps them too. Returns the id of
/// the new batch.
/// Takes: handle blocks, a registeredBatch, b blockRange. Returns: number.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_blocks_clone(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let (first, count) = hashes::pair(call.b());
        Ok(Reply::number(call.handle::<Blocks>()?.open()?.copy_of(call.a(), first..first + count)?))
    })
}

/// Moves the blocks of the batch `a` from index `b` on to a new batch. Returns its id.
/// Takes: handle blocks, a batch, b blockIndex. Returns: number.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_blocks_split(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| Ok(Reply::number(call.handle::<Blocks>()?.open()?.split(call.a(), call.b() as usize)?)))
}

/// Appends the blocks of the batch `b` to those of `a`. The id `b` is no longer valid.
/// Takes: handle blocks, a batch, b appendedBatch. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_blocks_join(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        call.handle::<Blocks>()?.open()?.join(call.a(), call.b())?;
        Ok(Reply::unit())
    })
}

/// Returns the id of a new batch with weak references to the blocks of the registered batch `a`.
/// Takes: handle blocks, a registeredBatch. Returns: number.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_blocks_weak(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| Ok(Reply::number(call.handle::<Blocks>()?.open()?.weak(call.a())?)))
}

/// Finds the blocks of the weak batch `a` that still exist. Writes and returns the same as `dyn_blocks_match_each`.
/// Takes: handle blocks, payload u32s, a weakBatch, b offset. Returns: number.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_blocks_upgrade(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        Ok(Reply::number(call.handle::<Blocks>()?.open()?.upgrade(call.a(), call.out(call.b())?)?))
    })
}

/// Returns the lineage hashes of the batch `a`.
/// Takes: handle blocks, a batch. Returns: bytes or nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_blocks_hashes(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        Ok(Reply::bytes(hashes::to_bytes(call.handle::<Blocks>()?.open()?.hashes(call.a())?.iter())))
    })
}

/// Sets what the last release of the blocks of the registered batch `a` does. If `b` is 0, they stay cached, else they
/// are reset.
/// Takes: handle blocks, a registeredBatch, b isResetOnRelease. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_blocks_reset_on_release(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        call.handle::<Blocks>()?.open()?.reset_on_release(call.a(), call.b() != 0)?;
        Ok(Reply::unit())
    })
}

/// Releases everything that the environment has of the manager. The last environment ends the manager. Idempotent.
/// Takes: handle blocks. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_blocks_close(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        call.handle::<Blocks>()?.close();
        Ok(Reply::unit())
    })
}

/// Returns the identities of the registered batch `a`, 16 bytes a block, as for `dyn_blocks_stage`. Returns no bytes if
/// one of them is not known.
/// Takes: handle blocks, a registeredBatch. Returns: bytes or nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_blocks_identities(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let pinned = call.handle::<Blocks>()?.open()?.pin(call.a(), None)?;
        let known: Option<Vec<Identity>> = pinned.names().map(|(_, identity)| identity).collect();
        let words = known.into_iter().flatten().flat_map(|one| [one.tokens_hash, one.parent.unwrap_or(0)]);
        Ok(Reply::bytes(words.flat_map(u64::to_le_bytes).collect()))
    })
}
