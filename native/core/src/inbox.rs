//! Calls from the crates into the host language. The host accepts them in batches, at most as many as it has granted
//! credits for. It answers each call through a sink. It is notified when a caller cancels.
//!
//! An accepted batch is a MessagePack array. A request is `[0, id, method, requestId, metadata, payload, handleCount]`.
//! It owns the next `handleCount` handles of the reply: its sink, then its input stream if it has one. A cancellation
//! is `[1, id, kind]` with the kind `stopped` or `killed`. A call that used no credit is a request with a 2
//! in place of the 0.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use dynamo_runtime::engine::AsyncEngineContext;
use futures::Stream;
use futures::future::BoxFuture;
use parking_lot::{Mutex, MutexGuard};
use prometheus::IntCounter;
use rmp::encode as mp;

use crate::abi::{Call, Failure, Handle, Parked, Reply, dyn_call, dyn_reply, park, reply};
use crate::caller_state::CallerState;
use crate::sink::{Notice, Sent, Sink, SinkItems, sink};
use crate::stream::PullStream;

/// One call: the method, the context of the caller, and the arguments.
pub struct Request {
    pub method: &'static str,
    pub payload: Bytes,
    pub context: Option<Arc<dyn AsyncEngineContext>>,
    pub metadata: BTreeMap<String, String>,
    pub input: Option<Arc<PullStream>>,
    /// Runs if the host calls `dyn_sink_notify` while it answers.
    pub notice: Option<Notice>,
    /// Whether the request uses a credit, and waits for one. Calls that control the host do not.
    pub uses_credit: bool,
}

impl Request {
    pub fn new(method: &'static str, payload: impl Into<Bytes>) -> Self {
        Self {
            method,
            payload: payload.into(),
            context: None,
            metadata: BTreeMap::new(),
            input: None,
            notice: None,
            uses_credit: true,
        }
    }

    /// The approximate memory of the request in bytes.
    fn size(&self) -> usize {
        let metadata: usize = self.metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
        128 + metadata + self.payload.len()
    }
}

/// More than any sender of the crates can send: they limit a request without its payload to 128 KiB.
const MAX_METADATA_BYTES: usize = 128 * 1024;
const MAX_METADATA_ENTRIES: usize = 1024;

/// Refuses metadata that would take much more memory in the host than on the wire.
fn check_metadata(metadata: &BTreeMap<String, String>) -> Result<(), Failure> {
    let bytes: usize = metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
    if metadata.len() <= MAX_METADATA_ENTRIES && bytes <= MAX_METADATA_BYTES {
        return Ok(());
    }
    Err(Failure::refused(format!(
        "the metadata of the request has {} entries and {bytes} bytes, the limits are {MAX_METADATA_ENTRIES} entries \
         and {MAX_METADATA_BYTES} bytes",
        metadata.len()
    )))
}

enum Event {
    Request { id: u64, request: Request, sink: Arc<Sink> },
    Cancelled { id: u64, kind: &'static str },
}

impl Event {
    fn id(&self) -> u64 {
        match self {
            Event::Request { id, .. } | Event::Cancelled { id, .. } => *id,
        }
    }

    /// The approximate encoded size in bytes. Reserving it avoids that a large payload is moved while it is written.
    fn encoded_size(&self) -> usize {
        match self {
            Event::Request { request, .. } => request.size(),
            Event::Cancelled { .. } => 32,
        }
    }
}

/// How many requests may wait for a credit, and their size.
#[derive(Clone, Copy)]
pub struct QueueLimits {
    pub requests: u64,
    pub bytes: u64,
}

impl QueueLimits {
    /// Without a value the defaults of the host's options.
    pub fn new(requests: Option<u64>, bytes: Option<u64>) -> Self {
        Self { requests: requests.unwrap_or(1024), bytes: bytes.unwrap_or(64 << 20) }
    }

