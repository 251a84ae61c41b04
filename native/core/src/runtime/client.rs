use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use dynamo_runtime::component::{Client as DiscoveryClient, Endpoint};
use dynamo_runtime::engine::{AsyncEngine, AsyncEngineContextProvider};
use dynamo_runtime::pipeline::{Context, ManyIn, ManyOut, PushRouter, RequestStream, RouterMode};
use dynamo_runtime::protocols::annotated::Annotated;
use dynamo_runtime::protocols::maybe_error::MaybeError;
use futures::StreamExt;
use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::EndpointRef;
use super::discovery::InstanceInfo;
use crate::abi::{Call, Failure, Handle, Reply, dyn_call, dyn_reply, op, reply};
use crate::packed::Packed;
use crate::sink::{HIGH_WATER_BYTES, Sent, sink};
use crate::stream::{Cancel, Item, Items, PullStream};
use crate::trace;

type Router = PushRouter<Packed, Annotated<Packed>>;

/// A client of one endpoint: its view of the instances, and a router that chooses one of them.
pub struct Client {
    client: DiscoveryClient,
    router: Router,
    mode: RouterMode,
    endpoint: Arc<EndpointRef>,
    /// Ends the background tasks of the client.
    closed: CancellationToken,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

impl Client {
    pub fn open(&self) -> Result<(), Failure> {
        if self.closed.is_cancelled() { Err(Failure::closed("the client")) } else { Ok(()) }
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint.endpoint
    }

    /// Waits until `count` instances are routable for which `wanted` is true, and returns all of them. `wanted` gets
    /// the current value of `known`, which is watched too.
    pub async fn routable<T>(
        &self,
        count: usize,
        mut known: watch::Receiver<T>,
        wanted: impl Fn(&T, u64) -> bool,
    ) -> Result<Reply, Failure> {
        let mut available = self.client.instance_avail_watcher();
        loop {
            // Routing uses the view of discovery, so an instance must be in both.
            let ready: Vec<InstanceInfo> = {
                let (available, known) = (available.borrow_and_update(), known.borrow_and_update());
                let instances = self.client.instances();
                let routable = instances.iter().filter(|one| available.contains(&one.id()) && wanted(&known, one.id()));
                routable.map(InstanceInfo::from).collect()
            };
            if ready.len() >= count {
                return Reply::value(&ready);
            }
            tokio::select! {
                changed = available.changed() => changed.map_err(|_| Failure::closed("the client"))?,
                changed = known.changed() => changed.map_err(|_| Failure::closed("the client"))?,
                () = self.closed.cancelled() => return Err(Failure::closed("the client")),
            }
        }
    }
}

/// `args`: `{mode}`, a name of `RouterMode` except `kv`. Returns a `Client`.
/// Takes: handle endpoint, args bytes. Returns: handle client.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_endpoint_client(call: *const dyn_call) {
    #[derive(Deserialize)]
    struct Args {
        mode: RouterMode,
    }
    unsafe {
        op(call, |call: &Call| {
            let endpoint = call.handle::<EndpointRef>()?;
            let mode = call.args::<Args>()?.mode;
            Ok(async move {
                let closed = CancellationToken::new();
                let guard = closed.clone().drop_guard();
                let client = endpoint.endpoint.client_with_cancellation(closed.clone()).await?;
                let router = Router::from_client(client.clone(), mode).await?;
                guard.disarm();
                Ok(Reply::handle(Handle::new(Arc::new(Client { client, router, mode, endpoint, closed }))))
            })
        })
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct RequestArgs {
    id: Option<String>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    /// The instance to call, in any mode.
    instance_id: Option<u64>,
    /// The instances to call if that instance is gone.
    fallback: Option<HashSet<u64>>,
    #[serde(default)]
    fallback_any: bool,
}

impl RequestArgs {
    fn context<T: Send + Sync + 'static>(self, value: T) -> Context<T> {
        match self.id {
            Some(id) => Context::with_id_and_metadata(value, id, self.metadata),
            None => {
                let mut context = Context::new(value);
                context.set_metadata(self.metadata);
                context
            }
        }
    }
}

fn request_args(call: &Call) -> Result<RequestArgs, Failure> {
    if call.has_args() { call.args() } else { Ok(RequestArgs::default()) }
}

fn items(stream: ManyOut<Annotated<Packed>>) -> Items {
    Box::pin(stream.map(|item| {
        if let Some(error) = item.err() {
            return Err(Failure::from(&error));
        }
        match item {
            Annotated { data: Some(data), id: None, event: None, comment: None, error: None } => Ok(Item::Data(data.0)),
            annotated => {
                // An item without any field is null.
                let Annotated { id, event, comment, .. } = &annotated;
                let data = annotated.data.is_some() || (id.is_none() && event.is_none() && comment.is_none());
                rmp_serde::to_vec_named(&annotated)
                    .map(|bytes| Item::Annotated { bytes, data })
                    .map_err(Failure::internal)
            }
        }
    }))
}

fn opening(call: &Call) -> Result<Arc<PullStream>, Failure> {
    let client = call.handle::<Client>()?;
    client.open()?;
    let mut args = request_args(call)?;
    let (fallback, any) = (args.fallback.take(), args.fallback_any);
    let (instance, span) = (args.instance_id, trace::outgoing_span(&args.metadata));
    let request = args.context(Packed::new(bytes::Bytes::copy_from_slice(call.payload())));
    let cancel = Cancel::new(request.context());
    let opening = async move {
        let stream = match (instance, client.mode) {
            (Some(id), _) if any || fallback.is_some() => {
                client.router.direct_within(request, id, fallback.as_ref()).await
            }
            (Some(id), _) => client.router.direct(request, id).await,
            (None, RouterMode::Direct) => {
                return Err(Failure::invalid(
                    "request options.instanceId: expected an instance id in mode direct, got none",
                ));
            }
            (None, _) => client.router.generate(request).await,
        };
        Ok(items(stream.map_err(Failure::dispatch)?))
    };
    Ok(PullStream::opening(opening, cancel, span, true))
}

/// Opens a request. The first pull of the stream sends the payload to one instance. Returns a `PullStream`.
/// Takes: handle client, args bytes?, payload bytes. Returns: handle stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_client_open(call: *const dyn_call) -> dyn_reply {
    unsafe { reply(call, |call: &Call| Ok(Reply::handle(Handle::new(opening(call)?)))) }
}

