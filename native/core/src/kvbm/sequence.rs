use dynamo_kv_hashing::compute_salt_hash;
use dynamo_tokens::{
    PositionalLineageHash, Token, TokenBlock, TokenBlockError, TokenBlockMmInfo, TokenBlockSequence, Tokens,
};
use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};
use serde::Deserialize;

use super::hashes;
use crate::abi::{Call, Failure, Handle, Reply, dyn_call, dyn_reply, reply};

/// The crates panic on a higher position.
const MAX_BLOCKS: usize = 1 << 24;

/// A sequence of tokens in hashed blocks. The salt is the same as the router's.
pub struct Sequence(Mutex<Inner>);

struct Inner {
    tokens: TokenBlockSequence,
    /// The hashes of its first blocks as one slice, which matching needs. They are computed on first use.
    names: Vec<PositionalLineageHash>,
}

impl Sequence {
    fn new(tokens: TokenBlockSequence) -> Self {
        Self(Mutex::new(Inner { tokens, names: Vec::new() }))
    }

    pub fn lock(&self) -> MappedMutexGuard<'_, TokenBlockSequence> {
        MutexGuard::map(self.0.lock(), |inner| &mut inner.tokens)
    }

    /// Calls `body` with the hashes of a range (first, count) of the full blocks.
    pub fn with_names<T>(
        &self,
        range: u64,
        block_size: usize,
        body: impl FnOnce(&[PositionalLineageHash]) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let Inner { tokens, names } = &mut *self.0.lock();
        hashes::sequence_blocks(tokens, range, block_size)?;
        let known = names.len();
        names.extend(tokens.blocks().get(known..).unwrap_or_default().iter().map(TokenBlock::positional_lineage_hash));
        let (first, count) = hashes::pair(range);
        body(&names[first..first + count])
    }

    /// Shortens the tokens. The hashes of removed blocks are dropped too.
    fn cut(&self, change: impl FnOnce(&mut TokenBlockSequence) -> Result<(), TokenBlockError>) -> Result<(), Failure> {
        let Inner { tokens, names } = &mut *self.0.lock();
        change(tokens).map_err(wrong)?;
        names.truncate(tokens.blocks().len());
        Ok(())
    }
}

#[derive(Deserialize)]
struct Run {
    hash: u64,
    offset: usize,
    length: usize,
}

impl From<&Run> for TokenBlockMmInfo {
    fn from(run: &Run) -> Self {
        Self { mm_hash: run.hash, offset: run.offset, length: run.length }
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Args {
    salt: Option<String>,
    lora_name: Option<String>,
    #[serde(default)]
    multimodal: Vec<Run>,
}

fn args(call: &Call) -> Result<Args, Failure> {
    if call.has_args() { call.args() } else { Ok(Args::default()) }
}

fn tokens<'a>(call: &Call<'a>) -> Result<std::borrow::Cow<'a, [Token]>, Failure> {
    let bytes = call.payload();
    if !bytes.len().is_multiple_of(4) {
        return Err(Failure::invalid(format!("tokens: expected 4 bytes each, got {} bytes", bytes.len())));
    }
    // SAFETY: every bit pattern is a valid u32, and `whole` is the aligned part.
    let (before, whole, _) = unsafe { bytes.align_to::<Token>() };
    if before.is_empty() {
        return Ok(whole.into());
    }
    Ok(bytes
        .chunks_exact(4)
        .map(|one| Token::from_le_bytes([one[0], one[1], one[2], one[3]]))
        .collect::<Vec<_>>()
        .into())
}

/// The hashes that a call selects: the blocks `range` (first, count) of the sequence `other`, or the lineage hashes in
/// `args`.
pub fn named(call: &Call, range: u64, block_size: usize) -> Result<Vec<PositionalLineageHash>, Failure> {
    if call.has_args() {
        return hashes::from_bytes(call.raw_args());
    }
    let sequence = call.other::<Sequence>()?;
    let sequence = sequence.lock();
    let blocks = hashes::sequence_blocks(&sequence, range, block_size)?;
    Ok(blocks.iter().map(TokenBlock::positional_lineage_hash).collect())
}

fn fits(tokens: usize, block_size: usize) -> Result<(), Failure> {
    if tokens / block_size > MAX_BLOCKS {
        return Err(Failure::invalid(format!(
            "tokens: expected at most {MAX_BLOCKS} blocks of {block_size}, got {tokens} tokens"
        )));
    }
    Ok(())
}

fn wrong(error: TokenBlockError) -> Failure {
    match error {
        TokenBlockError::MmRunsPresent => {
            Failure::new("NotImplemented", "kvbm.multimodal", "a sequence with multimodal runs cannot be truncated")
        }
        other => Failure::invalid(other.to_string()),
    }
}

/// The payload is the tokens, 4 bytes each. `a`: tokens in a block. `args`: `{salt, loraName, multimodal: [{hash,
/// offset, length}]}`. Returns a `Sequence`.
/// Takes: args bytes?, payload u32s, a blockSize. Returns: handle sequence.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_sequence_create(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let tokens = tokens(call)?;
        let block_size = call.a() as u32;
        if block_size == 0 {
            return Err(Failure::invalid("blockSize: expected 1 or more, got 0"));
        }
        fits(tokens.len(), block_size as usize)?;
        let Args { salt, lora_name, multimodal } = args(call)?;
        let salt = compute_salt_hash(salt.as_deref(), lora_name.as_deref()).map_err(Failure::internal)?;
        let sequence = if multimodal.is_empty() {
            TokenBlockSequence::from_slice(&tokens, block_size, Some(salt))
        } else {
            let runs: Vec<TokenBlockMmInfo> = multimodal.iter().map(Into::into).collect();
            TokenBlockSequence::new_with_mm(Tokens::from(&tokens[..]), &runs, block_size, Some(salt)).map_err(wrong)?
        };
        Ok(Reply::handle(Handle::new(std::sync::Arc::new(Sequence::new(sequence)))))
    })
}

