//! Indexes and selection of the benches on Dynamo's crates alone, without JavaScript. The addon is compared with it.
//!
//! index_peer
//!
//! Commands and answers are lines of JSON, like those of bench/peers/index.py: `{verb: apply | find | findIndex |
//! select | reserve | selectMany, blocks, workers, prompts, blockSize, ms}`.

use std::collections::VecDeque;
use std::hint::black_box;
use std::io::BufRead;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use dynamo_custom_policy_builtin::default_registry;
use dynamo_kv_router::identity::{RoutingPartitionId, RoutingPartitionRef};
use dynamo_kv_router::indexer::KvIndexerInterface;
use dynamo_kv_router::protocols::{
    BlockHashOptions, ExternalSequenceBlockHash, KvCacheEvent, KvCacheEventData, KvCacheStoreData,
    KvCacheStoredBlockData, LocalBlockHash, RouterEvent, StorageTier, compute_block_hash_for_seq,
    compute_seq_hash_for_block,
};
use dynamo_kv_router::services::indexer::backend::Indexer;
use dynamo_kv_router::services::indexer::registry::WorkerRegistry;
use dynamo_kv_router::services::selection::{
    KvEventIngress, KvIndexSource, SelectRequest, SelectionError, SelectionService, SelectionServiceBuilder,
    WorkerCatalogRecord,
};
use dynamo_kv_router::{
    ConcurrentRadixTreeCompressed, KvRouterConfig, RadixTree, SyncIndexer, ThreadPoolIndexer, WorkerType,
};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Command {
    verb: String,
    blocks: usize,
    workers: u64,
    prompts: u64,
    block_size: u32,
    ms: u64,
}

/// Chains of one seed are one prompt.
fn chain(seed: u64, blocks: usize) -> Vec<LocalBlockHash> {
    let mut state = seed + 1;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        LocalBlockHash(state)
    };
    (0..blocks).map(|_| next()).collect()
}

fn stored(worker: u64, hashes: &[LocalBlockHash]) -> RouterEvent {
    let names = compute_seq_hash_for_block(hashes);
    let blocks = names.iter().zip(hashes).map(|(name, hash)| KvCacheStoredBlockData {
        block_hash: ExternalSequenceBlockHash(*name),
        tokens_hash: *hash,
        mm_extra_info: None,
    });
    let data = KvCacheEventData::Stored(KvCacheStoreData {
        parent_hash: None,
        start_position: Some(0),
        blocks: blocks.collect(),
    });
    RouterEvent::with_storage_tier(worker, KvCacheEvent { event_id: 0, data, dp_rank: 0 }, StorageTier::Device)
}

/// Half of the workers have the whole chain of a prompt, the others half of it.
fn stored_events(command: &Command) -> Vec<RouterEvent> {
    let of = |prompt: u64, worker: u64| {
        let have = if worker % 2 == 0 { command.blocks } else { command.blocks / 2 };
        stored(worker, &chain(prompt, command.blocks)[..have])
    };
    (0..command.prompts)
        .flat_map(|prompt| (0..command.workers).map(move |worker| (prompt, worker)))
        .map(|(p, w)| of(p, w))
        .collect()
}

fn figures(mut took: Vec<Duration>, elapsed: Duration) -> Value {
    took.sort_unstable();
    let at = |share: f64| took[(took.len() as f64 * share) as usize].as_secs_f64() * 1e6;
    json!({ "perSecond": took.len() as f64 / elapsed.as_secs_f64(), "p50Us": at(0.5), "p99Us": at(0.99) })
}

/// Times calls one after the other for `ms`. `prepare` is not timed. A quarter of the time is spent on warm-up first.
fn measured<T>(ms: u64, mut prepare: impl FnMut() -> T, mut call: impl FnMut(T)) -> Value {
    let mut run = |limit: Duration| {
        let (mut took, mut elapsed) = (Vec::new(), Duration::ZERO);
        while elapsed < limit {
            let input = prepare();
            let begin = Instant::now();
            call(input);
            let each = begin.elapsed();
            took.push(each);
            elapsed += each;
        }
        figures(took, elapsed)
    };
    run(Duration::from_millis(ms / 4));
    run(Duration::from_millis(ms))
}

