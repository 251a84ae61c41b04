//! The crates' indexers. They know which worker has which blocks, and run on their own threads.

use std::sync::Arc;
use std::time::Duration;

use dynamo_kv_router::approx::PruneConfig;
use dynamo_kv_router::indexer::{
    KvIndexer, KvIndexerInterface, KvIndexerMetrics, KvRouterError, SyncIndexer, ThreadPoolIndexer,
};
use dynamo_kv_router::protocols::{
    LocalBlockHash, OverlapScores, RouterEvent, WorkerWithDpRank, compute_seq_hash_for_block,
};
use dynamo_kv_router::{ConcurrentRadixTreeCompressed, PositionalIndexer};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::tree::worker_id;
use super::words::{Decoded, decode_events, encode_events, encode_scores, local_hashes};
use crate::abi::{Call, Failure, Handle, Reply, dyn_call, dyn_reply, op, reply};

/// Runs `$body` for any kind of index: `$index` is the crate's type in each arm.
macro_rules! with_index {
    ($self:expr, $index:ident => $body:expr) => {
        match $self {
            Kind::Radix($index) => $body,
            Kind::Concurrent($index) => $body,
            Kind::Positional($index) => $body,
        }
    };
}

enum Kind {
    /// One tree. One thread writes and reads it, in order.
    Radix(KvIndexer),
    /// One tree. Several threads write it, and each caller reads it on its own thread.
    Concurrent(ThreadPoolIndexer<ConcurrentRadixTreeCompressed>),
    /// Blocks by position. A match jumps instead of walking.
    Positional(ThreadPoolIndexer<PositionalIndexer>),
}

pub struct Index {
    /// Set until the drop.
    kind: Option<Kind>,
    closed: CancellationToken,
}

impl Drop for Index {
    fn drop(&mut self) {
        self.closed.cancel();
        // The drop joins the threads of the index, so it runs on a thread that may block.
        let kind = self.kind.take();
        std::thread::spawn(move || drop(kind));
    }
}

impl From<KvRouterError> for Failure {
    fn from(error: KvRouterError) -> Self {
        match error {
            KvRouterError::IndexerOffline | KvRouterError::IndexerDroppedRequest => Failure::closed("the indexer"),
            KvRouterError::Unsupported(what) => Failure::new("NotImplemented", "", what),
            other => Failure::internal(other),
        }
    }
}

impl Index {
    fn kind(&self) -> Result<&Kind, Failure> {
        self.kind.as_ref().filter(|_| !self.closed.is_cancelled()).ok_or_else(|| Failure::closed("the indexer"))
    }

    async fn apply(&self, events: Vec<RouterEvent>) -> Result<(), Failure> {
        for event in events {
            with_index!(self.kind()?, index => index.apply_event(event).await);
        }
        self.flush().await
    }

    /// Waits for everything that was applied before.
    async fn flush(&self) -> Result<(), Failure> {
        match self.kind()? {
            Kind::Radix(index) => drop(index.flush_and_wait().await?),
            Kind::Concurrent(index) => index.flush_and_wait().await?,
            Kind::Positional(index) => index.flush_and_wait().await?,
        }
        Ok(())
    }

    async fn find(&self, hashes: Vec<LocalBlockHash>) -> Result<OverlapScores, Failure> {
        Ok(with_index!(self.kind()?, index => index.find_matches(hashes).await)?)
    }

    /// Reads on the calling thread, if the kind allows it.
    fn find_here(&self, hashes: &[LocalBlockHash]) -> Result<OverlapScores, Failure> {
        match self.kind()? {
            Kind::Radix(_) => {
                Err(Failure::new("NotImplemented", "", "an indexer of kind radix answers on its own thread only"))
            }
            Kind::Concurrent(index) => Ok(index.backend().find_matches(hashes, false)),
            Kind::Positional(index) => Ok(index.backend().find_matches(hashes, false)),
        }
    }