/// The crate copies all tokens that do not fit its current block again and again. So it gets the tokens of one block at
/// a time.
fn extend(sequence: &mut TokenBlockSequence, tokens: &[Token]) -> Result<(), TokenBlockError> {
    let (head, rest) = tokens.split_at(sequence.current_block().remaining().min(tokens.len()));
    let block_size = sequence.block_size();
    for part in std::iter::once(head).chain(rest.chunks(block_size)) {
        sequence.extend(Tokens::from(part))?;
    }
    Ok(())
}

/// Appends the tokens of the payload. `args`: `{multimodal}`, with offsets from the first new token. Returns how many
/// full blocks there are.
/// Takes: handle sequence, args bytes?, payload u32s. Returns: number.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_sequence_extend(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let sequence = call.handle::<Sequence>()?;
        let tokens = tokens(call)?;
        let Args { multimodal, .. } = args(call)?;
        let mut sequence = sequence.lock();
        fits(sequence.total_tokens() + tokens.len(), sequence.block_size())?;
        if multimodal.is_empty() {
            extend(&mut sequence, &tokens).map_err(wrong)?;
        } else {
            let runs: Vec<TokenBlockMmInfo> = multimodal.iter().map(Into::into).collect();
            sequence.extend_with_mm(&tokens, &runs).map_err(wrong)?;
        }
        Ok(Reply::number(sequence.blocks().len() as u64))
    })
}

/// Keeps the first `a` tokens.
/// Takes: handle sequence, a tokenCount. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_sequence_truncate(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        call.handle_ref::<Sequence>()?.cut(|tokens| tokens.truncate(call.a() as usize))?;
        Ok(Reply::unit())
    })
}

/// Returns the tokens from `a` to `b`, 4 bytes each. Returns no bytes if the range is empty.
/// Takes: handle sequence, a start, b end. Returns: bytes or nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_sequence_tokens(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let sequence = call.handle::<Sequence>()?;
        let tokens = sequence.lock().tokens_at(call.a() as usize..call.b() as usize);
        Ok(Reply::bytes(tokens.iter().flat_map(|token| token.to_le_bytes()).collect()))
    })
}

/// Hashes of the blocks `a` (first, count). `b` selects them. 0: the hashes of their tokens; 1: their sequence hashes.
/// Both are written to the payload, 8 bytes each. 2: returns their lineage hashes, 16 bytes each, big-endian. 3:
/// returns the hash of the salt, 8 bytes.
/// Takes: handle sequence, payload u64s?, a blockRange?, b hashKind. Returns: bytes or nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_sequence_hashes(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let sequence = call.handle::<Sequence>()?;
        let sequence = sequence.lock();
        if call.b() == 3 {
            return Ok(Reply::bytes(sequence.salt_hash().to_le_bytes().to_vec()));
        }
        let blocks = hashes::sequence_blocks(&sequence, call.a(), sequence.block_size())?;
        if call.b() < 2 {
            let out = call.out(0)?;
            out.check(blocks.len() * 2)?;
            let hash: fn(&TokenBlock) -> u64 =
                if call.b() == 0 { TokenBlock::block_hash } else { TokenBlock::sequence_hash };
            for (index, block) in blocks.iter().enumerate() {
                out.put_long(index, hash(block));
            }
            return Ok(Reply::unit());
        }
        let mut out = Vec::with_capacity(blocks.len() * hashes::DYN_HASH_BYTES);
        for block in blocks {
            out.extend_from_slice(&block.positional_lineage_hash().as_u128().to_be_bytes());
        }
        Ok(Reply::bytes(out))
    })
}

/// Returns a new `Sequence` with the same tokens, salt and multimodal runs.
/// Takes: handle sequence. Returns: handle sequence.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_sequence_clone(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let sequence = call.handle::<Sequence>()?;
        let sequence = sequence.lock();
        let tokens = sequence.tokens_at(0..sequence.total_tokens());
        let (block_size, salt) = (sequence.block_size() as u32, Some(sequence.salt_hash()));
        let copy = if sequence.mm_runs().is_empty() {
            TokenBlockSequence::from_slice(&tokens, block_size, salt)
        } else {
            TokenBlockSequence::new_with_mm(tokens, sequence.mm_runs(), block_size, salt).map_err(wrong)?
        };
        Ok(Reply::handle(Handle::new(std::sync::Arc::new(Sequence::new(copy)))))
    })
}

/// Removes all tokens. Idempotent.
/// Takes: handle sequence. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_sequence_close(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        call.handle_ref::<Sequence>()?.cut(|tokens| {
            *tokens = TokenBlockSequence::from_slice(&[], tokens.block_size() as u32, Some(tokens.salt_hash()));
            Ok(())
        })?;
        Ok(Reply::unit())
    })
}
