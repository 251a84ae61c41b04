//! An engine in the host language behind the traits of dynamo-backend-common: each method is a request of the inbox.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dynamo_backend_common::{
    AsyncEngineContext, DynamoError, EngineConfig, GenerateContext, KvEventSource, LLMEngine, LLMEngineOutput,
    LlmRegistration, MetricsBindings, MetricsCtx, PreprocessedRequest, RawEngine,
};
use futures::stream::{BoxStream, StreamExt};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Notify;

use super::publish::Publishers;
use crate::abi::Failure;
use crate::inbox::{Answer, Inbox, Request};
use crate::sink::Sent;

/// What the host's engine implements, told once so that what it lacks costs no crossing.
#[derive(Deserialize, Default, Clone)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct EngineTraits {
    pub methods: HashSet<String>,
    pub controls: Vec<String>,
    pub updates: Vec<String>,
    /// Data-parallel ranks that publish load snapshots.
    pub metrics_ranks: Vec<u32>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct LlmArgs {
    context_length: Option<u32>,
    kv_cache_block_size: Option<u32>,
    total_kv_blocks: Option<u64>,
    max_num_seqs: Option<u64>,
    max_num_batched_tokens: Option<u64>,
    max_gpu_lora_count: Option<u32>,
    data_parallel_size: Option<u32>,
    data_parallel_start_rank: Option<u32>,
    enable_eagle: bool,
    bootstrap_host: Option<String>,
    bootstrap_port: Option<u16>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EngineConfigArgs {
    model: String,
    served_model_name: Option<String>,
    #[serde(default)]
    model_aliases: Vec<String>,
    #[serde(default)]
    runtime_data: HashMap<String, Value>,
    llm: Option<LlmArgs>,
}

impl From<EngineConfigArgs> for EngineConfig {
    fn from(args: EngineConfigArgs) -> Self {
        Self {
            model: args.model,
            served_model_name: args.served_model_name,
            model_aliases: args.model_aliases,
            runtime_data: args.runtime_data,
            llm: args.llm.map(|llm| LlmRegistration {
                context_length: llm.context_length,
                kv_cache_block_size: llm.kv_cache_block_size,
                total_kv_blocks: llm.total_kv_blocks,
                max_num_seqs: llm.max_num_seqs,
                max_num_batched_tokens: llm.max_num_batched_tokens,
                max_gpu_lora_count: llm.max_gpu_lora_count,
                data_parallel_size: llm.data_parallel_size,
                data_parallel_start_rank: llm.data_parallel_start_rank,
                enable_eagle: llm.enable_eagle,
                bootstrap_host: llm.bootstrap_host,
                bootstrap_port: llm.bootstrap_port,
            }),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
enum KvSourceArgs {
    #[serde(rename_all = "camelCase")]
    Zmq {
        endpoint: String,
        #[serde(default)]
        topic: String,
        #[serde(default)]
        dp_rank: u32,
        image_token_id: Option<u32>,
    },
    #[serde(rename_all = "camelCase")]
    Push {
        #[serde(default)]
        dp_rank: u32,
    },
}

/// How long a stopped request may take to end by its engine's own hand before it is ended for it. The crates' conformance
/// kit allows two seconds in all.
const STOP_GRACE: Duration = Duration::from_millis(1000);

pub struct HostEngine {
    inbox: Arc<Inbox>,
    traits: EngineTraits,
    /// Which engine of the inbox's: the conformance kit needs more than one. Sent as metadata.
    index: usize,
    publishers: Arc<Publishers>,
    running: Arc<Running>,
    /// Bounds `drain` and `cleanup` together: past its own deadline the crate exits the process.
    cleanup_limit: Duration,
    cleaned: Mutex<bool>,
}

/// The generations under way, so that `cleanup` comes after the last.
#[derive(Default)]
struct Running {
    count: AtomicUsize,
    idle: Notify,
}

struct RunningGuard(Arc<Running>);

impl RunningGuard {
    fn new(running: &Arc<Running>) -> Self {
        running.count.fetch_add(1, SeqCst);
        Self(Arc::clone(running))
    }
}

impl Drop for RunningGuard {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, SeqCst) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

impl Running {
    async fn idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.count.load(SeqCst) == 0 {
                return;
            }
            idle.await;
        }
    }
}

fn pack(value: &impl Serialize) -> Result<Bytes, DynamoError> {
    rmp_serde::to_vec_named(value).map(Bytes::from).map_err(|error| Failure::internal(error).to_dynamo())
}

fn unpack<T: DeserializeOwned>(method: &str, bytes: &[u8]) -> Result<T, DynamoError> {
    rmp_serde::from_slice(bytes)
        .map_err(|error| Failure::new("BackendProtocol", "", format!("engine.{method}: {error}")).to_dynamo())
}

impl HostEngine {
    pub fn new(
        inbox: Arc<Inbox>,
        traits: EngineTraits,
        index: usize,
        publishers: Arc<Publishers>,
        cleanup_limit: Duration,
    ) -> Self {
        Self { inbox, traits, index, publishers, running: Arc::default(), cleanup_limit, cleaned: Mutex::new(false) }
    }

    fn has(&self, method: &str) -> bool {
        self.traits.methods.contains(method)
    }

    fn request(&self, method: &'static str, payload: Bytes) -> Request {
        let mut request = Request::new(method, payload);
        request.metadata.insert("engine".into(), self.index.to_string());
        request
    }

    async fn call(&self, method: &'static str, payload: Bytes) -> Result<Option<Bytes>, DynamoError> {
        self.inbox.call(self.request(method, payload)).await.map_err(|failure| failure.to_dynamo())
    }

    async fn call_for<T: DeserializeOwned>(
        &self,
        method: &'static str,
        payload: &impl Serialize,
    ) -> Result<T, DynamoError> {
        let answer = self.call(method, pack(payload)?).await?;
        unpack(method, answer.as_deref().unwrap_or(&[0xc0]))
    }

    async fn start_engine(&self, worker_id: u64) -> Result<EngineConfig, DynamoError> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Start {
            worker_id: u64,
        }
        let config: EngineConfigArgs = self.call_for("start", &Start { worker_id }).await?;
        Ok(config.into())
    }

    fn generation(&self, payload: Bytes, context: &GenerateContext) -> Result<Generation, DynamoError> {
        let mut metadata: BTreeMap<String, String> = context.metadata().clone();
        metadata.insert("engine".into(), self.index.to_string());
        let request = Request {
            method: "generate",
            payload,
            context: Some(context.inner_arc()),
            metadata,
            input: None,
        };
        Ok(Generation {
            answer: self.inbox.send(request).map_err(|failure| failure.to_dynamo())?,
            context: context.inner_arc(),
            _running: RunningGuard::new(&self.running),
        })
    }

    async fn abort_request(&self, context: Arc<dyn AsyncEngineContext>) {
        if self.has("abort")
            && let Err(error) = self.call("abort", pack(&context.id()).unwrap_or_default()).await
        {
            tracing::warn!(%error, "engine.abort failed");
        }
    }

    async fn quiescent(&self) -> Result<Option<bool>, DynamoError> {
        if !self.has("isQuiescent") {
            return Ok(None);
        }
        self.call_for("isQuiescent", &()).await
    }

    async fn clean(&self) -> Result<(), DynamoError> {
        if std::mem::replace(&mut *self.cleaned.lock(), true) {
            return Ok(());
        }
        let whole = async {
            if self.has("drain")
                && let Err(error) = self.call("drain", Bytes::new()).await
            {
                tracing::warn!(%error, "engine.drain failed");
            }
            // Four fifths of the time for what still runs; what is left is the engine's to release itself in.
            if tokio::time::timeout(self.cleanup_limit * 4 / 5, self.running.idle()).await.is_err() {
                tracing::warn!("requests were still running when the engine had to be cleaned up");
            }
            if self.has("cleanup") {
                self.call("cleanup", Bytes::new()).await?;
            }
            Ok(())
        };
        match tokio::time::timeout(self.cleanup_limit, whole).await {
            Ok(cleaned) => cleaned,
            Err(_) => Err(Failure::new("DeadlineExceeded", "", "engine.cleanup did not end in time").to_dynamo()),
        }
    }

    fn metrics(&self) -> MetricsBindings {
        if self.traits.metrics_ranks.is_empty() {
            return MetricsBindings::default();
        }
        let publishers = Arc::clone(&self.publishers);
        MetricsBindings {
            dp_ranks: self.traits.metrics_ranks.clone(),
            on_publisher_ready: Some(Box::new(move |publisher| {
                publishers.set_snapshots(publisher);
                Ok(())
            })),
        }
    }

    async fn act(&self, method: &'static str, name: String, body: Value) -> Result<Value, DynamoError> {
        #[derive(Serialize)]
        struct Act {
            name: String,
            body: Value,
        }
        self.call_for(method, &Act { name, body }).await
    }
}

/// The items of one generation, with the end that the traits ask for: after a stop, a terminal item in any case.
struct Generation {
    answer: Answer,
    context: Arc<dyn AsyncEngineContext>,
    _running: RunningGuard,
}

enum Next {
    Item(Bytes),
    Failed(Failure),
    Ended,
    /// Stopped, and the engine did not end in time.
    Overdue,
}

impl Generation {
    async fn next(&mut self) -> Next {
        let overdue = async {
            self.context.stopped().await;
            tokio::time::sleep(STOP_GRACE).await;
        };
        tokio::select! {
            biased;
            sent = self.answer.next() => match sent {
                Some(Sent::Data(bytes) | Sent::Annotated(bytes)) => Next::Item(bytes),
                Some(Sent::Failed(failure)) => Next::Failed(failure),
                Some(Sent::Ended) | None => Next::Ended,
            },
            () = overdue => Next::Overdue,
        }
    }

    fn stopped(&self) -> bool {
        self.context.is_stopped() || self.context.is_killed()
    }
}

#[async_trait]
impl LLMEngine for HostEngine {
    async fn start(&self, worker_id: u64) -> Result<EngineConfig, DynamoError> {
        self.start_engine(worker_id).await
    }

    async fn generate(
        &self,
        request: PreprocessedRequest,
        context: GenerateContext,
    ) -> Result<BoxStream<'static, Result<LLMEngineOutput, DynamoError>>, DynamoError> {
        let mut generation = self.generation(pack(&request)?, &context)?;
        Ok(Box::pin(async_stream::stream! {
            let mut finished = false;
            loop {
                match generation.next().await {
                    Next::Item(bytes) => {
                        let output = unpack::<LLMEngineOutput>("generate", &bytes);
                        finished |= output.as_ref().map_or(true, |output| output.finish_reason.is_some());
                        let failed = output.is_err();
                        yield output;
                        if failed {
                            return;
                        }
                    }
                    Next::Failed(_) | Next::Ended | Next::Overdue if finished => return,
                    Next::Overdue | Next::Failed(_) | Next::Ended if generation.stopped() => {
                        yield Ok(LLMEngineOutput::cancelled());
                        return;
                    }
                    Next::Failed(failure) => {
                        yield Err(failure.to_dynamo());
                        return;
                    }
                    Next::Ended | Next::Overdue => {
                        let missing = "engine.generate ended without an item that has a finish_reason";
                        yield Err(Failure::new("BackendProtocol", "", missing).to_dynamo());
                        return;
                    }
                }
            }
        }))
    }

    async fn abort(&self, context: Arc<dyn AsyncEngineContext>) {
        self.abort_request(context).await;
    }

    async fn is_quiescent(&self) -> Result<Option<bool>, DynamoError> {
        self.quiescent().await
    }

    async fn cleanup(&self) -> Result<(), DynamoError> {
        self.clean().await
    }

    async fn kv_event_sources(&self) -> Result<Vec<KvEventSource>, DynamoError> {
        if !self.has("kvEventSources") {
            return Ok(Vec::new());
        }
        let sources: Vec<KvSourceArgs> = self.call_for("kvEventSources", &()).await?;
        Ok(sources
            .into_iter()
            .map(|source| match source {
                KvSourceArgs::Zmq { endpoint, topic, dp_rank, image_token_id } => {
                    KvEventSource::Zmq { endpoint, topic, dp_rank, image_token_id }
                }
                KvSourceArgs::Push { dp_rank } => {
                    let publishers = Arc::clone(&self.publishers);
                    KvEventSource::Push {
                        on_ready: Box::new(move |publisher| {
                            publishers.set_kv(dp_rank, publisher);
                            Ok(())
                        }),
                        dp_rank,
                    }
                }
            })
            .collect())
    }

    async fn setup_metrics(&self, _context: MetricsCtx<'_>) -> Result<MetricsBindings, DynamoError> {
        Ok(self.metrics())
    }

    async fn supported_controls(&self) -> Result<Vec<String>, DynamoError> {
        Ok(self.traits.controls.clone())
    }

    async fn engine_control(&self, control: String, body: Value) -> Result<Value, DynamoError> {
        self.act("control", control, body).await
    }

    async fn supported_updates(&self) -> Result<Vec<String>, DynamoError> {
        Ok(self.traits.updates.clone())
    }

    async fn engine_update(&self, update: String, body: Value) -> Result<Value, DynamoError> {
        self.act("update", update, body).await
    }
}

