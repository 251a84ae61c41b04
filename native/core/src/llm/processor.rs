//! Chat processors in the host language. A processor is between the HTTP server and the routed workers of a model, in
//! place of the crates' template, tokenizer and detokenizer.
//!
//! Requests in the inbox: `model` with `{model, name, instance, card}` when a model is found, `chat` with `{model,
//! call, request}` for each client request, `gone` with the number of a model that has left.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use anyhow::Error;
use async_trait::async_trait;
use bytes::Bytes;
use dynamo_llm::entrypoint::{ChatEngineFactoryCallback, PrefillRoutedEngine};
use dynamo_llm::model_card::ModelDeploymentCard;
use dynamo_llm::protocols::common::llm_backend::LLMEngineOutput;
use dynamo_llm::protocols::common::metrics::LLMMetricAnnotation;
use dynamo_llm::protocols::common::preprocessor::PreprocessedRequest;
use dynamo_llm::types::openai::chat_completions::{
    NvCreateChatCompletionRequest, NvCreateChatCompletionStreamResponse, OpenAIChatCompletionsStreamingEngine,
};
use dynamo_runtime::discovery::ModelCardInstanceId;
use dynamo_runtime::engine::{AsyncEngine, AsyncEngineContext, AsyncEngineContextProvider, ResponseStream};
use dynamo_runtime::pipeline::{Context, ManyOut, SingleIn};
use dynamo_runtime::protocols::annotated::Annotated;
use dynamo_runtime::protocols::maybe_error::MaybeError;
use futures::StreamExt;
use parking_lot::Mutex;
use serde::Serialize;

use crate::abi::{Call, Failure, Handle, Reply, dyn_call, dyn_reply, reply};
use crate::inbox::{Inbox, Request};
use crate::sink::{HIGH_WATER_BYTES, Sent};
use crate::stream::{Cancel, Item, Items, PullStream};
use crate::trace;

type Chunk = NvCreateChatCompletionStreamResponse;

/// A model that the host processes. `engine` sends a request to its workers, with routing and migration.
struct Model {
    engine: PrefillRoutedEngine,
    name: String,
    card_sum: String,
}

/// A client's request in flight.
struct Chat {
    context: Arc<dyn AsyncEngineContext>,
    metadata: BTreeMap<String, String>,
    counts: Counts,
}

/// Token counts of a request, for the metrics of the frontend.
#[derive(Default)]
struct Counts {
    input: AtomicUsize,
    output: AtomicUsize,
    cached: AtomicUsize,
    /// The part of `output` that chunks have reported.
    reported: AtomicUsize,
}

impl Counts {
    fn of_chunk(&self) -> LLMMetricAnnotation {
        let output = self.output.load(Relaxed);
        let before = self.reported.swap(output, Relaxed);
        let cached = self.cached.load(Relaxed);
        LLMMetricAnnotation {
            input_tokens: self.input.load(Relaxed),
            output_tokens: output,
            chunk_tokens: output.saturating_sub(before),
            cached_tokens: (cached > 0).then_some(cached),
            ..LLMMetricAnnotation::default()
        }
    }

    fn saw(&self, output: &LLMEngineOutput) {
        self.output.fetch_add(output.token_ids.len(), Relaxed);
        let details = output.completion_usage.as_ref().and_then(|usage| usage.prompt_tokens_details.as_ref());
        if let Some(cached) = details.and_then(|details| details.cached_tokens) {
            self.cached.store(cached as usize, Relaxed);
        }
    }
}

/// The processors of one frontend.
pub struct Processors {
    pub inbox: Arc<Inbox>,
    models: Mutex<HashMap<u64, Arc<Model>>>,
    chats: Mutex<HashMap<u64, Arc<Chat>>>,
    last: AtomicU64,
}

impl Processors {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            inbox: Inbox::new(HIGH_WATER_BYTES),
            models: Mutex::default(),
            chats: Mutex::default(),
            last: AtomicU64::new(0),
        })
    }

    fn number(&self) -> u64 {
        self.last.fetch_add(1, Relaxed) + 1
    }

    pub fn factory(self: &Arc<Self>) -> ChatEngineFactoryCallback {
        let processors = Arc::clone(self);
        Arc::new(move |instance, card, engine| Box::pin(processors.clone().add(instance, card, engine)))
    }

    async fn add(
        self: Arc<Self>,
        instance: ModelCardInstanceId,
        card: ModelDeploymentCard,
        engine: PrefillRoutedEngine,
    ) -> anyhow::Result<OpenAIChatCompletionsStreamingEngine> {
        #[derive(Serialize)]
        struct Found<'a> {
            model: u64,
            name: &'a str,
            instance: &'a ModelCardInstanceId,
            card: &'a ModelDeploymentCard,
        }
        let number = self.number();
        let found = Found { model: number, name: card.name(), instance: &instance, card: &card };
        let payload = rmp_serde::to_vec_named(&found)?;
        let model = Model { engine, name: card.name().to_string(), card_sum: card.mdcsum().to_string() };
        self.models.lock().insert(number, Arc::new(model));
        // Dropping it removes the model.
        let host = HostChat { number, processors: Arc::clone(&self) };
        self.inbox.call(Request::new("model", payload)).await?;
        Ok(Arc::new(host))
    }

    fn forget(self: &Arc<Self>, number: u64) {
        self.models.lock().remove(&number);
        let Ok(runtime) = crate::process::handle() else { return };
        let inbox = Arc::clone(&self.inbox);
        runtime.spawn(async move {
            let payload = rmp_serde::to_vec_named(&number).unwrap_or_default();
            // A closed inbox needs no notification.
            let _ = inbox.call(Request::new("gone", payload)).await;
        });
    }
}

