use std::sync::Arc;

use dynamo_tokens::TokenBlock;

use super::hashes::{self, Identity};
use super::manager;
use super::pool::{Blocks, Noted};
use super::registry::Registry;
use super::sequence::Sequence;
use crate::abi::{Call, Failure, Handle, Reply, dyn_call, dyn_reply, reply, reply_number};
use crate::stream::PullStream;

fn words(words: &[u64]) -> Reply {
    Reply::bytes(words.iter().flat_map(|word| word.to_le_bytes()).collect())
}

/// `args`: the manager's options, as `Options`. `other`: its `Registry`. Gives a `Blocks`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_blocks_create(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call: &Call| {
            let registry = call.other::<Registry>()?;
            Ok(Reply::handle(Handle::new(Arc::new(Blocks::new(manager::create(call.args()?, registry)?)))))
        })
    }
}

/// `a`: a manager's id. Gives its options, and a `Blocks` and a `Registry` of the calling environment.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_blocks_attach(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call: &Call| {
            let pool = manager::attach(call.a())?;
            let options = rmp_serde::to_vec_named(pool.options()).map_err(Failure::internal)?;
            let registry = pool.registry().clone();
            Ok(Reply::with_handles(options, vec![Handle::new(Arc::new(Blocks::new(pool))), Handle::new(registry)]))
        })
    }
}

/// The manager's id, unique in the process.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_blocks_id(call: *const dyn_call) -> dyn_reply {
    unsafe { reply(call, |call: &Call| Ok(Reply::number(call.handle::<Blocks>()?.open()?.id()))) }
}

/// Blocks that an allocation could get.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_blocks_available(call: *const dyn_call) -> dyn_reply {
    unsafe { reply(call, |call: &Call| Ok(Reply::number(call.handle::<Blocks>()?.open()?.available() as u64))) }
}

/// Words of 8 bytes in the order of `Pool::statistics`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_blocks_statistics(call: *const dyn_call) -> dyn_reply {
    unsafe { reply(call, |call: &Call| Ok(words(&call.handle::<Blocks>()?.open()?.statistics()))) }
}

/// Resets every inactive block. Two words of 8 bytes: how many were inactive, how many blocks are held.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_blocks_drain(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call: &Call| {
            let (drained, held) = call.handle::<Blocks>()?.open()?.drain();
            Ok(words(&[drained as u64, held as u64]))
        })
    }
}

/// Gives a `PullStream` of events, see `journal`; with `a` not 0 it begins with what is there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_blocks_events(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call: &Call| {
            let items = call.handle::<Blocks>()?.open()?.events(call.a() != 0)?;
            Ok(Reply::handle(Handle::new(PullStream::new(items))))
        })
    }
}

/// Allocates `a` blocks. The payload is written: from its word `b` on the blocks' ids. The batch's id, or 0 where there are
/// not that many. The batches that `args` names, as for `dyn_blocks_release`, go back before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_blocks_allocate(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply_number(call, |call: &Call| {
            let blocks = call.handle_ref::<Blocks>()?.open()?;
            blocks.allocate(call.a() as usize, call.out(call.b())?, Noted(call.raw_args()))
        })
    }
}

/// Names the blocks of the mutable batch `a`, by those that `b` names of the sequence `other` (first, count), or by the
/// lineage hashes in `args`; with the latter the payload may have their identities (16 bytes each: the hash of the tokens
/// and the parent's sequence hash, little-endian).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_blocks_stage(call: *const dyn_call) -> dyn_reply {
    unsafe {
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

/// Names the blocks of the mutable batch `a` as those of the registered batch `b`, which is one of `other`'s.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_blocks_stage_as(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call: &Call| {
            let (blocks, source) = (call.handle::<Blocks>()?, call.other::<Blocks>()?);
            let pinned = source.open()?.pin(call.b(), None)?;
            let blocks = blocks.open()?;
            let (hashes, identities): (Vec<_>, Vec<_>) = pinned.names().unzip();
            blocks.stage(call.a(), hashes, identities.into_iter().collect::<Option<_>>().unwrap_or_default())?;
            Ok(Reply::unit())
        })
    }
}

/// Registers the staged batch `a`. Number: how many blocks were replaced by one that was there; where some were, the payload
/// is written from its word `b` on: the ids of all.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_blocks_register(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply_number(call, |call: &Call| {
            let blocks = call.handle_ref::<Blocks>()?.open()?;
            blocks.register(call.a(), call.out(call.b())?)
        })
    }
}

/// Stages and registers as many blocks of the mutable batch `a`, its first, as `args` names of the sequence `other`
/// (8 bytes, little-endian: first, count); the payload is written as for `dyn_blocks_register`. Gives the id of their
/// batch; `a` keeps the others.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_blocks_commit(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call: &Call| {
            let blocks = call.handle::<Blocks>()?;
            let blocks = blocks.open()?;
            let range =
                <[u8; 8]>::try_from(call.raw_args()).map_err(|_| Failure::invalid("range: expected 8 bytes"))?;
            let sequence = call.other::<Sequence>()?;
            let sequence = sequence.lock();
            let named = hashes::sequence_blocks(&sequence, u64::from_le_bytes(range), blocks.options().block_size)?;
            Ok(Reply::number(blocks.commit(call.a(), named, call.out(call.b())?)?))
        })
    }
}

