//! Copies of the bytes of blocks. They run on blocking threads and keep the blocks that they use. A batch that its
//! owner releases during a copy is returned after the copy, even if the operation was cancelled.

use std::ops::Range;
use std::sync::Arc;

use super::batch::wrong_state;
use super::hashes;
use super::pool::{Blocks, CheckedOut, Pinned, Pool};
use super::storage::Storage;
use crate::abi::{Call, Failure, Handle, Reply, dyn_call, dyn_reply, op, reply};

fn storage(pool: &dyn Pool) -> Result<Arc<Storage>, Failure> {
    pool.storage().cloned().ok_or_else(|| Failure::invalid("storage: expected a manager with one, got one without"))
}

fn copy_all(
    from: &Storage,
    pinned: &Pinned,
    to: &Storage,
    target_blocks: &dyn CheckedOut,
    layers: Range<usize>,
) -> Result<(), Failure> {
    let mut bytes = vec![0; from.layer_bytes() * layers.len()];
    for (source, target) in pinned.ids().zip(target_blocks.ids()) {
        from.read(source, layers.clone(), &mut bytes)?;
        to.write(target, layers.clone(), &bytes)?;
    }
    Ok(())
}

/// The layers that 8 bytes (first, count) select. No bytes select all layers.
fn layers(range: &[u8], storage: &Storage) -> Result<Range<usize>, Failure> {
    if range.is_empty() {
        return Ok(0..storage.layers());
    }
    let range = <[u8; 8]>::try_from(range).map_err(|_| Failure::invalid("layers: expected 8 bytes"))?;
    let (first, count) = hashes::pair(u64::from_le_bytes(range));
    if first + count > storage.layers() {
        return Err(Failure::invalid(format!(
            "layers: expected some of {}, got {first} to {}",
            storage.layers(),
            first + count
        )));
    }
    Ok(first..first + count)
}

fn words(words: impl Iterator<Item = u64>) -> Reply {
    Reply::bytes(words.flat_map(u64::to_le_bytes).collect())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(Failure::internal)?
}

/// Copies the registered blocks of batch `a` to the mutable blocks of batch `b` of `other`. `args` selects layers (8
/// bytes, little-endian: first, count). Without `args` all layers are copied.
/// Takes: handle blocks, other blocks, args bytes?, a registeredBatch, b mutableBatch. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_blocks_copy(call: &dyn_call) {
    op(call, |call: &Call| {
        let (source, target) = (call.handle::<Blocks>()?.open()?.clone(), call.other::<Blocks>()?.open()?.clone());
        let (from, to) = (storage(&*source)?, storage(&*target)?);
        if from.layout != to.layout {
            let message = format!("layout: expected {:?}, as the source has, got {:?}", from.layout, to.layout);
            return Err(Failure::new("InvalidRequest", "kvbm.layout", message));
        }
        let layers = layers(call.raw_args(), &from)?;
        let pinned = source.pin(call.a(), None)?;
        let target_blocks = target.check_out(call.b())?;
        if pinned.ids().len() != target_blocks.ids().len() {
            let message = format!(
                "blocks: expected {}, as the source has, got {}",
                pinned.ids().len(),
                target_blocks.ids().len()
            );
            return Err(Failure::invalid(message));
        }
        Ok(async move {
            blocking(move || {
                let copied = copy_all(&from, &pinned, &to, &*target_blocks, layers);
                // Returned before the operation completes, so that the caller finds the batch in its former state.
                drop((target_blocks, pinned));
                copied
            })
            .await?;
            Ok(Reply::unit())
        })
    })
}

/// Completes with the bytes of block `b` of the registered batch `a`.
/// Takes: handle blocks, a registeredBatch, b blockIndex. Returns: bytes.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_blocks_read(call: &dyn_call) {
    op(call, |call: &Call| {
        let blocks = call.handle::<Blocks>()?.open()?.clone();
        let storage = storage(&*blocks)?;
        let index = call.b() as usize;
        let pinned = blocks.pin(call.a(), Some(index..index + 1))?;
        Ok(async move {
            blocking(move || {
                let mut bytes = vec![0; storage.block_bytes];
                pinned.ids().try_for_each(|block| storage.read(block, 0..storage.layers(), &mut bytes))?;
                drop(pinned);
                Ok(Reply::bytes(bytes))
            })
            .await
        })
    })
}