    fn exceeded(&self, counted: &str) -> Failure {
        let Self { requests, bytes } = self;
        Failure::new(
            "CapacityExhausted",
            "capacity.worker_overloaded",
            format!(
                "the worker is busy, and {counted}: its limits are {requests} waiting requests (maxQueued) and {bytes} \
                 bytes (maxQueuedBytes)"
            ),
        )
    }
}

#[derive(Default)]
struct Queue {
    /// Calls that use no credit.
    calls: VecDeque<Event>,
    requests: VecDeque<Event>,
    /// The size of `requests`.
    waiting_bytes: u64,
    cancelled: VecDeque<Event>,
    /// The number of requests that the host accepts now.
    credits: u64,
    /// The host's pending accept.
    accept: Option<Arc<Parked>>,
    last_id: u64,
    closed: bool,
}

impl Queue {
    fn check_open(&self) -> Result<(), Failure> {
        match self.closed {
            true => Err(Failure::new("Unavailable", "backend.engine_shutdown", "the handler is closed")),
            false => Ok(()),
        }
    }

    fn ready(&self) -> bool {
        !self.cancelled.is_empty() || !self.calls.is_empty() || (self.credits > 0 && !self.requests.is_empty())
    }

    /// Whether a request of this size may be queued. One with a free credit does not wait, so it always may.
    fn check_space(&self, size: u64, limits: &QueueLimits) -> Result<(), Failure> {
        if self.credits > self.requests.len() as u64 {
            return Ok(());
        }
        let waiting = self.requests.len() as u64 - self.credits;
        if waiting >= limits.requests {
            return Err(limits.exceeded(&format!("{waiting} requests wait")));
        }
        if self.waiting_bytes + size > limits.bytes {
            return Err(limits.exceeded(&format!(
                "a request of {size} bytes does not fit with the {} bytes that wait",
                self.waiting_bytes
            )));
        }
        Ok(())
    }

    fn push(&mut self, id: u64, request: Request, sink: Arc<Sink>) {
        if !request.uses_credit {
            return self.calls.push_back(Event::Request { id, request, sink });
        }
        self.waiting_bytes += request.size() as u64;
        self.requests.push_back(Event::Request { id, request, sink });
    }

    /// Requests are numbered and queued under one lock, so their ids ascend.
    fn withdraw(&mut self, id: u64) -> Option<Event> {
        if let Ok(at) = self.calls.binary_search_by_key(&id, Event::id) {
            return self.calls.remove(at);
        }
        let at = self.requests.binary_search_by_key(&id, Event::id).ok()?;
        let event = self.requests.remove(at)?;
        self.waiting_bytes -= event.encoded_size() as u64;
        Some(event)
    }

    /// The next batch. Cancellations come first and need no credit: they are what frees capacity.
    fn take(&mut self) -> Vec<Event> {
        let mut events: Vec<Event> = self.cancelled.drain(..).chain(self.calls.drain(..)).collect();
        let count = self.requests.len().min(self.credits.min(MAX_BATCH) as usize);
        self.credits -= count as u64;
        let taken = events.len();
        events.extend(self.requests.drain(..count));
        self.waiting_bytes -= events[taken..].iter().map(|event| event.encoded_size() as u64).sum::<u64>();
        events
    }
}

const MAX_BATCH: u64 = 256;

pub struct Inbox {
    queue: Mutex<Queue>,
    high_water_bytes: usize,
    /// The limits of what waits, and the counter of the requests that they refuse.
    limits: Option<(QueueLimits, IntCounter)>,
}

impl Inbox {
    /// `high_water_bytes` bounds the unread bytes of each answer.
    pub fn new(high_water_bytes: usize) -> Arc<Self> {
        Arc::new(Self { queue: Mutex::default(), high_water_bytes, limits: None })
    }

    /// An inbox that refuses requests if too many wait for a credit.
    pub fn limited(high_water_bytes: usize, limits: QueueLimits, refused: IntCounter) -> Arc<Self> {
        Arc::new(Self { queue: Mutex::default(), high_water_bytes, limits: Some((limits, refused)) })
    }

