//! Sends the items of one answer. What is ready goes out in one system call.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dynamo_runtime::engine::{AsyncEngineContext, AsyncEngineContextProvider};
use dynamo_runtime::metrics::prometheus_names::work_handler::error_types;
use dynamo_runtime::pipeline::network::{EncodedResponseFrame, RequestPlanePayloadCodec};
use dynamo_runtime::pipeline::{ManyOut, PipelineError};
use futures::StreamExt;
use futures::future::poll_fn;
use tokio::net::TcpStream;
use tokio_util::io::poll_read_buf;

use super::envelope::{ACCEPTED, KILL, SENTINEL, STOP, handshake};
use super::frames::{MAX_MESSAGE_BYTES, Outbox, take_frame};
use super::meter::{Meter, log_cancellation};
use crate::runtime::handler::{Outgoing, encode_response};

/// No further items are taken while this much waits for the socket.
const GATHERED_BYTES: usize = 256 << 10;
/// How long the caller may take to close the connection after the end. As in the crates.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

enum End {
    /// All of the answer is written.
    Whole,
    /// The caller wants nothing further of it.
    Cancelled,
    /// The caller has left without notice.
    Broken,
}

pub struct Answering<'a> {
    socket: TcpStream,
    outbox: Outbox,
    items: ManyOut<Outgoing>,
    context: Arc<dyn AsyncEngineContext>,
    codec: RequestPlanePayloadCodec,
    meter: &'a Meter,
    orders: Orders,
    /// Everything is in the outbox, including the last message.
    is_over: bool,
    has_failed: bool,
}

impl<'a> Answering<'a> {
    pub fn new(
        socket: TcpStream,
        subject: &str,
        items: ManyOut<Outgoing>,
        codec: RequestPlanePayloadCodec,
        meter: &'a Meter,
    ) -> Self {
        let mut outbox = Outbox::default();
        outbox.push_header(&handshake(subject));
        outbox.push_header(ACCEPTED);
        let context = items.context();
        let orders = Orders::default();
        Self { socket, outbox, items, context, codec, meter, orders, is_over: false, has_failed: false }
    }

