use std::sync::Arc;

use dynamo_runtime::component::StartedEndpoint;
use dynamo_runtime::local_endpoint_registry::LocalAsyncEngine;
use dynamo_runtime::pipeline::network::{Ingress, PushWorkHandler, ResponsePlaneMode};
use dynamo_runtime::pipeline::{ManyIn, ManyOut, SingleIn};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::caller_check::SILENCE;
use super::discovery::InstanceInfo;
use super::handler::{FullOfFiles, Handler, Incoming, Outgoing, RawPayload};
use super::plane::{DataPlane, Worker};
use super::spare_files::Persistent;
use super::{EndpointRef, Runtime};
use crate::abi::{Call, Failure, Handle, Reply, dyn_call, op};
use crate::inbox::{Inbox, QueueLimits};
use crate::sink::HIGH_WATER_BYTES;

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
    let handler = match this.runtime.data_plane {
        DataPlane::Native if !args.bidirectional => Worker::new(engine.clone(), handler),
        _ => handler,
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