    /// Queues a request. Its answer is a stream that ends with `Ended` or `Failed`. If the answer is dropped before its
    /// end, the host is notified.
    pub fn send(self: &Arc<Self>, mut request: Request) -> Result<Answer, Failure> {
        check_metadata(&request.metadata)?;
        crate::trace::add_received(&mut request.metadata);
        let (sink, items) = sink(self.high_water_bytes, request.notice.take());
        let context = request.context.clone();
        let caller = context.as_ref().map(CallerState::of);
        let cancelled = context.clone().map(stopped);
        let mut queue = self.queue.lock();
        queue.check_open()?;
        if let Some((limits, refused)) = self.limits.as_ref().filter(|_| request.uses_credit) {
            queue.check_space(request.size() as u64, limits).inspect_err(|_| refused.inc())?;
        }
        queue.last_id += 1;
        let id = queue.last_id;
        queue.push(id, request, sink);
        deliver(queue);
        Ok(Answer { id, items, inbox: Arc::clone(self), context, caller, cancelled, ended: false })
    }

    /// A call with one answer, for calls that are not a client's request. `None` is an answer without a value.
    pub async fn call(self: &Arc<Self>, request: Request) -> Result<Option<Bytes>, Failure> {
        use futures::StreamExt;
        let mut answer = self.send(request)?;
        let mut value = None;
        while let Some(sent) = answer.next().await {
            match sent {
                Sent::Data(framed) | Sent::Annotated(framed) => value = Some(framed.item()),
                Sent::Failed(failure) => return Err(failure),
                Sent::Ended => break,
            }
        }
        Ok(value)
    }

    /// Notifies the host that the caller of a request has cancelled. A request that the host has not seen is withdrawn
    /// instead.
    fn report_cancelled(&self, id: u64, kind: &'static str) {
        let mut queue = self.queue.lock();
        let withdrawn = queue.withdraw(id);
        if withdrawn.is_none() {
            queue.cancelled.push_back(Event::Cancelled { id, kind });
        }
        deliver(queue);
        if let Some(Event::Request { sink, .. }) = withdrawn {
            sink.end(None);
        }
    }

    fn accept(&self, credits: u64, accept: Arc<Parked>) {
        let mut queue = self.queue.lock();
        queue.credits += credits;
        queue.accept = Some(accept);
        deliver(queue);
    }

    fn grant(&self, credits: u64) {
        let mut queue = self.queue.lock();
        queue.credits += credits;
        deliver(queue);
    }

    /// Refuses new requests and drops the waiting ones. Their callers get a failure of class `Unavailable`.
    pub fn close(&self) {
        let mut queue = self.queue.lock();
        queue.closed = true;
        queue.waiting_bytes = 0;
        let waiting = (std::mem::take(&mut queue.calls), std::mem::take(&mut queue.requests));
        deliver(queue);
        drop(waiting);
    }
}

/// Completes the host's accept on the calling thread, if there is an accept and an event for it.
fn deliver(mut queue: MutexGuard<'_, Queue>) {
    if queue.accept.is_none() || !(queue.closed || queue.ready()) {
        return;
    }
    // A cancelled accept takes no events. They wait for the next accept.
    let Some(accept) = queue.accept.take().and_then(|accept| accept.take()) else { return };
    let events = queue.take();
    drop(queue);
    accept.complete(if events.is_empty() { Err(Failure::closed("the inbox")) } else { Ok(encode(events)) });
}

fn encode(events: Vec<Event>) -> Reply {
    let size = events.iter().map(Event::encoded_size).sum();
    let (mut out, mut handles) = (Vec::with_capacity(size), Vec::new());
    let written = (|| -> Result<(), mp::ValueWriteError> {
        mp::write_array_len(&mut out, events.len() as u32)?;
        for event in events {
            match event {
                Event::Request { id, request, sink } => {
                    mp::write_array_len(&mut out, 7)?;
                    mp::write_uint(&mut out, if request.uses_credit { 0 } else { 2 })?;
                    mp::write_uint(&mut out, id)?;
                    mp::write_str(&mut out, request.method)?;
                    mp::write_str(&mut out, request.context.as_ref().map_or("", |context| context.id()))?;
                    mp::write_map_len(&mut out, request.metadata.len() as u32)?;
                    for (key, value) in &request.metadata {
                        mp::write_str(&mut out, key)?;
                        mp::write_str(&mut out, value)?;
                    }
                    mp::write_bin(&mut out, &request.payload)?;
                    mp::write_uint(&mut out, 1 + u64::from(request.input.is_some()))?;
                    handles.push(Handle::new(sink));
                    handles.extend(request.input.map(Handle::new));
                }
                Event::Cancelled { id, kind } => {
                    mp::write_array_len(&mut out, 3)?;
                    mp::write_uint(&mut out, 1)?;
                    mp::write_uint(&mut out, id)?;
                    mp::write_str(&mut out, kind)?;
                }
            }
        }
        Ok(())
    })();
    written.expect("writing to a Vec does not fail");
    Reply::with_handles(out, handles)
}

fn stopped(context: Arc<dyn AsyncEngineContext>) -> BoxFuture<'static, ()> {
    Box::pin(async move { context.stopped().await })
}

