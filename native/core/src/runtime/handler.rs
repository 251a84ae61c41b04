//! What a served endpoint does with a request, on either data plane.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Error;
use bytes::Bytes;
use dynamo_runtime::engine::{
    AsyncEngine, AsyncEngineContext, AsyncEngineContextProvider, DataStream, ResponseStream, async_trait,
};
use dynamo_runtime::error::DynamoError;
use dynamo_runtime::pipeline::network::{
    EncodedResponseFrame, IngressRequestDecoder, IngressResponseEncoder, NetworkStreamWrapper, RequestPlanePayloadCodec,
};
use dynamo_runtime::pipeline::{Context, ManyIn, ManyOut, PipelineError, SingleIn};
use dynamo_runtime::protocols::annotated::Annotated;
use futures::StreamExt;
use serde::{Deserialize, Deserializer};

use super::caller_check::CallerChecked;
use super::spare_files::request_was_read;
use crate::abi::Failure;
use crate::framed::Framed;
use crate::inbox::{Inbox, Request};
use crate::packed::Packed;
use crate::sink::Sent;
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
pub struct Incoming(Result<Packed, Failure>);

impl<'de> Deserialize<'de> for Incoming {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Packed::deserialize(deserializer).map(|packed| Self(Ok(packed)))
    }
}

/// Requests reach the handler as the received bytes, and its items are sent as they are. The payload is only transcoded
/// if the caller's codec is JSON.
pub struct RawPayload;

impl Incoming {
    fn decode(codec: RequestPlanePayloadCodec, bytes: Bytes) -> Self {
        Self(match codec {
            RequestPlanePayloadCodec::Msgpack => Ok(Packed(bytes)),
            RequestPlanePayloadCodec::Json => codec
                .decode(&bytes)
                .map_err(|error| Failure::refused(format!("the request is not JSON that a worker reads: {error}"))),
        })
    }
}

impl IngressRequestDecoder<Incoming> for RawPayload {
    async fn decode_request(&self, codec: RequestPlanePayloadCodec, bytes: Bytes) -> Result<Incoming, PipelineError> {
        Ok(Incoming::decode(codec, bytes))
    }
}

/// The data of a response frame. Without an item it is that of the last frame.
pub fn encode_response(
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

impl IngressResponseEncoder<Outgoing> for RawPayload {
    async fn encode_response(
        &self,
        codec: RequestPlanePayloadCodec,
        response: Option<Outgoing>,
        complete_final: bool,
    ) -> Result<EncodedResponseFrame, PipelineError> {
        encode_response(codec, response, complete_final)
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
pub struct Handler {
    pub inbox: Arc<Inbox>,
    /// How long an answer to a caller may be silent until the caller is checked.
    pub silence: Option<Duration>,
}

impl Handler {
    /// Begins the answer to a request with one payload. Fails if the handler is closed.
    pub fn begin<T: Send + Sync + 'static>(
        &self,
        context: &Context<T>,
        codec: RequestPlanePayloadCodec,
        payload: Bytes,
    ) -> Result<ManyOut<Outgoing>, Error> {
        self.single(context, Incoming::decode(codec, payload))
    }

    fn single<T: Send + Sync + 'static>(
        &self,
        context: &Context<T>,
        incoming: Incoming,
    ) -> Result<ManyOut<Outgoing>, Error> {
        match incoming.0 {
            Ok(payload) => self.answer(context, Request::new("request", payload.0), self.silence),
            Err(failure) => Ok(refusal(context.context(), &failure)),
        }
    }

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
        self.single(&context, incoming)
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
pub struct FullOfFiles;

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

#[cfg(test)]
mod tests;
