use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

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
use super::plane::{DataPlane, Dispatch, watch_instances};
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
    /// Counts the choices of `another`, which takes the instances in turn.
    turn: AtomicUsize,
    /// Ends the background tasks of the client.
    closed: CancellationToken,
}

/// The instances that may get a request.
struct Target {
    /// The instance to call, in any mode.
    instance: Option<u64>,
    /// The instances to call if that instance is gone, or all of them.
    fallback: Option<HashSet<u64>>,
    any: bool,
    /// The instances that have failed the request.
    exclude: HashSet<u64>,
}

impl Target {
    fn has(&self, id: u64) -> bool {
        let any = self.any || self.instance.is_none_or(|only| only == id);
        !self.exclude.contains(&id) && (any || self.fallback.as_ref().is_some_and(|fallback| fallback.contains(&id)))
    }
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

    /// Sends a request. `sent` becomes the instance that gets it.
    async fn send(
        &self,
        request: Context<Packed>,
        target: &Target,
        sent: &mut Option<u64>,
    ) -> Result<ManyOut<Annotated<Packed>>, Failure> {
        let Target { instance, fallback, any, exclude } = target;
        let retried = !exclude.is_empty();
        let exact = if retried { Some(self.another(target)?) } else { instance.filter(|_| !any && fallback.is_none()) };
        *sent = exact;
        let note = |_: &mut Packed, id| {
            *sent = Some(id);
            Ok(())
        };
        let routed = match (exact, *instance) {
            // In the modes that choose by load it counts the request, as a choice of the router does.
            (Some(id), _) if retried => self.router.select_and_dispatch_exact(request, Some(id), note).await,
            (Some(id), _) => self.router.direct(request, id).await.map(|stream| ((), stream)),
            (None, Some(id)) => self.router.direct_within_prepared(request, id, fallback.as_ref(), note).await,
            (None, None) if matches!(self.mode, RouterMode::Direct) => {
                return Err(Failure::invalid(
                    "request options.instanceId: expected an instance id in mode direct, got none",
                ));
            }
            (None, None) => self.router.select_and_dispatch(request, note).await,
        };
        let ((), stream) = routed.map_err(Failure::dispatch)?;
        Ok(stream)
    }

    /// An instance for a request that other instances have failed. The router cannot exclude instances.
    fn another(&self, target: &Target) -> Result<u64, Failure> {
        let mut free = self.router.selectable_worker_ids().map_err(Failure::dispatch)?;
        free.retain(|&id| target.has(id));
        let first = self.turn.fetch_add(1, Relaxed) % free.len().max(1);
        free.rotate_left(first);
        let load = self.router.routing_occupancy_state();
        free.into_iter().min_by_key(|&id| load.as_ref().map_or(0, |load| load.load(id))).ok_or_else(|| {
            let message =
                format!("every instance of {} that can be called has failed the request", self.endpoint().id());
            Failure::new("Unavailable", "transport.cannot_connect", message)
        })
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
pub extern "C" fn dyn_endpoint_client(call: &dyn_call) {
    #[derive(Deserialize)]
    struct Args {
        mode: RouterMode,
    }
    op(call, |call: &Call| {
        let endpoint = call.handle::<EndpointRef>()?;
        let mode = call.args::<Args>()?.mode;
        Ok(async move {
            let closed = CancellationToken::new();
            let guard = closed.clone().drop_guard();
            let client = endpoint.endpoint.client_with_cancellation(closed.clone()).await?;
            let router = match endpoint.runtime.data_plane {
                DataPlane::Crates => Router::from_client(client.clone(), mode).await?,
                DataPlane::Native => {
                    tokio::spawn(watch_instances(client.clone(), closed.clone()));
                    let dispatch = Dispatch::new(&endpoint.endpoint).await?;
                    Router::from_client_with_dispatch(client.clone(), mode, dispatch).await?
                }
            };
            guard.disarm();
            Ok(Reply::handle(Handle::new(Arc::new(Client {
                client,
                router,
                mode,
                endpoint,
                turn: AtomicUsize::new(0),
                closed,
            }))))
        })
    })
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
    /// The instances that have failed this request.
    #[serde(default)]
    exclude: HashSet<u64>,
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

/// `instance`: the instance that sends the items, if it is known.
fn items(stream: ManyOut<Annotated<Packed>>, instance: Option<u64>) -> Items {
    Box::pin(stream.map(move |item| {
        if let Some(error) = item.err() {
            return Err(Failure::from(&error).at(instance));
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
    let span = trace::outgoing_span(&args.metadata);
    let target = Target {
        instance: args.instance_id,
        fallback: args.fallback.take(),
        any: args.fallback_any,
        exclude: std::mem::take(&mut args.exclude),
    };
    let request = args.context(Packed::new(bytes::Bytes::copy_from_slice(call.payload())));
    let cancel = Cancel::new(request.context());
    let opening = async move {
        let mut sent = None;
        match client.send(request, &target, &mut sent).await {
            Ok(stream) => Ok(items(stream, sent)),
            Err(failure) => Err(failure.at(sent)),
        }
    };
    Ok(PullStream::opening(opening, cancel, span, true))
}

/// Opens a request. The first pull of the stream sends the payload to one instance. Returns a `PullStream`.
/// Takes: handle client, args bytes?, payload bytes. Returns: handle stream.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_client_open(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| Ok(Reply::handle(Handle::new(opening(call)?))))
}

/// Sends a request and completes with its whole answer as one batch. A second item with data ends the request.
/// Cancelling the operation ends the request too.
/// Takes: handle client, args bytes?, payload bytes. Returns: bytes.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_client_unary(call: &dyn_call) {
    op(call, |call: &Call| {
        let stream = opening(call)?;
        Ok(async move { Ok(stream.answer().await) })
    })
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
pub extern "C" fn dyn_client_open_bidirectional(call: &dyn_call) -> dyn_reply {
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
        let opening = async move { Ok(items(client.router.generate(request).await.map_err(Failure::dispatch)?, None)) };
        let stream = PullStream::opening(opening, cancel, span, true);
        Ok(Reply::with_handles(Vec::new(), vec![Handle::new(stream), Handle::new(sink)]))
    })
}

/// Returns the known instances, as an array of maps.
/// Takes: handle client. Returns: bytes.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_client_instances(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let client = call.handle::<Client>()?;
        client.open()?;
        Reply::value(&client.client.instances().iter().map(InstanceInfo::from).collect::<Vec<_>>())
    })
}

/// Completes when `a` instances are routable, with all of them.
/// Takes: handle client, a instanceCount. Returns: bytes.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_client_wait(call: &dyn_call) {
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

/// Ends the background tasks of the client. Its open streams continue. Idempotent.
/// Takes: handle client. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_client_close(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let client = call.handle::<Client>()?;
        let _ = &client.endpoint;
        client.closed.cancel();
        Ok(Reply::unit())
    })
}
