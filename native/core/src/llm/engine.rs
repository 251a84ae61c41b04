//! Implements the traits of dynamo-backend-common for an engine in the host language. Each method is a request in the
//! inbox.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dynamo_backend_common::{
    AsyncEngineContext, DynamoError, EngineConfig, FinishReason, GenerateContext, KvEventSource, LLMEngine,
    LLMEngineOutput, MetricsBindings, MetricsCtx, PreprocessedRequest, RawEngine,
};
use futures::stream::BoxStream;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::generation::{Generation, Next, Running};
use super::publish::Publishers;
use super::registration::{EngineConfigArgs, EngineTraits, KvSourceArgs};
use crate::abi::Failure;
use crate::inbox::{Inbox, Request};
use crate::sink::Notice;

/// The time limit of the validation of a control, which blocks a thread of the runtime. After it the control is
/// refused.
const VALIDATE_LIMIT: Duration = Duration::from_secs(5);

/// The metadata key of `HostEngine::index`. No caller can set it.
const ENGINE_KEY: &str = "\0engine";

pub struct HostEngine {
    inbox: Arc<Inbox>,
    traits: EngineTraits,
    /// The number of this engine in its inbox, sent as metadata. The conformance kit needs more than one engine.
    index: usize,
    publishers: Arc<Publishers>,
    running: Arc<Running>,
    /// Bounds `drain` and `cleanup` together. The crate exits the process after its own deadline.
    cleanup_limit: Duration,
    cleaned: Mutex<bool>,
}

fn pack(value: &impl Serialize) -> Result<Bytes, DynamoError> {
    rmp_serde::to_vec_named(value).map(Bytes::from).map_err(|error| Failure::internal(error).to_dynamo())
}

/// A request with its token ids as words, because MessagePack of many numbers takes the host thirty times longer to
/// read: their count, the ids, and the request without ids in MessagePack. The words have 32 bits and are
/// little-endian.
fn packed_request(mut request: PreprocessedRequest) -> Result<Bytes, DynamoError> {
    let ids = std::mem::take(&mut request.token_ids);
    let count = u32::try_from(ids.len()).map_err(|error| Failure::internal(error).to_dynamo())?;
    let words = (1 + ids.len()) * size_of::<u32>();
    let mut packed = Vec::with_capacity(words + 1024);
    packed.resize(words, 0);
    for (bytes, word) in packed.chunks_exact_mut(size_of::<u32>()).zip(std::iter::once(&count).chain(ids.iter())) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    rmp_serde::encode::write_named(&mut packed, &request).map_err(|error| Failure::internal(error).to_dynamo())?;
    Ok(packed.into())
}

fn unpack<T: DeserializeOwned>(method: &str, bytes: &[u8]) -> Result<T, DynamoError> {
    rmp_serde::from_slice(bytes)
        .map_err(|error| Failure::new("BackendProtocol", "", format!("engine.{method}: {error}")).to_dynamo())
}

