//! Sinks from the caller: a bounded queue of items that the crates drain at their own pace.

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
    /// The producer failed; nothing follows.
    Failed(Failure),
    /// The producer is done; nothing follows. A queue that ends without it was abandoned.
    Ended,
}

struct Shared {
    queued_bytes: AtomicUsize,
    high_water_bytes: usize,
    drained: Notify,
    /// The reading side is gone: nothing more is wanted.
    closed: AtomicBool,
}

/// What the producer can tell its reader beside its items.
pub type Notice = Box<dyn Fn() + Send + Sync>;

/// The caller's end. Its bound is kept by `write`: full, it refuses, and the caller waits for `ready`. The channel under it
/// thus never holds more than the high-water mark and one item.
pub struct Sink {
    sender: parking_lot::Mutex<Option<mpsc::UnboundedSender<Sent>>>,
    shared: Arc<Shared>,
    notice: Option<Notice>,
}

/// The reading end. Its last item is `Failed` or `Ended`, and `Failed` too where the writing end was dropped before either.
pub struct SinkItems {
    receiver: mpsc::UnboundedReceiver<Sent>,
    shared: Arc<Shared>,
    over: bool,
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
        SinkItems { receiver, shared, over: false },
    )
}

/// What a write found. `Full` took nothing.
#[repr(u8)]
pub enum Written {
    Open = 0,
    Full = 1,
    Closed = 2,
}

/// An item costs at least this much, so that a flood of tiny items is bounded too.
const ITEM_OVERHEAD_BYTES: usize = 64;

fn weight(sent: &Sent) -> usize {
    ITEM_OVERHEAD_BYTES
        + match sent {
            Sent::Data(bytes) | Sent::Annotated(bytes) => bytes.len(),
            Sent::Failed(_) | Sent::Ended => 0,
        }
}

impl Sink {
    fn write(&self, item: Sent) -> Written {
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

    /// Ends the stream; the failure, if any, is always taken, even when the queue is full.
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
        if self.over {
            return Poll::Ready(None);
        }
        let next = std::task::ready!(self.receiver.poll_recv(cx));
        let Some(item) = next else {
            self.over = true;
            let abandoned =
                Failure::new("Unavailable", "backend.engine_shutdown", "the handler went away before its end");
            return Poll::Ready(Some(Sent::Failed(abandoned)));
        };
        self.over = matches!(item, Sent::Failed(_) | Sent::Ended);
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

/// `a`: 0 the payload is a value, 1 a map with annotations. Gives one byte: 0 taken, 1 full and not taken, 2 closed. `b` = 1
/// ends the stream behind the item.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_sink_write(call: *const dyn_call) -> dyn_reply {
    unsafe {
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
}

/// Ends the stream; `args`, if there, is the failure that ended it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_sink_end(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call: &Call| {
            let failure = if call.has_args() { Some(call.args::<Failure>()?) } else { None };
            call.handle::<Sink>()?.end(failure);
            Ok(Reply::unit())
        })
    }
}

/// Gives the reader the notice that it waits for, if it waits for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_sink_notify(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call: &Call| {
            if let Some(notice) = &call.handle::<Sink>()?.notice {
                notice();
            }
            Ok(Reply::unit())
        })
    }
}

/// Completes once the queue is half empty (number 0) or its reader is gone (2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_sink_ready(call: *const dyn_call) {
    unsafe {
        op(call, |call: &Call| {
            let sink = call.handle::<Sink>()?;
            Ok(async move { Ok(Reply::number(sink.ready().await as u64)) })
        })
    }
}
