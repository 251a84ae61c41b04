use std::sync::Arc;
use std::time::Duration;

use anyhow::Error;
use bytes::Bytes;
use dynamo_runtime::component::StartedEndpoint;
use dynamo_runtime::engine::{
    AsyncEngine, AsyncEngineContext, AsyncEngineContextProvider, DataStream, ResponseStream, async_trait,
};
use dynamo_runtime::error::DynamoError;
use dynamo_runtime::local_endpoint_registry::LocalAsyncEngine;
use dynamo_runtime::pipeline::network::{
    EncodedResponseFrame, Ingress, IngressRequestDecoder, IngressResponseEncoder, NetworkStreamWrapper,
    PushWorkHandler, RequestPlanePayloadCodec, ResponsePlaneMode,
};
use dynamo_runtime::pipeline::{Context, ManyIn, ManyOut, PipelineError, SingleIn};
use dynamo_runtime::protocols::annotated::Annotated;
use futures::StreamExt;
use parking_lot::Mutex;
use serde::{Deserialize, Deserializer, Serialize};

use super::caller_check::{CallerChecked, SILENCE};
use super::discovery::InstanceInfo;
use super::spare_files::{Persistent, request_was_read};
use super::{EndpointRef, Runtime};
use crate::abi::{Call, Failure, Handle, Reply, dyn_call, op};
use crate::framed::Framed;
use crate::inbox::{Inbox, QueueLimits, Request};
use crate::packed::Packed;
use crate::sink::{HIGH_WATER_BYTES, Sent};
use crate::stream::{Item, PullStream};

/// One item of a response before its encoding for the wire.
#[derive(Debug)]
pub enum Outgoing {
    Data(Framed),
    Annotated(Framed),
    Failed(DynamoError),
    /// An empty frame. The caller skips it.
    Empty,
}

/// A request, or why it cannot be read. If a decoder fails, the crates drop the request, and its caller waits forever.
#[derive(Debug)]
struct Incoming(Result<Packed, Failure>);

impl<'de> Deserialize<'de> for Incoming {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Packed::deserialize(deserializer).map(|packed| Self(Ok(packed)))
    }
}

/// Requests reach the handler as the received bytes, and its items are sent as they are. The payload is only transcoded
/// if the caller's codec is JSON.
struct RawPayload;

impl IngressRequestDecoder<Incoming> for RawPayload {
    async fn decode_request(&self, codec: RequestPlanePayloadCodec, bytes: Bytes) -> Result<Incoming, PipelineError> {
        Ok(Incoming(match codec {
            RequestPlanePayloadCodec::Msgpack => Ok(Packed(bytes)),
            RequestPlanePayloadCodec::Json => codec
                .decode(&bytes)
                .map_err(|error| Failure::refused(format!("the request is not JSON that a worker reads: {error}"))),
        }))
    }
}

impl IngressResponseEncoder<Outgoing> for RawPayload {
    async fn encode_response(
        &self,
        codec: RequestPlanePayloadCodec,
        response: Option<Outgoing>,
        complete_final: bool,
    ) -> Result<EncodedResponseFrame, PipelineError> {
        let stop_stream = matches!(response, Some(Outgoing::Failed(_)));
        // An empty frame is no sign of health. Marked as an error it does not reset the canary of the health check.
        let is_error = stop_stream || matches!(response, Some(Outgoing::Empty));
        let bytes = match (&response, codec) {
            (Some(Outgoing::Empty), _) => Bytes::new(),
            (Some(Outgoing::Data(framed) | Outgoing::Annotated(framed)), RequestPlanePayloadCodec::Msgpack) => {
                framed.frame()
            }
            _ => {
                let data = response.map(Outgoing::annotated).transpose()?;
                codec
                    .encode(&NetworkStreamWrapper { data, complete_final })
                    .map_err(|error| PipelineError::SerializationError(error.to_string()))?
                    .into()
            }
        };
        Ok(EncodedResponseFrame { bytes, is_error, stop_stream })
    }
}

impl Outgoing {
    fn annotated(self) -> Result<Annotated<Packed>, PipelineError> {
        Ok(match self {
            Outgoing::Empty => Annotated { data: None, id: None, event: None, comment: None, error: None },
            Outgoing::Data(framed) => Annotated::from_data(Packed(framed.item())),
            Outgoing::Annotated(framed) => rmp_serde::from_slice(&framed.item())
                .map_err(|error| PipelineError::SerializationError(error.to_string()))?,
            Outgoing::Failed(error) => Annotated {
                data: None,
                id: None,
                event: Some("error".into()),
                comment: Some(vec![error.to_string()]),
                error: Some(error),
            },
        })
    }
}

/// The engine of a served endpoint. It sends each request to the handler's inbox and returns the answer to the caller.
struct Handler {
    inbox: Arc<Inbox>,
    /// How long an answer to a caller may be silent until the caller is checked.
    silence: Option<Duration>,
}