/// The answer to a request that the inbox did not take. The crates report an error before the stream as a failure of
/// the worker, without its class, so the error of a busy worker is an item.
fn refused<T: Send + 'static>(failure: &Failure) -> Result<BoxStream<'static, Result<T, DynamoError>>, DynamoError> {
    let error = failure.to_dynamo();
    if failure.is_refusal() { Ok(Box::pin(futures::stream::once(async { Err(error) }))) } else { Err(error) }
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
        let mut request = Request { uses_credit: false, ..Request::new(method, payload) };
        request.metadata.insert(ENGINE_KEY.into(), self.index.to_string());
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

    fn generation(&self, payload: Bytes, context: &GenerateContext) -> Result<Generation, Failure> {
        let mut metadata: BTreeMap<String, String> = context.metadata().clone();
        metadata.insert(ENGINE_KEY.into(), self.index.to_string());
        let notice = context.first_token_notifier().cloned().map(|first| Box::new(move || first.notify()) as Notice);
        let request =
            Request { context: Some(context.inner_arc()), metadata, notice, ..Request::new("generate", payload) };
        let answer = self.inbox.send(request)?;
        Ok(Generation::new(answer, context.inner_arc(), &self.running))
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
            let idle = async {
                if self.has("drain")
                    && let Err(error) = self.call("drain", Bytes::new()).await
                {
                    tracing::warn!(%error, "engine.drain failed");
                }
                self.running.idle().await;
            };
            // Requests in flight get four fifths of the time. The rest is for the engine's own cleanup.
            if tokio::time::timeout(self.cleanup_limit * 4 / 5, idle).await.is_err() {
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

    async fn metrics(&self, context: MetricsCtx<'_>) -> Result<MetricsBindings, DynamoError> {
        if self.has("setupMetrics") {
            let publishers = Arc::downgrade(&self.publishers);
            context.metrics.add_expfmt_callback(Arc::new(move || {
                Ok(publishers.upgrade().map(|publishers| publishers.metrics_text()).unwrap_or_default())
            }));
            let labels: BTreeMap<_, _> = context.metrics.auto_labels().iter().collect();
            self.call("setupMetrics", pack(&labels)?).await?;
        }
        if self.traits.metrics_ranks.is_empty() {
            return Ok(MetricsBindings::default());
        }
        let publishers = Arc::clone(&self.publishers);
        Ok(MetricsBindings {
            dp_ranks: self.traits.metrics_ranks.clone(),
            on_publisher_ready: Some(Box::new(move |publisher| {
                publishers.set_snapshots(publisher);
                Ok(())
            })),
        })
    }

    /// The trait's method is synchronous and runs on a thread of the runtime. The other tasks of the thread move to
    /// other threads.
    fn validate(&self, name: &str, body: &Value) -> Result<(), DynamoError> {
        if !self.has("validateEngineControl") {
            return Ok(());
        }
        let validation = self.act("validateEngineControl", name.to_string(), body.clone());
        let validated = tokio::task::block_in_place(|| {
            let runtime = tokio::runtime::Handle::current();
            runtime.block_on(async { tokio::time::timeout(VALIDATE_LIMIT, validation).await })
        });
        match validated {
            Ok(answer) => answer.map(drop),
            Err(_) => {
                Err(Failure::new("DeadlineExceeded", "", "engine.validateEngineControl did not answer").to_dynamo())
            }
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
        let choices = request.sampling_options.n.unwrap_or(1).max(1);
        let mut generation = match self.generation(packed_request(request)?, &context) {
            Ok(generation) => generation,
            Err(failure) => return refused(&failure),
        };
        // The crate ends the stream at the first item with a finish_reason. So with several choices only the last may
        // keep its reason. The frontend detects end and stop tokens itself, and treats any other end as the end of the
        // stream.
        let mut open_choices = choices;
        Ok(Box::pin(async_stream::stream! {
            let mut finished = false;
            loop {
                match generation.next().await {
                    Next::Item(bytes) => {
                        let mut output = unpack::<LLMEngineOutput>("generate", &bytes);
                        if let Ok(output) = &mut output
                            && let Some(reason) = &mut output.finish_reason
                        {
                            if generation.stopped() {
                                // The traits require this reason for a stopped request, whatever reason the engine
                                // gave.
                                *reason = FinishReason::Cancelled;
                            } else if open_choices > 1 {
                                open_choices -= 1;
                                output.finish_reason = None;
                            }
                        }
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

    async fn setup_metrics(&self, context: MetricsCtx<'_>) -> Result<MetricsBindings, DynamoError> {
        self.metrics(context).await
    }

    async fn supported_controls(&self) -> Result<Vec<String>, DynamoError> {
        Ok(self.traits.controls.clone())
    }

    fn validate_engine_control(&self, control: &str, body: &Value) -> Result<(), DynamoError> {
        self.validate(control, body)
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

/// The same engine for models whose requests and answers the frontend forwards unchanged (images, videos, audios).
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
        let mut generation = match self.0.generation(pack(&request)?, &context) {
            Ok(generation) => generation,
            Err(failure) => return refused(&failure),
        };
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

    async fn setup_metrics(&self, context: MetricsCtx<'_>) -> Result<MetricsBindings, DynamoError> {
        self.0.metrics(context).await
    }
}