/// The same engine for models whose requests and answers the frontend forwards as they are (images, videos, audios).
pub struct HostRawEngine(pub HostEngine);

#[async_trait]
impl RawEngine for HostRawEngine {
    async fn start(&self, worker_id: u64) -> Result<EngineConfig, DynamoError> {
        self.0.start_engine(worker_id).await
    }

    async fn generate(
        &self,
        request: Value,
        context: GenerateContext,
    ) -> Result<BoxStream<'static, Result<Value, DynamoError>>, DynamoError> {
        let mut generation = self.0.generation(pack(&request)?, &context)?;
        Ok(Box::pin(async_stream::stream! {
            loop {
                match generation.next().await {
                    Next::Item(bytes) => {
                        let output = unpack::<Value>("generate", &bytes);
                        let failed = output.is_err();
                        yield output;
                        if failed {
                            return;
                        }
                    }
                    Next::Failed(failure) if !generation.stopped() => {
                        yield Err(failure.to_dynamo());
                        return;
                    }
                    _ => return,
                }
            }
        }))
    }

    async fn abort(&self, context: Arc<dyn AsyncEngineContext>) {
        self.0.abort_request(context).await;
    }

    async fn is_quiescent(&self) -> Result<Option<bool>, DynamoError> {
        self.0.quiescent().await
    }

    async fn cleanup(&self) -> Result<(), DynamoError> {
        self.0.clean().await
    }

    async fn setup_metrics(&self, _context: MetricsCtx<'_>) -> Result<MetricsBindings, DynamoError> {
        Ok(self.0.metrics())
    }
}