/// The chat engine that the frontend uses for a model with a processor.
struct HostChat {
    number: u64,
    processors: Arc<Processors>,
}

impl Drop for HostChat {
    fn drop(&mut self) {
        self.processors.forget(self.number);
    }
}

/// Removes a chat from the table when its stream is dropped.
struct Open {
    call: u64,
    chat: Arc<Chat>,
    processors: Arc<Processors>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.processors.chats.lock().remove(&self.call);
    }
}

impl Open {
    fn chunk(&self, sent: Sent) -> Option<Annotated<Chunk>> {
        let read = |bytes: &Bytes| -> Result<Annotated<Chunk>, rmp_serde::decode::Error> {
            let mut chunk: Chunk = rmp_serde::from_slice(bytes)?;
            chunk.llm_metrics = Some(self.chat.counts.of_chunk());
            Ok(Annotated::from_data(chunk))
        };
        let chunk = match sent {
            Sent::Data(framed) => read(&framed.item()),
            Sent::Annotated(framed) => rmp_serde::from_slice(&framed.item()),
            Sent::Failed(failure) => return Some(failed(failure)),
            Sent::Ended => return None,
        };
        Some(chunk.unwrap_or_else(|error| {
            failed(Failure::new("BackendProtocol", "backend.protocol", format!("processor.process item: {error}")))
        }))
    }
}

fn failed(failure: Failure) -> Annotated<Chunk> {
    Annotated { data: None, id: None, event: Some("error".into()), comment: None, error: Some(failure.to_dynamo()) }
}

#[async_trait]
impl AsyncEngine<SingleIn<NvCreateChatCompletionRequest>, ManyOut<Annotated<Chunk>>, Error> for HostChat {
    async fn generate(
        &self,
        request: SingleIn<NvCreateChatCompletionRequest>,
    ) -> Result<ManyOut<Annotated<Chunk>>, Error> {
        #[derive(Serialize)]
        struct ChatRequest<'a> {
            model: u64,
            call: u64,
            request: &'a NvCreateChatCompletionRequest,
        }
        let (chat_request, context) = request.transfer(());
        let engine_context = context.context();
        let call = self.processors.number();
        let payload = rmp_serde::to_vec_named(&ChatRequest { model: self.number, call, request: &chat_request })?;
        let mut metadata = context.metadata().clone();
        // The span of the client's request is current here. The requests that the host derives from it are sent outside
        // of the span.
        trace::add_received(&mut metadata);
        let chat =
            Arc::new(Chat { context: engine_context.clone(), metadata: metadata.clone(), counts: Counts::default() });
        self.processors.chats.lock().insert(call, chat.clone());
        let open = Open { call, chat, processors: Arc::clone(&self.processors) };
        let request = Request { context: Some(engine_context.clone()), metadata, ..Request::new("chat", payload) };
        let answer = self.processors.inbox.send(request).map_err(|failure| failure.to_dynamo())?;
        let chunks = answer.filter_map(move |sent| std::future::ready(open.chunk(sent)));
        Ok(ResponseStream::new(Box::pin(chunks), engine_context))
    }
}

fn outputs(stream: ManyOut<Annotated<LLMEngineOutput>>, chat: Arc<Chat>) -> Items {
    Box::pin(stream.filter_map(move |item| {
        std::future::ready(match (item.err(), &item.data) {
            (Some(error), _) => Some(Err(Failure::from(&error))),
            (None, Some(output)) => {
                chat.counts.saw(output);
                Some(rmp_serde::to_vec_named(output).map(|bytes| Item::Data(bytes.into())).map_err(Failure::internal))
            }
            (None, None) => None,
        })
    }))
}

/// Sends a processed request to the workers of a model, as a child of the client's request. `a`: the number of the
/// model. `b`: the number of the chat call. The payload is a `PreprocessedRequest` in the crates' field names. Returns
/// a `PullStream` of outputs.
/// Takes: handle processors, payload bytes, a model, b request. Returns: handle stream.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_processor_generate(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let processors = call.handle::<Processors>()?;
        let model = processors.models.lock().get(&call.a()).cloned().ok_or_else(|| Failure::closed("the model"))?;
        let chat = processors.chats.lock().get(&call.b()).cloned().ok_or_else(|| Failure::closed("the request"))?;
        let mut request: PreprocessedRequest =
            rmp_serde::from_slice(call.payload()).map_err(|error| Failure::invalid(format!("request: {error}")))?;
        if request.model.is_empty() {
            request.model = model.name.clone();
        }
        request.mdc_sum.get_or_insert_with(|| model.card_sum.clone());
        chat.counts.input.store(request.token_ids.len(), Relaxed);
        let span = trace::outgoing_span(&chat.metadata);
        let request = Context::with_id_and_metadata(request, chat.context.id().to_string(), chat.metadata.clone());
        let context = request.context();
        chat.context.link_child(context.clone());
        let opening = async move {
            let stream = model.engine.generate(request).await.map_err(Failure::dispatch)?;
            Ok(outputs(stream, chat))
        };
        Ok(Reply::handle(Handle::new(PullStream::opening(opening, Cancel::new(context), span, false))))
    })
}