fn apply(command: &Command) -> Value {
    // Chains that are new to each worker. A new tree is made after all workers have all chains.
    let chains: Vec<_> = (0..256).map(|seed| chain(seed, command.blocks)).collect();
    let events: Vec<RouterEvent> =
        (0..command.workers).flat_map(|worker| chains.iter().map(move |one| stored(worker, one))).collect();
    let tree = std::cell::RefCell::new(RadixTree::new());
    let mut left: VecDeque<RouterEvent> = VecDeque::new();
    let prepare = || {
        if left.is_empty() {
            *tree.borrow_mut() = RadixTree::new();
            left.extend(events.iter().cloned());
        }
        left.pop_front()
    };
    measured(command.ms, prepare, |event| {
        if let Some(event) = event {
            black_box(tree.borrow_mut().apply_event(event)).ok();
        }
    })
}

fn cycle<T: Clone>(items: Vec<T>) -> impl FnMut() -> T {
    let mut at = 0;
    move || {
        at += 1;
        items[at % items.len()].clone()
    }
}

fn prompts(command: &Command) -> Vec<Vec<LocalBlockHash>> {
    (0..command.prompts).map(|prompt| chain(prompt, command.blocks)).collect()
}

fn find(command: &Command) -> Value {
    let mut tree = RadixTree::new();
    for event in stored_events(command) {
        tree.apply_event(event).ok();
    }
    measured(command.ms, cycle(prompts(command)), |hashes| drop(black_box(tree.find_matches(hashes, false))))
}

async fn find_index(command: &Command) -> Result<Value> {
    let index = ThreadPoolIndexer::new(ConcurrentRadixTreeCompressed::new(), 4, command.block_size);
    for event in stored_events(command) {
        index.apply_event(event).await;
    }
    index.flush_and_wait().await?;
    let got = measured(command.ms, cycle(prompts(command)), |hashes| {
        drop(black_box(index.backend().find_matches(&hashes, false)))
    });
    tokio::task::spawn_blocking(move || index.shutdown()).await?;
    Ok(got)
}

/// Events come from here, not from engines.
struct Fed(Arc<dyn KvEventIngress>);

#[async_trait]
impl KvEventIngress for Fed {
    fn open(&self, registry: &WorkerRegistry, key: &RoutingPartitionId, block_size: u32) -> Indexer {
        self.0.open(registry, key, block_size)
    }

    fn missing_metadata(&self, _record: &WorkerCatalogRecord) -> Vec<String> {
        Vec::new()
    }

    async fn reconcile(
        &self,
        _registry: &WorkerRegistry,
        _previous: Option<&WorkerCatalogRecord>,
        _record: &WorkerCatalogRecord,
    ) -> Result<(), SelectionError> {
        Ok(())
    }

    async fn detach(&self, _registry: &WorkerRegistry, _record: &WorkerCatalogRecord) {}
}

struct Selecting {
    service: SelectionService,
    prompts: Vec<Vec<u32>>,
}

impl Selecting {
    async fn new(command: &Command) -> Result<Self> {
        let KvIndexSource::Owned(zmq) = KvIndexSource::default();
        let service =
            SelectionServiceBuilder::new(KvRouterConfig::default(), WorkerType::Aggregated, default_registry())
                .kv_index(KvIndexSource::Owned(Arc::new(Fed(zmq))))
                .indexer_threads(4)
                .build()
                .await?;
        for worker in 0..command.workers {
            let worker =
                json!({ "worker_id": worker, "endpoint": worker.to_string(), "block_size": command.block_size });
            service.upsert_worker(serde_json::from_value(worker)?).await.map_err(|error| anyhow::anyhow!("{error}"))?;
        }
        let key = RoutingPartitionRef::new("default", "default").into_owned();
        let partition = service.core().partition(&key).context("no partition")?;
        let tokens = command.blocks as u32 * command.block_size;
        let prompts: Vec<Vec<u32>> =
            (0..command.prompts as u32).map(|prompt| (0..tokens).map(|at| prompt * 1_000_003 + at).collect()).collect();
        for (at, tokens) in prompts.iter().enumerate() {
            let hashes = compute_block_hash_for_seq(tokens, command.block_size, BlockHashOptions::default());
            let event = stored(at as u64 % command.workers, &hashes);
            partition.indexer().apply_event_routed(event).await?;
        }
        Ok(Self { service, prompts })
    }