    /// Completes when the answer is written, and the handler has ended.
    pub async fn run(mut self) -> Result<(), PipelineError> {
        let end = poll_fn(|cx| self.poll(cx)).await;
        if self.orders.is_cancelled {
            self.meter.cancelled();
        }
        match end {
            End::Whole => {
                if !self.has_failed {
                    self.meter.note_health();
                }
                self.close();
            }
            End::Cancelled => self.leave().await,
            End::Broken => self.lost(),
        }
        Ok(())
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            self.orders.poll(&mut self.socket, &*self.context, cx);
            if self.context.is_stopped() {
                return Poll::Ready(End::Cancelled);
            }
            let has_all = self.gather(cx);
            match self.outbox.poll_write(&mut self.socket, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(End::Broken),
                Poll::Ready(Ok(())) if self.is_over => return Poll::Ready(End::Whole),
                Poll::Ready(Ok(())) if has_all => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
            }
        }
    }

    /// Takes the items that are ready. Returns false if there may be more.
    fn gather(&mut self, cx: &mut Context<'_>) -> bool {
        while !self.is_over && self.outbox.queued() < GATHERED_BYTES {
            match self.items.poll_next_unpin(cx) {
                Poll::Ready(Some(item)) => self.push(item),
                Poll::Ready(None) => self.finish(),
                Poll::Pending => return true,
            }
        }
        false
    }

    fn push(&mut self, item: Outgoing) {
        match encode_response(self.codec, Some(item), false) {
            Ok(EncodedResponseFrame { bytes, is_error, stop_stream }) => {
                self.push_data(bytes);
                self.has_failed |= is_error;
                if !is_error {
                    self.meter.note_health();
                }
                if stop_stream {
                    self.finish();
                }
            }
            Err(error) => {
                tracing::error!(%error, "failed to encode request-plane response");
                self.meter.failed(error_types::SERIALIZATION);
                self.has_failed = true;
                self.seal();
            }
        }
    }

    fn push_data(&mut self, data: Bytes) {
        self.meter.responded(data.len());
        self.outbox.push_data(data);
    }

    fn finish(&mut self) {
        match encode_response(self.codec, None, true) {
            Ok(frame) => self.push_data(frame.bytes),
            Err(error) => {
                tracing::error!(%error, "failed to encode request-plane final response");
                self.meter.failed(error_types::PUBLISH_FINAL);
            }
        }
        self.seal();
    }

    fn seal(&mut self) {
        self.outbox.push_header(SENTINEL);
        self.is_over = true;
    }

    /// After a stop the handler may finish, but its caller gets no more than what was taken from it before. What the
    /// handler sends after that ends it.
    async fn leave(mut self) {
        let rest = |cx: &mut Context<'_>| {
            self.orders.poll(&mut self.socket, &*self.context, cx);
            if self.orders.is_killed { Poll::Ready(Ok(())) } else { self.outbox.poll_write(&mut self.socket, cx) }
        };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, poll_fn(rest)).await;
        let Self { socket, mut items, context, meter, is_over, .. } = self;
        drop(socket);
        if !is_over && items.next().await.is_some() {
            tracing::warn!("Failed to publish response for stream {}", context.id());
            meter.failed(error_types::PUBLISH_RESPONSE);
        }
    }

    fn lost(&self) {
        let (kind, what) = match self.is_over {
            true => (error_types::PUBLISH_FINAL, "complete final"),
            false => (error_types::PUBLISH_RESPONSE, "response"),
        };
        tracing::error!("Failed to publish {what} for stream {}", self.context.id());
        self.meter.failed(kind);
        self.context.stop_generating();
    }

    /// Lets the caller close the connection. The port of the end that closes first stays in use for a minute.
    fn close(self) {
        if !self.orders.is_open {
            return;
        }
        let Self { mut socket, .. } = self;
        tokio::spawn(async move {
            let mut ignored = BytesMut::new();
            let closed = poll_fn(|cx| {
                loop {
                    ignored.clear();
                    ignored.reserve(64);
                    match ready!(poll_read_buf(Pin::new(&mut socket), cx, &mut ignored)) {
                        Ok(0) | Err(_) => return Poll::Ready(()),
                        Ok(_) => {}
                    }
                }
            });
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, closed).await;
        });
    }
}

/// What the caller sends over the connection of its response: orders to stop or to kill the request.
struct Orders {
    buffer: BytesMut,
    /// The caller has not closed its direction. If it has, and has left, a write fails.
    is_open: bool,
    is_cancelled: bool,
    is_killed: bool,
}

impl Default for Orders {
    fn default() -> Self {
        Self { buffer: BytesMut::new(), is_open: true, is_cancelled: false, is_killed: false }
    }
}

impl Orders {
    fn poll(&mut self, socket: &mut TcpStream, context: &dyn AsyncEngineContext, cx: &mut Context<'_>) {
        while self.is_open {
            self.buffer.reserve(64);
            match poll_read_buf(Pin::new(&mut *socket), cx, &mut self.buffer) {
                Poll::Pending => return,
                Poll::Ready(Ok(0)) => self.is_open = false,
                Poll::Ready(Ok(_)) => {
                    if let Err(error) = self.follow(context) {
                        self.break_off(context, &error);
                    }
                }
                Poll::Ready(Err(error)) => self.break_off(context, &error),
            }
        }
    }

    fn follow(&mut self, context: &dyn AsyncEngineContext) -> io::Result<()> {
        while let Some(frame) = take_frame(&mut self.buffer, MAX_MESSAGE_BYTES)? {
            self.is_cancelled = true;
            match &frame.header[..] {
                STOP if frame.data.is_empty() => {
                    log_cancellation(context, "stop");
                    context.stop();
                }
                KILL if frame.data.is_empty() => {
                    self.is_killed = true;
                    log_cancellation(context, "kill");
                    context.kill();
                }
                _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no order")),
            }
        }
        Ok(())
    }

    fn break_off(&mut self, context: &dyn AsyncEngineContext, error: &io::Error) {
        tracing::warn!(%error, "invalid message of a caller, or none; closing the connection");
        (self.is_open, self.is_cancelled, self.is_killed) = (false, true, true);
        context.kill();
    }
}

#[cfg(test)]
mod tests;