impl Handler {
    fn answer<T: Send + Sync + 'static>(
        &self,
        context: &Context<T>,
        request: Request,
        silence: Option<Duration>,
    ) -> Result<ManyOut<Outgoing>, Error> {
        let engine_context = context.context();
        let request =
            Request { context: Some(engine_context.clone()), metadata: context.metadata().clone(), ..request };
        let answer = match self.inbox.send(request) {
            Ok(answer) => answer,
            Err(failure) if failure.is_refusal() => return Ok(refusal(engine_context, &failure)),
            Err(failure) => return Err(failure.to_dynamo().into()),
        };
        let items = answer.filter_map(|sent| {
            std::future::ready(match sent {
                Sent::Data(framed) => Some(Outgoing::Data(framed)),
                Sent::Annotated(framed) => Some(Outgoing::Annotated(framed)),
                Sent::Failed(failure) => Some(Outgoing::Failed(failure.to_dynamo())),
                Sent::Ended => None,
            })
        });
        let items: DataStream<Outgoing> = match silence {
            Some(silence) => Box::pin(CallerChecked::new(items, silence, || Outgoing::Empty)),
            None => Box::pin(items),
        };
        Ok(ResponseStream::new(items, engine_context))
    }
}

/// An answer that consists of a failure. The crates report a failure before the answer as one of the instance, without
/// its class.
fn refusal(context: Arc<dyn AsyncEngineContext>, failure: &Failure) -> ManyOut<Outgoing> {
    let refused = futures::stream::once(std::future::ready(Outgoing::Failed(failure.to_dynamo())));
    ResponseStream::new(Box::pin(refused), context)
}

#[async_trait]
impl AsyncEngine<SingleIn<Incoming>, ManyOut<Outgoing>, Error> for Handler {
    async fn generate(&self, request: SingleIn<Incoming>) -> Result<ManyOut<Outgoing>, Error> {
        request_was_read();
        let (incoming, context) = request.transfer(());
        match incoming.0 {
            Ok(payload) => self.answer(&context, Request::new("request", payload.0), self.silence),
            Err(failure) => Ok(refusal(context.context(), &failure)),
        }
    }
}

#[async_trait]
impl AsyncEngine<ManyIn<Incoming>, ManyOut<Outgoing>, Error> for Handler {
    async fn generate(&self, request: ManyIn<Incoming>) -> Result<ManyOut<Outgoing>, Error> {
        request_was_read();
        let (input, context) = request.transfer(());
        let input = input.take().ok_or_else(|| Error::msg("the request stream was taken already"))?;
        // If the caller left before it finished the request, the end of the stream is a failure. A kill may first
        // arrive as a stop.
        let engine_context = context.context();
        let cut = futures::stream::once(async move { engine_context.is_stopped() }).filter_map(|left| {
            std::future::ready(
                left.then(|| Err(Failure::cancelled("the caller disconnected before it had sent the whole request"))),
            )
        });
        let input = PullStream::new(Box::pin(input.map(|item| Ok(Item::Data(item.0?.0))).chain(cut)));
        let request = Request { input: Some(input), ..Request::new("request", Bytes::new()) };
        self.answer(&context, request, self.silence)
    }
}

/// Refuses every request, because its process has no free file descriptor.
struct FullOfFiles;

impl FullOfFiles {
    fn answer(context: Arc<dyn AsyncEngineContext>) -> ManyOut<Outgoing> {
        let message = "the worker has no free file descriptor for the request: its limit of open files is reached";
        refusal(context, &Failure::new("CapacityExhausted", "capacity.worker_overloaded", message))
    }
}

#[async_trait]
impl AsyncEngine<SingleIn<Incoming>, ManyOut<Outgoing>, Error> for FullOfFiles {
    async fn generate(&self, request: SingleIn<Incoming>) -> Result<ManyOut<Outgoing>, Error> {
        Ok(Self::answer(request.context()))
    }
}

#[async_trait]
impl AsyncEngine<ManyIn<Incoming>, ManyOut<Outgoing>, Error> for FullOfFiles {
    async fn generate(&self, request: ManyIn<Incoming>) -> Result<ManyOut<Outgoing>, Error> {
        Ok(Self::answer(request.context()))
    }
}

/// Entry point of the health check, which uses JSON values, to the same handler.
#[async_trait]
impl AsyncEngine<SingleIn<serde_json::Value>, ManyOut<Annotated<serde_json::Value>>, Error> for Handler {
    async fn generate(
        &self,
        request: SingleIn<serde_json::Value>,
    ) -> Result<ManyOut<Annotated<serde_json::Value>>, Error> {
        let (value, context) = request.transfer(());
        let stream = self.answer(&context, Request::new("request", rmp_serde::to_vec_named(&value)?), None)?;
        let engine_context = stream.context();
        let items = stream.map(|item| {
            let failed = |error: String| Annotated::from_error(error);
            match item.annotated() {
                Ok(annotated) => annotated.map_data(|data| {
                    rmp_serde::from_slice::<serde_json::Value>(&data.0).map_err(|error| error.to_string())
                }),
                Err(error) => failed(error.to_string()),
            }
        });
        Ok(ResponseStream::new(Box::pin(items), engine_context))
    }
}

