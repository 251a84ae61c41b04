//! The caller's end of the response plane. Requests that are streams themselves go to the crates' own dispatch.
//! Source of the rules: dynamo-runtime `pipeline/network/egress/addressed_router.rs`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use anyhow::{Error, Result};
use bytes::Bytes;
use dynamo_runtime::component::{Client, Endpoint, Instance};
use dynamo_runtime::discovery::EndpointInstanceId;
use dynamo_runtime::engine::{AsyncEngineContext, AsyncEngineContextProvider, ResponseStream, async_trait};
use dynamo_runtime::error::{DynamoError, ErrorClass, ErrorType};
use dynamo_runtime::logging::inject_trace_headers_into_map;
use dynamo_runtime::metrics::request_plane::{REQUEST_PLANE_QUEUE_SECONDS, REQUEST_PLANE_SEND_SECONDS};
use dynamo_runtime::pipeline::network::egress::unified_client::RequestPlaneClient;
use dynamo_runtime::pipeline::network::{RequestPlanePayloadCodec, ResponseStreamPrologue};
use dynamo_runtime::pipeline::{AddressedPushRouter, AddressedRequest, ManyIn, ManyOut, SingleIn, StreamingDispatch};
use dynamo_runtime::protocols::annotated::Annotated;
use dynamo_runtime::traits::DistributedRuntimeProvider;
use tokio_util::sync::CancellationToken;

use super::clock::since_epoch_ns;
use super::envelope::{self, ACCEPTED};
use super::frames::Frame;
use super::home::{Arrived, Removed, Slot, Target, address_on, instance_added, instance_removed};
use super::msgpack::is_plain;
use super::reader::Reader;
use super::response::{InFlight, Response};
use crate::packed::Packed;

type Item = Annotated<Packed>;
type Crates = dyn StreamingDispatch<Packed, Item>;

pub struct Dispatch {
    runtime: u64,
    address: String,
    requests: Arc<dyn RequestPlaneClient>,
    crates: Arc<Crates>,
}

impl Dispatch {
    pub async fn new(endpoint: &Endpoint) -> Result<Arc<Self>> {
        let crates = AddressedPushRouter::from_runtime_provider(endpoint).await?;
        // The crates' server has resolved the host of this process.
        let host: SocketAddr = endpoint.drt().tcp_server().await?.local_address()?;
        let address = address_on(host.ip())?.to_string();
        let runtime = endpoint.drt().connection_id();
        Ok(Arc::new(Self { runtime, address, requests: endpoint.drt().network_manager().create_client()?, crates }))
    }

    fn target(&self, instance: EndpointInstanceId) -> Target {
        Target { runtime: self.runtime, instance }
    }
}

fn failed(kind: ErrorType, message: impl Into<String>) -> Error {
    DynamoError::builder().error_type(kind).message(message).build().into()
}

fn disconnected() -> Error {
    failed(ErrorType::Disconnected, "Worker disconnected before response stream was established")
}

/// What a worker acknowledges a request with that it refuses. Any other acknowledgement is good.
const REFUSALS: [(&[u8], ErrorType); 2] =
    [(b"Server overloaded:", ErrorType::WorkerOverloaded), (b"Server unavailable:", ErrorType::WorkerUnavailable)];

fn check_acknowledgement(said: &[u8]) -> Result<()> {
    match REFUSALS.iter().find(|(start, _)| said.starts_with(start)) {
        Some((_, kind)) => Err(failed(*kind, String::from_utf8_lossy(said))),
        None => Ok(()),
    }
}

/// The bytes of a request. A value that every peer reads goes as it is.
fn encoded(codec: RequestPlanePayloadCodec, value: &Packed) -> Result<Cow<'_, [u8]>> {
    if codec == RequestPlanePayloadCodec::Msgpack && is_plain(&value.0) {
        return Ok(Cow::Borrowed(&value.0));
    }
    codec.encode(value).map(Cow::Owned)
}

fn headers(request_id: &str) -> HashMap<String, String> {
    let mut headers = HashMap::with_capacity(4);
    inject_trace_headers_into_map(&mut headers);
    headers.insert("request-id".into(), request_id.into());
    headers.insert("x-frontend-send-ts-ns".into(), since_epoch_ns().to_string());
    headers
}

impl Dispatch {
    /// Sends the request and waits for its worker. The worker's connection may precede its acknowledgement, which
    /// is needless then.
    async fn send(&self, address: String, request: Bytes, request_id: &str, slot: &Slot) -> Result<Arrived> {
        let sent = Instant::now();
        let sending = self.requests.send_request(address, request, headers(request_id));
        let arrival = slot.arrival();
        tokio::pin!(sending, arrival);
        let arrived = tokio::select! {
            biased;
            arrived = &mut arrival => {
                REQUEST_PLANE_SEND_SECONDS.observe(sent.elapsed().as_secs_f64());
                arrived
            }
            said = &mut sending => {
                let said = said?;
                REQUEST_PLANE_SEND_SECONDS.observe(sent.elapsed().as_secs_f64());
                check_acknowledgement(&said).inspect_err(|error| {
                    tracing::warn!(request_id, worker_response = %error, "Request rejected by worker");
                })?;
                arrival.await
            }
        };
        arrived.map_err(|Removed| disconnected())
    }
}

/// Waits for the worker's first message. Returns false if the request was cancelled before.
async fn is_accepted(reader: &mut Reader, slot: &Slot, context: &dyn AsyncEngineContext) -> Result<bool> {
    let link = reader.link().clone();
    let first = poll_fn(|cx| {
        let message = reader.poll_frame(cx);
        if link.is_cancelled() {
            return Poll::Ready(Ok(None));
        }
        if let Poll::Ready(Removed) = slot.poll_removed(cx) {
            return Poll::Ready(Err(disconnected()));
        }
        message.map(Ok)
    })
    .await;
    if link.is_cancelled() || context.is_stopped() {
        reader.leave();
        return Ok(false);
    }
    let message = first?.ok_or_else(disconnected)?;
    refusal_in(&message).inspect(|_| reader.leave()).map_or(Ok(true), Err)
}