fn killed(context: Arc<dyn AsyncEngineContext>) -> BoxFuture<'static, ()> {
    Box::pin(async move { context.killed().await })
}

/// The answer to a request. While it is read, it also watches the caller. If it is dropped before its end, it reports
/// the request as cancelled.
pub struct Answer {
    id: u64,
    items: SinkItems,
    inbox: Arc<Inbox>,
    context: Option<Arc<dyn AsyncEngineContext>>,
    caller: Option<Arc<CallerState>>,
    /// Waits for the caller's stop, and after that for its kill.
    cancelled: Option<BoxFuture<'static, ()>>,
    ended: bool,
}

impl Answer {
    fn killed(&self) -> bool {
        self.caller.as_ref().is_none_or(|caller| caller.is_killed())
            || self.context.as_ref().is_some_and(|context| context.is_killed())
    }

    fn report(&self) {
        let stopped = !self.killed() && self.context.as_ref().is_some_and(|context| context.is_stopped());
        self.inbox.report_cancelled(self.id, if stopped { "stopped" } else { "killed" });
    }
}

impl Stream for Answer {
    type Item = Sent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Sent>> {
        while !self.ended && self.cancelled.as_mut().is_some_and(|cancelled| cancelled.as_mut().poll(cx).is_ready()) {
            self.report();
            let context = self.context.clone().filter(|_| !self.killed());
            // After a stop the handler may still finish. After a kill there is no reader, and a handler that does not
            // react must not delay the end.
            self.ended = context.is_none();
            self.cancelled = context.map(killed);
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let next = Pin::new(&mut self.items).poll_next(cx);
        if let Poll::Ready(item) = &next {
            self.ended |= matches!(item, None | Some(Sent::Failed(_) | Sent::Ended));
        }
        next
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.ended {
            self.report();
        }
    }
}

/// Completes with the next events: requests, at most as many as there are credits, and all cancellations. `a`:
/// additional credits. Fails with class `Closed` when the inbox is closed.
/// Takes: handle inbox, a requestCount. Returns: bytes or bytes, handle sink|stream....
#[unsafe(no_mangle)]
pub extern "C" fn dyn_inbox_accept(call: &dyn_call) {
    park(call, |call: &Call, accept| {
        call.handle::<Inbox>()?.accept(call.a(), accept);
        Ok(())
    })
}

/// Adds `a` credits while an accept is pending.
/// Takes: handle inbox, a requestCount. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_inbox_grant(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        call.handle::<Inbox>()?.grant(call.a());
        Ok(Reply::unit())
    })
}

/// Takes: handle inbox. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_inbox_close(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        call.handle::<Inbox>()?.close();
        Ok(Reply::unit())
    })
}

#[cfg(test)]
mod tests;
