//! Hashes of token blocks. Routers and workers compute the same ones.

use dynamo_kv_router::protocols::{
    BlockExtraInfo, BlockHashOptions, compute_block_hash_for_seq, compute_seq_hash_for_block,
};
use serde::Deserialize;

use super::words::{bytes_of, local_hashes, u32s};
use crate::abi::{Call, Failure, Reply, dyn_call, dyn_reply, reply};

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct HashArgs {
    pub lora_name: Option<String>,
    pub cache_salt: Option<String>,
    pub eagle: Option<bool>,
    /// The multimodal objects of each block, in the crates' field names.
    pub multimodal: Option<Vec<Option<BlockExtraInfo>>>,
}

impl HashArgs {
    pub fn options(&self) -> BlockHashOptions<'_> {
        BlockHashOptions {
            block_mm_infos: self.multimodal.as_deref(),
            lora_name: self.lora_name.as_deref(),
            cache_namespace: self.cache_salt.as_deref(),
            is_eagle: self.eagle,
        }
    }
}

pub fn block_size(call: &Call) -> Result<u32, Failure> {
    match u32::try_from(call.a()) {
        Ok(size) if size > 0 => Ok(size),
        _ => Err(Failure::invalid(format!("blockSize: expected an integer from 1 to 2^32-1, got {}", call.a()))),
    }
}

/// Returns one hash for each full block, as 64-bit words. The payload is tokens, as 32-bit words. `a`: the block size.
/// `args`: `HashArgs`, or none.
/// Takes: args bytes?, payload u32s, a blockSize. Returns: bytes or nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_hash_blocks(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let size = block_size(call)?;
        let args = if call.has_args() { call.args()? } else { HashArgs::default() };
        let tokens = u32s("tokens", call.payload())?;
        let hashes = compute_block_hash_for_seq(&tokens, size, args.options());
        Ok(Reply::bytes(bytes_of(hashes.iter().map(|hash| hash.0))))
    })
}

/// Returns the rolling hash of the sequence up to each block. The payload is hashes of blocks, as 64-bit words.
/// Takes: payload u64s. Returns: bytes or nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_hash_sequences(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let hashes = compute_seq_hash_for_block(&local_hashes("blockHashes", call.payload())?);
        Ok(Reply::bytes(bytes_of(hashes.into_iter())))
    })
}