    fn request(&self, turn: usize) -> Result<SelectRequest> {
        let mut request: SelectRequest = serde_json::from_value(json!({}))?;
        request.prompt.token_ids = Some(self.prompts[turn % self.prompts.len()].clone());
        Ok(request)
    }

    async fn select(&self, turn: usize) -> Result<()> {
        self.service.select(self.request(turn)?).await.map_err(|error| anyhow::anyhow!("{error}"))?;
        Ok(())
    }

    async fn reserve(&self, turn: usize) -> Result<()> {
        let mut request: dynamo_kv_router::services::selection::SelectAndReserveRequest =
            serde_json::from_value(json!({}))?;
        request.prompt.token_ids = Some(self.prompts[turn % self.prompts.len()].clone());
        let selected = self.service.select_and_reserve(request).await.map_err(|error| anyhow::anyhow!("{error}"))?;
        let id = selected.selection_id.context("no id")?;
        self.service.free_reservation(&id).await.map_err(|error| anyhow::anyhow!("{error}"))
    }

    /// One request after the other.
    async fn in_turn(&self, ms: u64, reserve: bool) -> Result<Value> {
        let mut last = json!(null);
        for limit in [ms / 4, ms] {
            let (mut took, begin) = (Vec::new(), Instant::now());
            while begin.elapsed() < Duration::from_millis(limit) {
                let now = Instant::now();
                match reserve {
                    true => self.reserve(took.len()).await?,
                    false => self.select(took.len()).await?,
                }
                took.push(now.elapsed());
            }
            last = figures(took, begin.elapsed());
        }
        Ok(last)
    }

    async fn many(self: Arc<Self>, ms: u64, lanes: usize) -> Result<Value> {
        let begin = Instant::now();
        let lane = |first: usize| {
            let this = self.clone();
            tokio::spawn(async move {
                let mut took = Vec::new();
                while begin.elapsed() < Duration::from_millis(ms) {
                    let now = Instant::now();
                    this.select(first + took.len()).await?;
                    took.push(now.elapsed());
                }
                Ok::<_, anyhow::Error>(took)
            })
        };
        let mut all = Vec::new();
        for running in (0..lanes).map(lane).collect::<Vec<_>>() {
            all.extend(running.await??);
        }
        Ok(figures(all, begin.elapsed()))
    }
}

async fn selection(command: &Command) -> Result<Value> {
    let selecting = Arc::new(Selecting::new(command).await?);
    let got = match command.verb.as_str() {
        "selectMany" => selecting.clone().many(command.ms, 32).await?,
        verb => selecting.in_turn(command.ms, verb == "reserve").await?,
    };
    selecting.service.shutdown().await;
    Ok(got)
}

async fn answer(line: &str) -> Result<Value> {
    let command: Command = serde_json::from_str(line)?;
    match command.verb.as_str() {
        "apply" => Ok(apply(&command)),
        "find" => Ok(find(&command)),
        "findIndex" => find_index(&command).await,
        "select" | "reserve" | "selectMany" => selection(&command).await,
        other => bail!("verb: {other} is none"),
    }
}

#[tokio::main]
async fn main() {
    println!("{}", json!({ "bench": { "ready": true } }));
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let answer = answer(&line).await.unwrap_or_else(|error| json!({ "error": format!("{error:#}") }));
        println!("{}", json!({ "bench": answer }));
    }
}
