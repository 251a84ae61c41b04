//! A sink of the caller: a bounded queue of items, which the crates drain at their own pace.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::task::{Context, Poll};

use futures::Stream;
use tokio::sync::{Notify, mpsc};

use crate::abi::{Call, Failure, Reply, dyn_call, dyn_reply, op, reply};
use crate::framed::Framed;

pub enum Sent {
    Data(Framed),
    /// A MessagePack map `{data?, id?, event?, comment?}`.
    Annotated(Framed),
    /// The producer failed. Nothing follows.
    Failed(Failure),
    /// The producer has finished. Nothing follows. A queue that ends without it was abandoned.
    Ended,
}

struct Shared {
    queued_bytes: AtomicUsize,
    high_water_bytes: usize,
    drained: Notify,
    /// The reader is gone. Items are refused.
    closed: AtomicBool,
}

/// A notification from the producer to its reader, apart from the items.
pub type Notice = Box<dyn Fn() + Send + Sync>;

/// The writing end. `write` refuses items if the queue is full, and the caller then waits for `ready`. So the channel
/// never has more than the high-water mark plus one item.
pub struct Sink {
    sender: parking_lot::Mutex<Option<mpsc::UnboundedSender<Sent>>>,
    shared: Arc<Shared>,
    notice: Option<Notice>,
}

/// The reading end. Its last item is `Failed` or `Ended`. If the writing end is dropped before, it is `Failed`.
pub struct SinkItems {
    receiver: mpsc::UnboundedReceiver<Sent>,
    shared: Arc<Shared>,
    ended: bool,
}

pub(crate) const HIGH_WATER_BYTES: usize = 1 << 20;

pub fn sink(high_water_bytes: usize, notice: Option<Notice>) -> (Arc<Sink>, SinkItems) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared {
        queued_bytes: AtomicUsize::new(0),
        high_water_bytes,
        drained: Notify::new(),
        closed: AtomicBool::new(false),
    });
    (
        Arc::new(Sink { sender: parking_lot::Mutex::new(Some(sender)), shared: shared.clone(), notice }),
        SinkItems { receiver, shared, ended: false },
    )
}

/// The result of a write. With `Full` the item was not taken.
#[repr(u8)]
pub enum Written {
    Open = 0,
    Full = 1,
    Closed = 2,
}

/// An item counts at least this much, so that many tiny items are bounded too.
const ITEM_OVERHEAD_BYTES: usize = 64;

fn weight(sent: &Sent) -> usize {
    ITEM_OVERHEAD_BYTES
        + match sent {
            Sent::Data(bytes) | Sent::Annotated(bytes) => bytes.len(),
            Sent::Failed(_) | Sent::Ended => 0,
        }
}

impl Sink {
    pub fn write(&self, item: Sent) -> Written {
        let sender = self.sender.lock();
        let Some(sender) = sender.as_ref().filter(|_| !self.shared.closed.load(Acquire)) else {
            return Written::Closed;
        };
        if self.shared.queued_bytes.load(Acquire) >= self.shared.high_water_bytes {
            return Written::Full;
        }
        self.shared.queued_bytes.fetch_add(weight(&item), AcqRel);
        match sender.send(item) {
            Ok(()) => Written::Open,
            Err(_) => Written::Closed,
        }
    }

    /// Ends the stream. A failure is always taken, even if the queue is full.
    pub fn end(&self, failure: Option<Failure>) {
        if let Some(sender) = self.sender.lock().take() {
            let last = failure.map_or(Sent::Ended, Sent::Failed);
            self.shared.queued_bytes.fetch_add(weight(&last), AcqRel);
            let _ = sender.send(last);
        }
    }

    async fn ready(&self) -> Written {
        loop {
            let drained = self.shared.drained.notified();
            if self.shared.closed.load(Acquire) || self.sender.lock().is_none() {
                return Written::Closed;
            }
            if self.shared.queued_bytes.load(Acquire) <= self.shared.high_water_bytes / 2 {
                return Written::Open;
            }
            drained.await;
        }
    }
}

impl Stream for SinkItems {
    type Item = Sent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Sent>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let next = std::task::ready!(self.receiver.poll_recv(cx));
        let Some(item) = next else {
            self.ended = true;
            let abandoned = Failure::new(
                "Unavailable",
                "backend.engine_shutdown",
                "the handler was dropped before it ended its answer",
            );
            return Poll::Ready(Some(Sent::Failed(abandoned)));
        };
        self.ended = matches!(item, Sent::Failed(_) | Sent::Ended);
        let left = self.shared.queued_bytes.fetch_sub(weight(&item), AcqRel) - weight(&item);
        if left <= self.shared.high_water_bytes / 2 {
            self.shared.drained.notify_waiters();
        }
        Poll::Ready(Some(item))
    }
}

impl Drop for SinkItems {
    fn drop(&mut self) {
        self.shared.closed.store(true, Release);
        self.shared.drained.notify_waiters();
    }
}

/// Writes the payload as one item. `a`: 0 a value, 1 a map with annotations. If `b` is 1, the stream ends after the
/// item. Returns 0 if the item was taken, 1 if the queue is full and the item was not taken, 2 if the sink is closed.
/// Takes: handle sink, payload bytes, a isAnnotated, b isLast. Returns: number.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_sink_write(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let sink = call.handle::<Sink>()?;
        let written = sink.write(match call.a() {
            1 => Sent::Annotated(Framed::annotated(call.payload())),
            _ => Sent::Data(Framed::value(call.payload())),
        });
        if call.b() == 1 && matches!(written, Written::Open) {
            sink.end(None);
        }
        Ok(Reply::number(written as u64))
    })
}

/// Ends the stream. `args`, if set, is the failure that ended it.
/// Takes: handle sink, args bytes?. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_sink_end(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let failure = if call.has_args() { Some(call.args::<Failure>()?) } else { None };
        call.handle::<Sink>()?.end(failure);
        Ok(Reply::unit())
    })
}

/// Notifies the reader, if it wants a notification.
/// Takes: handle sink. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_sink_notify(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        if let Some(notice) = &call.handle::<Sink>()?.notice {
            notice();
        }
        Ok(Reply::unit())
    })
}

/// Completes with 0 when the queue is half empty, or with 2 when the sink is closed.
/// Takes: handle sink. Returns: number.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_sink_ready(call: &dyn_call) {
    op(call, |call: &Call| {
        let sink = call.handle::<Sink>()?;
        Ok(async move { Ok(Reply::number(sink.ready().await as u64)) })
    })
}

#[cfg(test)]
mod tests;
