//! The items of a response.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use dynamo_runtime::engine::AsyncEngineContext;
use dynamo_runtime::error::{DynamoError, ErrorType};
use dynamo_runtime::metrics::frontend_perf::STAGE_DURATION_SECONDS;
use dynamo_runtime::metrics::request_plane::{REQUEST_PLANE_INFLIGHT, REQUEST_PLANE_ROUNDTRIP_TTFT_SECONDS};
use dynamo_runtime::pipeline::network::{NetworkStreamWrapper, RequestPlanePayloadCodec};
use dynamo_runtime::protocols::annotated::Annotated;
use dynamo_runtime::protocols::maybe_error::MaybeError;
use futures::Stream;
use futures::future::poll_fn;
use futures::task::noop_waker_ref;
use tokio::sync::mpsc;

use super::msgpack::is_plain;
use super::reader::{Link, Reader};
use crate::framed::{TAIL, VALUE_HEAD};
use crate::packed::Packed;

/// A batch ends with the item that exceeds this size.
const BATCH_BYTES: usize = 64 << 10;
const MAX_BATCHES: usize = 8;
/// After this many items, a response that has none ready is read ahead. Most responses have fewer, and are read best by
/// the task that waits for them.
const ITEMS_BEFORE_READ_AHEAD: u32 = 2;

/// `{complete_final: true}`
const FINAL: &[u8] = b"\x81\xaecomplete_final\xc3";

/// A request in flight, in the crates' gauge.
pub struct InFlight(());

impl InFlight {
    pub fn begin() -> Self {
        REQUEST_PLANE_INFLIGHT.inc();
        Self(())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        REQUEST_PLANE_INFLIGHT.dec();
    }
}

enum Source {
    Read(Reader),
    Ahead { batches: mpsc::Receiver<Vec<Bytes>>, batch: std::vec::IntoIter<Bytes> },
    Over,
}

pub struct Response {
    source: Source,
    codec: RequestPlanePayloadCodec,
    context: Arc<dyn AsyncEngineContext>,
    link: Arc<Link>,
    /// When the request began and was sent, until the first item.
    began: Option<(Instant, Instant)>,
    items: u32,
    has_final: bool,
    _in_flight: InFlight,
}

impl Response {
    /// `began`: when the request began, and when it was sent.
    pub fn new(
        reader: Reader,
        codec: RequestPlanePayloadCodec,
        context: Arc<dyn AsyncEngineContext>,
        began: (Instant, Instant),
        in_flight: InFlight,
    ) -> Self {
        let link = reader.link().clone();
        let (source, began) = (Source::Read(reader), Some(began));
        Self { source, codec, context, link, began, items: 0, has_final: false, _in_flight: in_flight }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Source::Read(reader) = &mut self.source {
            let polled = reader.poll_data(cx);
            if polled.is_ready() || self.items < ITEMS_BEFORE_READ_AHEAD {
                return polled;
            }
            let (sender, batches) = mpsc::channel(MAX_BATCHES);
            let ahead = Source::Ahead { batches, batch: Vec::new().into_iter() };
            if let Source::Read(reader) = std::mem::replace(&mut self.source, ahead) {
                tokio::spawn(read_ahead(reader, sender));
            }
        }
        let Source::Ahead { batches, batch } = &mut self.source else { return Poll::Ready(None) };
        loop {
            if let Some(data) = batch.next() {
                return Poll::Ready(Some(data));
            }
            match ready!(batches.poll_recv(cx)) {
                Some(next) => *batch = next.into_iter(),
                None => return Poll::Ready(None),
            }
        }
    }

    fn first_item(&mut self) {
        if let Some((queued, sent)) = self.began.take() {
            REQUEST_PLANE_ROUNDTRIP_TTFT_SECONDS.observe(sent.elapsed().as_secs_f64());
            STAGE_DURATION_SECONDS.with_label_values(&["transport_roundtrip"]).observe(queued.elapsed().as_secs_f64());
        }
    }

    fn item(&mut self, data: Bytes) -> Option<Annotated<Packed>> {
        self.first_item();
        self.items = self.items.saturating_add(1);
        if self.has_final {
            return Some(error("Response received after generation ended - this should never happen"));
        }
        let (item, is_final) = decode(self.codec, data);
        self.has_final = is_final;
        match item {
            None if !is_final => Some(error("Empty response received - this should never happen")),
            item => item,
        }
    }

    /// The end, or the error in place of one.
    fn end(&mut self) -> Option<Annotated<Packed>> {
        self.source = Source::Over;
        if self.has_final || self.link.is_cancelled() || self.context.is_stopped() {
            return None;
        }
        let message = "Stream ended before generation completed";
        Some(Annotated::from_err(DynamoError::builder().error_type(ErrorType::Disconnected).message(message).build()))
    }
}

fn error(message: impl Into<String>) -> Annotated<Packed> {
    Annotated::from_err(DynamoError::msg(message))
}

/// An item, and whether it is the last. What most items are is taken as it is.
fn decode(codec: RequestPlanePayloadCodec, data: Bytes) -> (Option<Annotated<Packed>>, bool) {
    if codec == RequestPlanePayloadCodec::Msgpack {
        if &data[..] == FINAL {
            return (None, true);
        }
        if let Some(value) = value_in(&data) {
            return (Some(Annotated::from_data(Packed(value))), false);
        }
    }
    match codec.decode::<NetworkStreamWrapper<Annotated<Packed>>>(&data) {
        Ok(NetworkStreamWrapper { data, complete_final }) => (data, complete_final),
        Err(failure) => {
            tracing::warn!(%failure, bytes = data.len(), "failed deserializing request-plane response");
            (Some(error(failure.to_string())), false)
        }
    }
}

/// The value X of `{data: {data: X}, complete_final: false}`.
fn value_in(data: &Bytes) -> Option<Bytes> {
    let end = data.len().checked_sub(TAIL.len())?;
    let is_framed = end > VALUE_HEAD.len() && data.starts_with(VALUE_HEAD) && data.ends_with(TAIL);
    let value = is_framed.then(|| data.slice(VALUE_HEAD.len()..end))?;
    is_plain(&value).then_some(value)
}

/// Reads until the batches are full, and goes on when they are taken.
async fn read_ahead(mut reader: Reader, batches: mpsc::Sender<Vec<Bytes>>) {
    while let Some(first) = poll_fn(|cx| reader.poll_data(cx)).await {
        let mut bytes = first.len();
        let mut batch = vec![first];
        while bytes < BATCH_BYTES
            && let Poll::Ready(Some(data)) = reader.poll_data(&mut Context::from_waker(noop_waker_ref()))
        {
            bytes += data.len();
            batch.push(data);
        }
        if batches.send(batch).await.is_err() {
            return;
        }
    }
}

impl Stream for Response {
    type Item = Annotated<Packed>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Annotated<Packed>>> {
        let this = &mut *self;
        loop {
            if matches!(this.source, Source::Over) {
                return Poll::Ready(None);
            }
            let item = match ready!(this.poll_data(cx)) {
                Some(data) => this.item(data),
                None => this.end(),
            };
            if item.is_some() {
                return Poll::Ready(item);
            }
        }
    }
}

/// A reader in its own task learns of the drop by this.
impl Drop for Response {
    fn drop(&mut self) {
        if matches!(self.source, Source::Ahead { .. }) {
            self.link.order_kill();
        }
    }
}

#[cfg(test)]
mod tests;
