//! Times the crates without the binding, in the same process and run as the binding that is compared with them.

use std::hint::black_box;
use std::time::{Duration, Instant};

use dynamo_tokens::{PositionalLineageHash, TokenBlock, TokenBlockSequence};
use kvbm_logical::{BlockManager, BlockRegistry};
use serde::Deserialize;

use super::Host;
use crate::abi::{Call, Failure, Reply, dyn_call, dyn_reply, reply};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Args {
    what: String,
    /// Blocks of one call, or tokens for `hash`.
    count: usize,
    calls: usize,
    block_size: usize,
    block_count: usize,
}

impl Args {
    fn manager(&self, reset: bool) -> Result<BlockManager<Host>, Failure> {
        BlockManager::<Host>::builder()
            .block_count(self.block_count)
            .block_size(self.block_size)
            .registry(BlockRegistry::new())
            .with_lineage_backend()
            .with_default_reset_on_release(reset)
            .build()
            .map_err(|error| Failure::invalid(error.to_string()))
    }

    fn sequence(&self, seed: usize) -> TokenBlockSequence {
        let tokens: Vec<u32> = (0..self.count * self.block_size).map(|index| (seed * 7919 + index) as u32).collect();
        TokenBlockSequence::from_slice(&tokens, self.block_size as u32, Some(1337))
    }
}

fn repeated(calls: usize, mut work: impl FnMut()) -> Duration {
    let begin = Instant::now();
    for _ in 0..calls {
        work();
    }
    begin.elapsed()
}

fn exhausted() -> Failure {
    Failure::invalid("blockCount: too few blocks")
}

/// `args`: `{what, count, calls, blockSize, blockCount}`. `what` is `allocate`, `register`, `match`, `matchInactive` or
/// `hash`. Returns the nanoseconds of all calls together.
/// Takes: args bytes. Returns: number.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_kvbm_bench(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let args = call.args::<Args>()?;
        let took = match args.what.as_str() {
            "allocate" => {
                let manager = args.manager(false)?;
                repeated(args.calls, || drop(black_box(manager.allocate_blocks(args.count))))
            }
            "register" => register(&args)?,
            "match" | "matchInactive" => {
                let manager = args.manager(false)?;
                let sequence = args.sequence(1);
                let hashes: Vec<PositionalLineageHash> =
                    sequence.blocks().iter().map(TokenBlock::positional_lineage_hash).collect();
                let blocks = manager.allocate_blocks(args.count).ok_or_else(exhausted)?;
                let staged =
                    blocks.into_iter().zip(&hashes).flat_map(|(block, &hash)| block.stage(hash, args.block_size));
                let held = manager.register_blocks(staged.collect());
                let held = (args.what == "match").then_some(held);
                let took = repeated(args.calls, || drop(black_box(manager.match_blocks(black_box(&hashes)))));
                drop(held);
                took
            }
            "hash" => {
                let tokens: Vec<u32> = (0..args.count as u32).collect();
                let size = args.block_size as u32;
                repeated(args.calls, || {
                    let sequence = TokenBlockSequence::from_slice(black_box(&tokens), size, Some(1337));
                    black_box(sequence.blocks().iter().map(TokenBlock::block_hash).collect::<Vec<_>>());
                })
            }
            other => {
                return Err(Failure::invalid(format!(
                    "what: expected allocate, register, match, matchInactive or hash, got {other}"
                )));
            }
        };
        Ok(Reply::number(took.as_nanos() as u64))
    })
}

/// Only staging and registering are timed. Blocks for as many calls as fit are allocated before and released after.
fn register(args: &Args) -> Result<Duration, Failure> {
    let manager = args.manager(true)?;
    let at_once = (args.block_count / args.count).clamp(1, args.calls);
    let sequences: Vec<_> = (0..at_once).map(|seed| args.sequence(seed)).collect();
    let mut took = Duration::ZERO;
    for _ in 0..args.calls / at_once {
        let batches: Option<Vec<_>> = (0..at_once).map(|_| manager.allocate_blocks(args.count)).collect();
        let mut held = Vec::with_capacity(at_once);
        let begin = Instant::now();
        for (blocks, sequence) in batches.ok_or_else(exhausted)?.into_iter().zip(&sequences) {
            let named = blocks.into_iter().zip(sequence.blocks());
            let staged = named.flat_map(|(block, token_block)| block.complete(token_block)).collect();
            held.push(manager.register_blocks(staged));
        }
        took += begin.elapsed();
    }
    Ok(took)
}
