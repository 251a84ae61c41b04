//! Copies of blocks' bytes. They run on threads of their own and hold what they touch: a batch that its owner releases
//! meanwhile goes back when the copy is over, whatever became of the promise.

use std::sync::Arc;

use super::pool::{Blocks, Lent, Pinned, Pool};
use super::storage::Storage;
use crate::abi::{Call, Failure, Handle, Reply, dyn_call, dyn_reply, op, reply};

fn storage(pool: &dyn Pool) -> Result<Arc<Storage>, Failure> {
    pool.storage().cloned().ok_or_else(|| Failure::invalid("storage: expected a manager with one, got one without"))
}

fn copy_all(from: &Storage, pinned: &Pinned, to: &Storage, lent: &dyn Lent) -> Result<(), Failure> {
    let mut bytes = vec![0; from.block_bytes];
    for (source, target) in pinned.ids().zip(lent.ids()) {
        from.read(source, &mut bytes)?;
        to.write(target, &bytes)?;
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(Failure::internal)?
}

/// Copies the registered blocks of batch `a` to the mutable ones of batch `b`, which is one of `other`'s.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_blocks_copy(call: *const dyn_call) {
    unsafe {
        op(call, |call: &Call| {
            let (source, target) = (call.handle::<Blocks>()?.open()?.clone(), call.other::<Blocks>()?.open()?.clone());
            let (from, to) = (storage(&*source)?, storage(&*target)?);
            if from.layout != to.layout {
                let message = format!("layout: expected {:?}, as the source has, got {:?}", from.layout, to.layout);
                return Err(Failure::new("InvalidRequest", "kvbm.layout", message));
            }
            let pinned = source.pin(call.a(), None)?;
            let lent = target.lend(call.b())?;
            if pinned.ids().len() != lent.ids().len() {
                let message = format!("blocks: expected {}, as the source has, got {}", pinned.ids().len(), lent.ids().len());
                return Err(Failure::invalid(message));
            }
            Ok(async move {
                blocking(move || {
                    let copied = copy_all(&from, &pinned, &to, &*lent);
                    // Gone before the caller hears of it, so that it finds the batch as it was.
                    drop((lent, pinned));
                    copied
                })
                .await?;
                Ok(Reply::unit())
            })
        })
    }
}

/// The bytes of block `b` of the registered batch `a`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_blocks_read(call: *const dyn_call) {
    unsafe {
        op(call, |call: &Call| {
            let blocks = call.handle::<Blocks>()?.open()?.clone();
            let storage = storage(&*blocks)?;
            let index = call.b() as usize;
            let pinned = blocks.pin(call.a(), Some(index..index + 1))?;
            Ok(async move {
                blocking(move || {
                    let mut bytes = vec![0; storage.block_bytes];
                    pinned.ids().try_for_each(|block| storage.read(block, &mut bytes))?;
                    drop(pinned);
                    Ok(Reply::bytes(bytes))
                })
                .await
            })
        })
    }
}

/// Writes the payload to block `b` of the mutable batch `a`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_blocks_write(call: *const dyn_call) {
    unsafe {
        op(call, |call: &Call| {
            let blocks = call.handle::<Blocks>()?.open()?.clone();
            let storage = storage(&*blocks)?;
            let bytes = call.payload().to_vec();
            if bytes.len() != storage.block_bytes {
                return Err(Failure::invalid(format!("bytes: expected {}, a block's, got {}", storage.block_bytes, bytes.len())));
            }
            let block = blocks.block_id(call.a(), call.b() as usize)?;
            let lent = blocks.lend(call.a())?;
            Ok(async move {
                blocking(move || {
                    let written = storage.write(block, &bytes);
                    drop(lent);
                    written
                })
                .await?;
                Ok(Reply::unit())
            })
        })
    }
}

/// Where block `b` of batch `a` lies, or with `a` 0 all blocks: the address as the number, the length (8 bytes,
/// little-endian), and a handle that keeps it there. For the binding, which makes a view of it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_blocks_memory(call: *const dyn_call) -> dyn_reply {
    unsafe {
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
            let Some((address, len)) = found else {
                return Err(Failure::invalid("storage: expected memory, got a file, which has no views"));
            };
            Ok(Reply::located(address as u64, (len as u64).to_le_bytes().to_vec(), Handle::new(storage)))
        })
    }
}

/// The checksums of the blocks of the batch `a`, 8 bytes each, little-endian; 0 where none is kept. Those of mutable blocks
/// are of what is in them now.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_blocks_checksums(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call: &Call| {
            let blocks = call.handle::<Blocks>()?.open()?.clone();
            let storage = storage(&*blocks)?;
            let (ids, written) = blocks.block_ids(call.a())?;
            if !written {
                ids.iter().for_each(|&block| storage.seal(block));
            }
            Ok(Reply::bytes(ids.into_iter().flat_map(|block| storage.checksum(block).to_le_bytes()).collect()))
        })
    }
}