/// Makes the staged batch `a` mutable again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_blocks_unstage(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call: &Call| {
            call.handle::<Blocks>()?.open()?.unstage(call.a())?;
            Ok(Reply::unit())
        })
    }
}

/// Matches the longest prefix of the blocks that `a` names of the sequence `other` (first, count); then the batches that
/// `args` names, as for `dyn_blocks_release`, go back before. Without `other` of the lineage hashes in `args`. The payload is
/// written from its word `b` on: how many match, then their ids. The batch's id, or 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_blocks_match(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply_number(call, |call: &Call| {
            let blocks = call.handle_ref::<Blocks>()?.open()?;
            let out = call.out(call.b())?;
            if !call.has_other() {
                return blocks.match_prefix(&hashes::from_bytes(call.raw_args())?, out, Noted(&[]));
            }
            let noted = Noted(call.raw_args());
            let sequence = call.other_ref::<Sequence>()?;
            sequence.with_names(call.a(), blocks.options().block_size, |names| blocks.match_prefix(names, out, noted))
        })
    }
}

/// As `dyn_blocks_match`, but goes on after one that is missing: a word a name, the block's id or 2^32 - 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_blocks_match_each(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call: &Call| {
            let blocks = call.handle::<Blocks>()?;
            let blocks = blocks.open()?;
            let names = hashes::named(call, call.a(), blocks.options().block_size)?;
            Ok(Reply::number(blocks.match_each(&names, call.out(call.b())?)?))
        })
    }
}

/// As `dyn_blocks_match_each` for the lineage hashes in `args`; counts as a use where `a` is not 0, and a repeated name
/// counts once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_blocks_scan(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call: &Call| {
            let blocks = call.handle::<Blocks>()?;
            let blocks = blocks.open()?;
            let names = hashes::from_bytes(call.raw_args())?;
            Ok(Reply::number(blocks.scan(&names, call.a() != 0, call.out(call.b())?)?))
        })
    }
}

/// Gives back the batches whose ids are in `args`, as doubles; one that is gone is no error. Blocks lent to a copy go back
/// when that is over.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_blocks_release(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call: &Call| {
            call.handle_ref::<Blocks>()?.open()?.release(Noted(call.raw_args()));
            Ok(Reply::unit())
        })
    }
}

/// Holds the blocks `b` (first, count) of the registered batch `a` once more. Gives the new batch's id.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_blocks_clone(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call: &Call| {
            let (first, count) = hashes::pair(call.b());
            Ok(Reply::number(call.handle::<Blocks>()?.open()?.copy_of(call.a(), first..first + count)?))
        })
    }
}

/// Moves the blocks of the batch `a` from `b` on to a batch of their own, whose id it gives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_blocks_split(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call: &Call| {
            Ok(Reply::number(call.handle::<Blocks>()?.open()?.split(call.a(), call.b() as usize)?))
        })
    }
}

/// Moves the blocks of the batch `b` behind those of `a`; `b` is gone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_blocks_join(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call: &Call| {
            call.handle::<Blocks>()?.open()?.join(call.a(), call.b())?;
            Ok(Reply::unit())
        })
    }
}

/// Gives the id of a batch that names the registered batch `a`'s blocks without holding them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_blocks_weak(call: *const dyn_call) -> dyn_reply {
    unsafe { reply(call, |call: &Call| Ok(Reply::number(call.handle::<Blocks>()?.open()?.weak(call.a())?))) }
}

/// The blocks of the weak batch `a` that are still there, as `dyn_blocks_match_each`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_blocks_upgrade(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call: &Call| {
            Ok(Reply::number(call.handle::<Blocks>()?.open()?.upgrade(call.a(), call.out(call.b())?)?))
        })
    }
}

/// The lineage hashes of the batch `a`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_blocks_hashes(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call: &Call| {
            Ok(Reply::bytes(hashes::to_bytes(call.handle::<Blocks>()?.open()?.hashes(call.a())?.iter())))
        })
    }
}

/// Whether the blocks of the registered batch `a` are reset by their last release (`b` not 0) or stay cached.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_blocks_reset_on_release(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call: &Call| {
            call.handle::<Blocks>()?.open()?.reset_on_release(call.a(), call.b() != 0)?;
            Ok(Reply::unit())
        })
    }
}

/// Gives back all that the environment holds of the manager, which is gone with its last environment. Idempotent.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_blocks_close(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call: &Call| {
            call.handle::<Blocks>()?.close();
            Ok(Reply::unit())
        })
    }
}

/// What the lineage hashes of the registered batch `a` do not tell, 16 bytes a block as `dyn_blocks_stage` takes them;
/// nothing where a block's are not known.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_blocks_identities(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call: &Call| {
            let pinned = call.handle::<Blocks>()?.open()?.pin(call.a(), None)?;
            let known: Option<Vec<Identity>> = pinned.names().map(|(_, identity)| identity).collect();
            let words = known.into_iter().flatten().flat_map(|one| [one.tokens_hash, one.parent.unwrap_or(0)]);
            Ok(Reply::bytes(words.flat_map(|word| word.to_le_bytes()).collect()))
        })
    }
}