pub struct Served {
    started: Mutex<Option<StartedEndpoint>>,
    inbox: Arc<Inbox>,
    name: String,
    runtime: Arc<Runtime>,
}

impl Served {
    async fn close(&self) -> Result<(), Failure> {
        let started = self.started.lock().take();
        if let Some(started) = started {
            let result = started.shutdown().await;
            self.inbox.close();
            self.runtime.served.lock().remove(&self.name);
            result?;
        }
        Ok(())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.inbox.close();
        self.runtime.served.lock().remove(&self.name);
        if let (Some(started), Ok(runtime)) = (self.started.lock().take(), crate::process::handle()) {
            runtime.spawn(started.shutdown());
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServeArgs {
    #[serde(default)]
    metrics_labels: Vec<(String, String)>,
    graceful_shutdown: Option<bool>,
    health_check: Option<serde_json::Value>,
    #[serde(default)]
    bidirectional: bool,
    high_water_bytes: Option<usize>,
    max_queued: Option<u64>,
    max_queued_bytes: Option<u64>,
}

#[derive(Serialize)]
struct ServedInfo {
    instance: InstanceInfo,
}

/// Serves an `EndpointRef`. Completes when its instance can be called, with a `Served` and its `Inbox`.
/// Takes: handle endpoint, args bytes. Returns: bytes, handle served, handle inbox.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_endpoint_serve(call: &dyn_call) {
    op(call, |call: &Call| {
        let this = call.handle::<EndpointRef>()?;
        let args = call.args::<ServeArgs>()?;
        Ok(serve(this, args))
    })
}

async fn serve(this: Arc<EndpointRef>, args: ServeArgs) -> Result<Reply, Failure> {
    let name = this.endpoint.name().to_string();
    if !this.runtime.served.lock().insert(name.clone()) {
        return Err(Failure::conflict(format!(
            "endpoint {}: this runtime already serves an endpoint named {name}; the names must differ",
            this.endpoint.id(),
        )));
    }
    let started = start(&this, args).await;
    if started.is_err() {
        this.runtime.served.lock().remove(&name);
    }
    let (started, inbox) = started?;
    let bytes =
        rmp_serde::to_vec_named(&ServedInfo { instance: started.instance().into() }).map_err(Failure::internal)?;
    let served = Arc::new(Served {
        started: Mutex::new(Some(started)),
        inbox: inbox.clone(),
        name,
        runtime: this.runtime.clone(),
    });
    Ok(Reply::with_handles(bytes, vec![Handle::new(served), Handle::new(inbox)]))
}

async fn start(this: &EndpointRef, args: ServeArgs) -> Result<(StartedEndpoint, Arc<Inbox>), Failure> {
    let limits = QueueLimits::new(args.max_queued, args.max_queued_bytes);
    let refused = this.refused_requests()?;
    let inbox = Inbox::limited(args.high_water_bytes.unwrap_or(HIGH_WATER_BYTES), limits, refused);
    // QUIC finds a caller that has left by itself.
    let silence = (this.runtime.drt.response_plane() == ResponsePlaneMode::Tcp).then_some(SILENCE);
    let engine = Arc::new(Handler { inbox: inbox.clone(), silence });
    let [handler, refusal]: [Arc<dyn PushWorkHandler>; 2] = if args.bidirectional {
        type Calls = Ingress<ManyIn<Incoming>, ManyOut<Outgoing>, RawPayload>;
        [
            Calls::for_engine_with_adapter(engine.clone(), RawPayload)?,
            Calls::for_engine_with_adapter(Arc::new(FullOfFiles), RawPayload)?,
        ]
    } else {
        type Calls = Ingress<SingleIn<Incoming>, ManyOut<Outgoing>, RawPayload>;
        [
            Calls::for_engine_with_adapter(engine.clone(), RawPayload)?,
            Calls::for_engine_with_adapter(Arc::new(FullOfFiles), RawPayload)?,
        ]
    };
    let handler = Persistent::new(handler, refusal, args.bidirectional).await;
    crate::sockets::start_request_plane(&this.runtime.drt).await?;
    let mut builder =
        this.endpoint.endpoint_builder().handler(handler).graceful_shutdown(args.graceful_shutdown.unwrap_or(true));
    if !args.metrics_labels.is_empty() {
        builder = builder.metrics_labels(Some(args.metrics_labels));
    }
    if let Some(payload) = args.health_check {
        let local: LocalAsyncEngine = engine;
        builder = builder.health_check_payload(payload).register_local_engine(local)?;
    }
    Ok((builder.start_with_registration().await?, inbox))
}

/// Leaves discovery, waits for the requests in flight, then closes the inbox. Idempotent.
/// Takes: handle served. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_served_close(call: &dyn_call) {
    op(call, |call: &Call| {
        let served = call.handle::<Served>()?;
        Ok(async move {
            served.close().await?;
            Ok(Reply::unit())
        })
    })
}

#[cfg(test)]
mod tests;