/// Sends a request and completes with its whole answer as one batch. A second item with data ends the request.
/// Cancelling the operation ends the request too.
/// Takes: handle client, args bytes?, payload bytes. Returns: bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_client_unary(call: *const dyn_call) {
    unsafe {
        op(call, |call: &Call| {
            let stream = opening(call)?;
            Ok(async move { Ok(stream.answer().await) })
        })
    }
}

/// Delays the drop of the stream that owns it until a cancellation in progress has notified all.
struct Settled(Cancel);

impl Drop for Settled {
    fn drop(&mut self) {
        self.0.settle();
    }
}

/// Opens a request that is itself a stream. Returns a `PullStream` of answers and the `Sink` of the request's items.
/// Takes: handle client, args bytes?. Returns: nothing, handle stream, handle sink.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_client_open_bidirectional(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call: &Call| {
            let client = call.handle::<Client>()?;
            client.open()?;
            let (sink, sent) = sink(HIGH_WATER_BYTES, None);
            let args = request_args(call)?;
            let span = trace::outgoing_span(&args.metadata);
            let request = args.context(());
            let cancel = Cancel::new(request.context());
            let settled = Settled(cancel.clone());
            let inputs = sent.filter_map(move |sent| {
                let cancel = settled.0.clone();
                async move {
                    match sent {
                        Sent::Data(framed) | Sent::Annotated(framed) => Some(Packed(framed.item())),
                        Sent::Ended => {
                            crate::sockets::end_in_order();
                            None
                        }
                        // An end would mean to the worker that the request is complete.
                        Sent::Failed(_) => {
                            cancel.kill();
                            std::future::pending().await
                        }
                    }
                }
            });
            let ((), request): (_, ManyIn<Packed>) = request.transfer(RequestStream::new(Box::pin(inputs)));
            let opening = async move { Ok(items(client.router.generate(request).await.map_err(Failure::dispatch)?)) };
            let stream = PullStream::opening(opening, cancel, span, true);
            Ok(Reply::with_handles(Vec::new(), vec![Handle::new(stream), Handle::new(sink)]))
        })
    }
}

/// Returns the known instances, as an array of maps.
/// Takes: handle client. Returns: bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_client_instances(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call: &Call| {
            let client = call.handle::<Client>()?;
            client.open()?;
            Reply::value(&client.client.instances().iter().map(InstanceInfo::from).collect::<Vec<_>>())
        })
    }
}

/// Completes when `a` instances are routable, with all of them.
/// Takes: handle client, a instanceCount. Returns: bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_client_wait(call: *const dyn_call) {
    unsafe {
        op(call, |call: &Call| {
            let client = call.handle::<Client>()?;
            client.open()?;
            let count = call.a() as usize;
            Ok(async move {
                let (_open, nothing) = watch::channel(());
                client.routable(count, nothing, |(), _| true).await
            })
        })
    }
}

/// Ends the background tasks of the client. Its open streams continue. Idempotent.
/// Takes: handle client. Returns: nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_client_close(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call: &Call| {
            let client = call.handle::<Client>()?;
            let _ = &client.endpoint;
            client.closed.cancel();
            Ok(Reply::unit())
        })
    }
}
