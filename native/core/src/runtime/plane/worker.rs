//! The worker's end of the response plane. It serves what callers send nearly always: a request with one payload, whose
//! response goes over plain TCP. Everything else goes to the crates' own handler of the endpoint.
//!
//! The handler gets its request before the connection to the caller exists, and the connection is made while it runs.
//! One task does the rest: the crates have five (source: dynamo-runtime `pipeline/network/tcp/client.rs`).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dynamo_runtime::component::Endpoint;
use dynamo_runtime::engine::{AsyncEngineContextProvider, async_trait};
use dynamo_runtime::metrics::prometheus_names::work_handler::error_types;
use dynamo_runtime::pipeline::network::PushWorkHandler;
use dynamo_runtime::pipeline::{Context, PipelineError};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;

use super::answer::Answering;
use super::envelope::Envelope;
use super::meter::Meter;
use crate::runtime::handler::Handler;
use crate::runtime::spare_files::request_was_read;

/// As in the crates.
const PORT_WAIT: Duration = Duration::from_millis(200);

pub struct Worker {
    handler: Arc<Handler>,
    crates: Arc<dyn PushWorkHandler>,
    meter: Meter,
}

impl Worker {
    /// `crates`: the crates' handler of the same engine, without metrics.
    pub fn new(handler: Arc<Handler>, crates: Arc<dyn PushWorkHandler>) -> Arc<Self> {
        Arc::new(Self { handler, crates, meter: Meter::default() })
    }

    fn no_stream(&self, error: &io::Error) -> PipelineError {
        self.meter.failed(error_types::RESPONSE_STREAM);
        PipelineError::Generic(format!("Failed to create response stream: {error}"))
    }
}

/// Fails if the process has no free file descriptor.
fn socket_for(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// Waits for a free port, if there is none.
async fn connect(mut socket: TcpSocket, address: SocketAddr) -> io::Result<TcpStream> {
    loop {
        match socket.connect(address).await {
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                tracing::warn!("retry warning: failed to connect: {error:?}");
                tokio::time::sleep(PORT_WAIT).await;
                socket = socket_for(address)?;
            }
            result => return result,
        }
    }
}

#[async_trait]
impl PushWorkHandler for Worker {
    fn bind_endpoint(&self, endpoint: &Endpoint) {
        self.crates.bind_endpoint(endpoint);
    }

    fn add_metrics(&self, endpoint: &Endpoint, labels: Option<&[(&str, &str)]>) -> anyhow::Result<()> {
        self.meter.register(endpoint, labels)
    }

    fn set_endpoint_health_check_notifier(&self, notifier: Arc<Notify>) -> anyhow::Result<()> {
        self.meter.set_healthy(notifier.clone())?;
        self.crates.set_endpoint_health_check_notifier(notifier)
    }

    async fn handle_payload(&self, payload: Bytes, request_id: Option<String>) -> Result<(), PipelineError> {
        let counted = self.meter.begin(payload.len(), request_id.as_deref());
        let envelope = match Envelope::parse(&payload) {
            Ok(envelope) => envelope,
            Err(foreign) => {
                self.meter.foreign(&foreign);
                return self.crates.handle_payload(payload, request_id.clone()).await;
            }
        };
        let Ok(address) = envelope.address.parse::<SocketAddr>() else {
            return self.crates.handle_payload(payload, request_id.clone()).await;
        };
        self.meter.sent_at(envelope.sent_ns);
        // Before the handler begins: without a descriptor the request is tried again.
        let socket = socket_for(address).map_err(|error| self.no_stream(&error))?;
        request_was_read();
        let Envelope { id, metadata, codec, subject, payload: body, .. } = envelope;
        let context: Context<()> = Context::with_id_and_metadata((), id, metadata);
        let Ok(items) = self.handler.begin(&context, codec, body) else {
            // The inbox is closed for good, so that the crates' handler fails too, and reports it.
            self.meter.failed(error_types::GENERATE);
            return self.crates.handle_payload(payload, request_id.clone()).await;
        };
        drop(payload);
        match connect(socket, address).await {
            Ok(socket) => {
                counted.accepted();
                Answering::new(socket, &subject, items, codec, &self.meter).run().await
            }
            Err(error) => {
                context.context().kill();
                drop(items);
                Err(self.no_stream(&error))
            }
        }
    }
}