/// Writes the payload to block `b` of the mutable batch `a`.
/// Takes: handle blocks, payload bytes, a mutableBatch, b blockIndex. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_blocks_write(call: &dyn_call) {
    op(call, |call: &Call| {
        let blocks = call.handle::<Blocks>()?.open()?.clone();
        let storage = storage(&*blocks)?;
        let bytes = call.payload().to_vec();
        if bytes.len() != storage.block_bytes {
            return Err(Failure::invalid(format!(
                "bytes: expected {}, the size of a block, got {}",
                storage.block_bytes,
                bytes.len()
            )));
        }
        let block = blocks.block_id(call.a(), call.b() as usize)?;
        let target_blocks = blocks.check_out(call.a())?;
        Ok(async move {
            blocking(move || {
                let written = storage.write(block, 0..storage.layers(), &bytes);
                drop(target_blocks);
                written
            })
            .await?;
            Ok(Reply::unit())
        })
    })
}

/// Returns the memory of block `b` of batch `a`, or of all blocks if `a` is 0. The number is the address, the bytes are
/// the length (8 bytes, little-endian), and the handle keeps the memory mapped. The binding makes a view of it.
/// Takes: handle blocks, a batch?, b blockIndex?. Returns: number, bytes, handle storage.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_blocks_memory(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let blocks = call.handle::<Blocks>()?.open()?.clone();
        let storage = storage(&*blocks)?;
        let found = match call.a() {
            0 => storage.memory(),
            batch => {
                let block = blocks.block_id(batch, call.b() as usize)?;
                storage.address(block).map(|address| (address, storage.block_bytes))
            }
        };
        let Some((address, len)) = found else { return Err(storage.no_memory()) };
        Ok(Reply::located(address as u64, (len as u64).to_le_bytes().to_vec(), Handle::new(storage)))
    })
}

/// Returns the stored checksums of the blocks of the batch `a`: for each block 8 bytes a layer, little-endian. 0 means
/// that there is none.
/// Takes: handle blocks, a batch. Returns: bytes or nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_blocks_checksums(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let blocks = call.handle::<Blocks>()?.open()?.clone();
        let storage = storage(&*blocks)?;
        let (ids, _) = blocks.block_ids(call.a())?;
        Ok(words(ids.into_iter().flat_map(|block| storage.checksums(block))))
    })
}

/// Computes checksums in the layout of `dyn_blocks_checksums`, from the memory of the blocks of the batch `a`. If `a`
/// is 0, from the payload.
/// Takes: handle blocks, payload bytes?, a batch?. Returns: bytes.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_blocks_digest(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let blocks = call.handle::<Blocks>()?.open()?.clone();
        let storage = storage(&*blocks)?;
        if call.a() == 0 {
            return Ok(words(storage.digest(call.payload())));
        }
        let mut digests = Vec::new();
        for block in blocks.block_ids(call.a())?.0 {
            // SAFETY: the caller owns the blocks and does not write to them during the call.
            let bytes = unsafe { storage.bytes(block) }.ok_or_else(|| storage.no_memory())?;
            digests.extend(storage.digest(bytes));
        }
        Ok(words(digests.into_iter()))
    })
}

/// Stores checksums of the mutable blocks of the batch `a`, for the layers `b` (first, count). The payload has the
/// layout of `dyn_blocks_checksums`. It is for blocks whose bytes were written outside of this library.
/// Takes: handle blocks, payload bytes, a mutableBatch, b layerRange. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_blocks_note(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let blocks = call.handle::<Blocks>()?.open()?.clone();
        let storage = storage(&*blocks)?;
        let layers = layers(&call.b().to_le_bytes(), &storage)?;
        let (ids, registered) = blocks.block_ids(call.a())?;
        if registered {
            return Err(wrong_state("mutable", "registered"));
        }
        let checksums = call.payload();
        let expected = ids.len() * layers.len() * 8;
        if layers.is_empty() || checksums.len() != expected {
            return Err(Failure::invalid(format!("checksums: expected {expected} bytes, got {}", checksums.len())));
        }
        for (block, checksums) in ids.into_iter().zip(checksums.chunks_exact(layers.len() * 8)) {
            storage.note(
                block,
                layers.clone(),
                checksums.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)),
            );
        }
        Ok(Reply::unit())
    })
}
