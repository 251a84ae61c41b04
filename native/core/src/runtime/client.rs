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

/// A client of one endpoint: its view of the instances and a router over them.
pub struct Client {
    client: DiscoveryClient,
    router: Router,
    mode: RouterMode,
    endpoint: Arc<EndpointRef>,
    /// Ends the client's background tasks.
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

    /// Waits until so many instances can be routed to that `wanted` takes, and gives all of these as they cross. What it is
    /// shown beside an instance's id is watched too.
    pub async fn routable<T>(
        &self,
        count: usize,
        mut known: watch::Receiver<T>,
        wanted: impl Fn(&T, u64) -> bool,
    ) -> Result<Reply, Failure> {
        let mut available = self.client.instance_avail_watcher();
        loop {
            // Routing learns of an instance from discovery's view, so what is available there is listed here.
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

/// `args`: `{mode}`, one of `RouterMode`'s names but `kv`. Gives a `Client`.
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
    /// The one instance to ask, whatever the mode.
    instance_id: Option<u64>,
    /// Those that may be asked where it is gone; all where `fallback_any`.
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
                // Nothing at all is how null travels.
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
    let (instance, span) = (args.instance_id, trace::sent(&args.metadata));
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

/// Opens a request: the payload goes to one instance when the stream is first pulled. Gives a `PullStream`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_client_open(call: *const dyn_call) -> dyn_reply {
    unsafe { reply(call, |call: &Call| Ok(Reply::handle(Handle::new(opening(call)?)))) }
}

/// Sends a request and completes with its whole answer as one batch, in which a second item with data is the last: the
/// request ends there. Cancelled, it ends the request too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_client_unary(call: *const dyn_call) {
    unsafe {
        op(call, |call: &Call| {
            let stream = opening(call)?;
            Ok(async move { Ok(stream.answer().await) })
        })
    }
}

/// Keeps the stream that it is dropped with from ending while the news that its caller has left is on its way.
struct Settled(Cancel);

impl Drop for Settled {
    fn drop(&mut self) {
        self.0.settle();
    }
}

/// Opens a request that is itself a stream. Gives a `PullStream` of answers and the `Sink` of the request's items.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_client_open_bidirectional(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call: &Call| {
            let client = call.handle::<Client>()?;
            client.open()?;
            let (sink, sent) = sink(HIGH_WATER_BYTES, None);
            let args = request_args(call)?;
            let span = trace::sent(&args.metadata);
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
                        // An end would tell the worker that it has all of the request.
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

/// The instances known now, as an array of maps.
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

/// Completes once `a` instances can be routed to, with all of them.
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

/// Ends the client's background tasks; its open streams go on. Idempotent.
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