/// The error of a first message that does not say that the handler has begun.
fn refusal_in(Frame { header, data }: &Frame) -> Option<Error> {
    if header.is_empty() || !data.is_empty() {
        return Some(refused("malformed prologue: expected HeaderOnly ControlMessage", None));
    }
    if header == ACCEPTED {
        return None;
    }
    // The fields of the type are private. Its tolerance for other versions is needed.
    let read = serde_json::from_slice::<ResponseStreamPrologue>(header).and_then(serde_json::to_value);
    match read {
        Ok(mut prologue) => {
            let typed = serde_json::from_value(prologue["typed_error"].take()).ok();
            prologue["error"].as_str().map(|message| refused(message, typed))
        }
        Err(error) => Some(refused(&format!("malformed prologue: {error}"), None)),
    }
}

/// Errors with these reasons would change how the request is migrated. As in the crates.
const MIGRATION_REASONS: [&str; 5] = [
    "request.cancelled",
    "request.deadline_exceeded",
    "backend.cancelled",
    "capacity.exhausted",
    "capacity.pool_exhausted",
];

/// The error of a worker that has failed a request before its response. As in the crates.
fn refused(message: &str, typed: Option<DynamoError>) -> Error {
    let typed = typed.filter(|error| {
        let mut link: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(one) = link {
            let reason = one.downcast_ref::<DynamoError>().map(DynamoError::reason);
            if reason.is_some_and(|reason| MIGRATION_REASONS.contains(&reason.as_str())) {
                return false;
            }
            link = one.source();
        }
        true
    });
    let error = DynamoError::builder()
        .error_type(ErrorType::CannotConnect)
        .message(format!("Worker generate() failed before response stream: {message}"));
    match typed {
        Some(typed) if typed.class() == ErrorClass::InvalidRequest => typed.into(),
        Some(typed) => error.cause(typed).build().into(),
        None => error.build().into(),
    }
}

#[async_trait]
impl StreamingDispatch<Packed, Item> for Dispatch {
    async fn generate(&self, request: SingleIn<AddressedRequest<Packed>>) -> Result<ManyOut<Item>> {
        let (addressed, context) = request.into_parts();
        let (value, address, instance) = addressed.into_parts();
        let (engine_context, began, in_flight) = (context.context(), Instant::now(), InFlight::begin());
        let codec = instance.as_ref().and_then(|one| one.request_plane_codec).unwrap_or(RequestPlanePayloadCodec::Json);
        let target = instance.as_ref().map(|one| self.target(one.endpoint_instance_id()));
        let slot = Slot::new(target).map_err(|Removed| {
            let message = "Worker removed before request could be sent (tombstoned instance)";
            failed(ErrorType::Disconnected, message)
        })?;
        let id = context.id();
        let payload = encoded(codec, &value)?;
        let request = envelope::request(id, context.metadata(), codec, &self.address, &slot.subject, &payload)?;
        drop(payload);
        drop(value);
        REQUEST_PLANE_QUEUE_SECONDS.observe(began.elapsed().as_secs_f64());
        let sent = Instant::now();
        let arrived = self.send(address, request, id, &slot).await?;
        let mut reader = Reader::new(arrived, &*engine_context);
        if !is_accepted(&mut reader, &slot, &*engine_context).await? {
            return Ok(ResponseStream::new(Box::pin(futures::stream::empty()), engine_context));
        }
        drop(slot);
        let response = Response::new(reader, codec, engine_context.clone(), (began, sent), in_flight);
        Ok(ResponseStream::new(Box::pin(response), engine_context))
    }

    async fn generate_bidirectional(
        &self,
        instance: Instance,
        address: String,
        input: ManyIn<Packed>,
    ) -> Result<ManyOut<Item>> {
        self.crates.generate_bidirectional(instance, address, input).await
    }

    async fn on_instance_removed(&self, id: &EndpointInstanceId) {
        self.crates.on_instance_removed(id).await;
        let count = instance_removed(&self.target(id.clone()));
        if count > 0 {
            let EndpointInstanceId { namespace, component, endpoint, instance_id } = id;
            tracing::warn!(
                namespace,
                component,
                endpoint,
                instance_id,
                cancelled = count,
                "Cancelled stream registrations for removed instance (discovery-driven cleanup)"
            );
        }
    }

    async fn on_instance_added(&self, id: &EndpointInstanceId) {
        self.crates.on_instance_added(id).await;
        instance_added(&self.target(id.clone()));
    }
}

/// Ends the requests of instances that leave. The crates notify one dispatch of an endpoint in a process of it, which
/// may be another than ours.
pub async fn watch_instances(client: Client, end: CancellationToken) {
    let mut source = (*client.instance_source).clone();
    let runtime = client.endpoint.drt().connection_id();
    let target = |one: &Instance| Target { runtime, instance: one.endpoint_instance_id() };
    let mut known: Vec<Target> = Vec::new();
    drop(client);
    loop {
        let now: Vec<_> = source.borrow_and_update().iter().map(target).collect();
        for left in known.iter().filter(|id| !now.contains(id)) {
            instance_removed(left);
        }
        for new in now.iter().filter(|id| !known.contains(id)) {
            instance_added(new);
        }
        known = now;
        tokio::select! {
            () = end.cancelled() => return,
            changed = source.changed() => if changed.is_err() { return },
        }
    }
}

#[cfg(test)]
mod tests;