    async fn routed(&self, worker: WorkerWithDpRank, hashes: Vec<LocalBlockHash>) -> Result<(), Failure> {
        let sequence = compute_seq_hash_for_block(&hashes);
        with_index!(self.kind()?, index => index.process_routing_decision_with_hashes(worker, hashes, sequence).await)?;
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct IndexArgs {
    kind: String,
    block_size: u32,
    threads: usize,
    jump_size: usize,
    /// For an approximate index: how long a routed block is assumed to be present.
    ttl_ms: Option<u64>,
}

impl IndexArgs {
    fn build(self, closed: CancellationToken) -> Result<Kind, Failure> {
        let metrics = Arc::new(KvIndexerMetrics::new_unregistered());
        let prune = self.ttl_ms.map(|ms| PruneConfig { ttl: Duration::from_millis(ms) });
        let (threads, size) = (self.threads, self.block_size);
        Ok(match self.kind.as_str() {
            "radix" => Kind::Radix(KvIndexer::new_with_pruning(closed, size, metrics, prune)),
            "concurrent" => Kind::Concurrent(ThreadPoolIndexer::new_with_metrics_and_pruning(
                ConcurrentRadixTreeCompressed::new(),
                threads,
                size,
                Some(metrics),
                prune,
            )),
            "positional" if prune.is_some() => {
                return Err(Failure::new("NotImplemented", "", "an indexer of kind positional does not support a ttl"));
            }
            "positional" => {
                let backend = PositionalIndexer::new(self.jump_size);
                Kind::Positional(ThreadPoolIndexer::new_with_metrics(backend, threads, size, Some(metrics)))
            }
            other => {
                return Err(Failure::invalid(format!("kind: expected radix, concurrent or positional, got {other}")));
            }
        })
    }
}

/// `args`: `IndexArgs`. Returns an `Index`.
/// Takes: args bytes. Returns: handle indexer.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_indexer_create(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let args = call.args::<IndexArgs>()?;
        let runtime = crate::process::handle()?;
        let _enter = runtime.enter();
        let closed = CancellationToken::new();
        let kind = args.build(closed.clone())?;
        Ok(Reply::handle(Handle::new(Arc::new(Index { kind: Some(kind), closed }))))
    })
}

/// Applies the events of the payload (words) in order. Completes when they are applied.
/// Takes: handle indexer, payload bytes. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_indexer_apply(call: &dyn_call) {
    op(call, |call: &Call| {
        let index = call.handle::<Index>()?;
        index.kind()?;
        let events = decode_events(call.payload())?.into_iter().map(Decoded::router_event).collect();
        Ok(async move {
            index.apply(events).await?;
            Ok(Reply::unit())
        })
    })
}

/// Matches the hashes of blocks in the payload (words). Completes with scores.
/// Takes: handle indexer, payload u64s. Returns: bytes or nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_indexer_match(call: &dyn_call) {
    op(call, |call: &Call| {
        let index = call.handle::<Index>()?;
        index.kind()?;
        let hashes = local_hashes("hashes", call.payload())?;
        Ok(async move { Ok(Reply::bytes(encode_scores(&index.find(hashes).await?))) })
    })
}

/// Like `dyn_indexer_match`, but on the calling thread. Not for the kind `radix`.
/// Takes: handle indexer, payload u64s. Returns: bytes or nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_indexer_match_here(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let index = call.handle::<Index>()?;
        index.kind()?;
        let hashes = local_hashes("hashes", call.payload())?;
        Ok(Reply::bytes(encode_scores(&index.find_here(&hashes)?)))
    })
}

/// Records a routed prompt, for an approximate index. The payload is the id of the worker and the hashes of the
/// prompt's blocks, as words. `a`: the rank.
/// Takes: handle indexer, payload u64s, a dpRank. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_indexer_routed(call: &dyn_call) {
    op(call, |call: &Call| {
        let index = call.handle::<Index>()?;
        index.kind()?;
        let mut words = local_hashes("workerId and hashes", call.payload())?;
        if words.is_empty() {
            return Err(Failure::invalid("workerId: expected one word"));
        }
        let worker = WorkerWithDpRank::new(words.remove(0).0, call.a() as u32);
        Ok(async move {
            index.routed(worker, words).await?;
            Ok(Reply::unit())
        })
    })
}

/// Removes the blocks of a worker. The payload is its id, as a word. `a`: 0 for all its ranks, or the rank plus 1.
/// Takes: handle indexer, payload u64s, a rankOrAll. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_indexer_remove(call: &dyn_call) {
    op(call, |call: &Call| {
        let index = call.handle::<Index>()?;
        index.kind()?;
        let (worker, rank) = (worker_id(call)?, call.a());
        Ok(async move {
            match rank {
                0 => with_index!(index.kind()?, index => index.remove_worker(worker).await),
                _ => {
                    let rank = (rank - 1) as u32;
                    with_index!(index.kind()?, index => index.remove_worker_dp_rank(worker, rank).await)
                }
            }
            index.flush().await?;
            Ok(Reply::unit())
        })
    })
}

/// Completes with events that rebuild the index, as words.
/// Takes: handle indexer. Returns: bytes or nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_indexer_dump(call: &dyn_call) {
    op(call, |call: &Call| {
        let index = call.handle::<Index>()?;
        index.kind()?;
        Ok(async move {
            index.flush().await?;
            let events = with_index!(index.kind()?, index => index.dump_events().await)?;
            Ok(Reply::bytes(encode_events(&events)))
        })
    })
}

/// Refuses further calls and ends the threads of the index. Completes when they have ended. Idempotent.
/// Takes: handle indexer. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_indexer_close(call: &dyn_call) {
    op(call, |call: &Call| {
        let index = call.handle::<Index>()?;
        Ok(async move {
            let ending = tokio::task::spawn_blocking(move || {
                index.closed.cancel();
                if let Some(kind) = &index.kind {
                    with_index!(kind, index => index.shutdown());
                }
            });
            ending.await.map_err(Failure::internal)?;
            Ok(Reply::unit())
        })
    })
}
