//! Calls from the crates into the host language. The host accepts them in batches, as many as it granted room for, and answers
//! each through a sink; it is told when a caller lost interest.
//!
//! An accepted batch is a MessagePack array; a request is `[0, id, method, requestId, metadata, payload, handleCount]` and
//! owns the next `handleCount` handles of the reply (its sink, then its input stream if it has one); the loss of a caller
//! is `[1, id, kind]` with kind `stopped` or `killed`.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use dynamo_runtime::engine::AsyncEngineContext;
use futures::Stream;
use futures::future::BoxFuture;
use parking_lot::{Mutex, MutexGuard};
use rmp::encode as mp;

use crate::abi::{Call, Failure, Handle, Parked, Reply, dyn_call, dyn_reply, park, reply};
use crate::leaving::Leaving;
use crate::sink::{Notice, Sent, Sink, SinkItems, sink};
use crate::stream::PullStream;

/// One call: what is called, on whose behalf, with what.
pub struct Request {
    pub method: &'static str,
    pub payload: Bytes,
    pub context: Option<Arc<dyn AsyncEngineContext>>,
    pub metadata: BTreeMap<String, String>,
    pub input: Option<Arc<PullStream>>,
    /// What the host may give notice of while it answers.
    pub notice: Option<Notice>,
}

impl Request {
    pub fn new(method: &'static str, payload: impl Into<Bytes>) -> Self {
        Self { method, payload: payload.into(), context: None, metadata: BTreeMap::new(), input: None, notice: None }
    }
}

enum Event {
    Request { id: u64, request: Request, sink: Arc<Sink> },
    Lost { id: u64, kind: &'static str },
}

impl Event {
    fn id(&self) -> u64 {
        match self {
            Event::Request { id, .. } | Event::Lost { id, .. } => *id,
        }
    }

    /// About how many bytes it takes when it is encoded, so that a large payload is not moved while it is written.
    fn room(&self) -> usize {
        match self {
            Event::Request { request, .. } => 128 + request.payload.len(),
            Event::Lost { .. } => 32,
        }
    }
}

#[derive(Default)]
struct Queue {
    requests: VecDeque<Event>,
    lost: VecDeque<Event>,
    /// How many requests the host has room for.
    credits: u64,
    /// The host's accept, while there is nothing for it.
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
        !self.lost.is_empty() || (self.credits > 0 && !self.requests.is_empty())
    }

    /// News of lost callers first, whatever the room: it is what makes room.
    fn take(&mut self) -> Vec<Event> {
        let mut events: Vec<Event> = self.lost.drain(..).collect();
        let count = self.requests.len().min(self.credits.min(MAX_BATCH) as usize);
        self.credits -= count as u64;
        events.extend(self.requests.drain(..count));
        events
    }
}

const MAX_BATCH: u64 = 256;

pub struct Inbox {
    queue: Mutex<Queue>,
    high_water_bytes: usize,
}

impl Inbox {
    /// `high_water_bytes` bounds what each request's answer may hold unread.
    pub fn new(high_water_bytes: usize) -> Arc<Self> {
        Arc::new(Self { queue: Mutex::default(), high_water_bytes })
    }

    /// Queues a request; its answer is a stream that ends with `Ended` or `Failed`. Dropped before, it tells the host.
    pub fn send(self: &Arc<Self>, mut request: Request) -> Result<Answer, Failure> {
        crate::trace::received(&mut request.metadata);
        let (sink, items) = sink(self.high_water_bytes, request.notice.take());
        let context = request.context.clone();
        let how = context.as_ref().map(Leaving::of);
        let leaving = context.clone().map(stopped);
        let mut queue = self.queue.lock();
        queue.check_open()?;
        queue.last_id += 1;
        let id = queue.last_id;
        queue.requests.push_back(Event::Request { id, request, sink });
        deliver(queue);
        Ok(Answer { id, items, inbox: Arc::clone(self), context, how, leaving, over: false })
    }

    /// A call with one answer, for what is not a request of a client's. `None` is an answer without a value.
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

    /// Tells the host that the caller of a request is gone. The host cannot be told of a request that it has not seen: that
    /// one is withdrawn instead.
    fn report_lost(&self, id: u64, kind: &'static str) {
        let mut queue = self.queue.lock();
        // Requests are queued under the lock that numbers them, so their ids ascend.
        let withdrawn = match queue.requests.binary_search_by_key(&id, Event::id) {
            Ok(at) => queue.requests.remove(at),
            Err(_) => {
                queue.lost.push_back(Event::Lost { id, kind });
                None
            }
        };
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

    /// Refuses what comes and drops what waits: each waiting caller sees the handler gone.
    pub fn close(&self) {
        let mut queue = self.queue.lock();
        queue.closed = true;
        let waiting = std::mem::take(&mut queue.requests);
        deliver(queue);
        drop(waiting);
    }
}

/// Completes the host's accept, on the thread that brings what it waits for, where there is something for it.
fn deliver(mut queue: MutexGuard<'_, Queue>) {
    if queue.accept.is_none() || !(queue.closed || queue.ready()) {
        return;
    }
    // A cancelled accept takes nothing: its events wait for the next.
    let Some(accept) = queue.accept.take().and_then(|accept| accept.take()) else { return };
    let events = queue.take();
    drop(queue);
    accept.complete(if events.is_empty() { Err(Failure::closed("the inbox")) } else { Ok(encode(events)) });
}

fn encode(events: Vec<Event>) -> Reply {
    let room = events.iter().map(Event::room).sum();
    let (mut out, mut handles) = (Vec::with_capacity(room), Vec::new());
    let written = (|| -> Result<(), mp::ValueWriteError> {
        mp::write_array_len(&mut out, events.len() as u32)?;
        for event in events {
            match event {
                Event::Request { id, request, sink } => {
                    mp::write_array_len(&mut out, 7)?;
                    mp::write_uint(&mut out, 0)?;
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
                Event::Lost { id, kind } => {
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

/// The answer to a request. While it is read it watches for the caller's stop; dropped early, it reports the caller lost.
pub struct Answer {
    id: u64,
    items: SinkItems,
    inbox: Arc<Inbox>,
    context: Option<Arc<dyn AsyncEngineContext>>,
    how: Option<Arc<Leaving>>,
    /// Waits for the caller's stop, then for its kill.
    leaving: Option<BoxFuture<'static, ()>>,
    over: bool,
}

impl Answer {
    fn killed(&self) -> bool {
        self.how.as_ref().is_none_or(|how| how.is_killed())
            || self.context.as_ref().is_some_and(|context| context.is_killed())
    }

    fn lost(&self) {
        let stopped = !self.killed() && self.context.as_ref().is_some_and(|context| context.is_stopped());
        self.inbox.report_lost(self.id, if stopped { "stopped" } else { "killed" });
    }
}

impl Stream for Answer {
    type Item = Sent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Sent>> {
        while !self.over && self.leaving.as_mut().is_some_and(|leaving| leaving.as_mut().poll(cx).is_ready()) {
            self.lost();
            let context = self.context.clone().filter(|_| !self.killed());
            // Stopped, the handler may still finish; killed, nobody reads on, and a handler that does not notice must not
            // hold up the end.
            self.over = context.is_none();
            self.leaving = context.map(killed);
        }
        if self.over {
            return Poll::Ready(None);
        }
        let next = Pin::new(&mut self.items).poll_next(cx);
        if let Poll::Ready(item) = &next {
            self.over |= matches!(item, None | Some(Sent::Failed(_) | Sent::Ended));
        }
        next
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.over {
            self.lost();
        }
    }
}

/// Completes with the next events: requests up to the room granted, and every caller lost. `a`: more room. Fails as closed
/// when the inbox is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_inbox_accept(call: *const dyn_call) {
    unsafe {
        park(call, |call: &Call, accept| {
            call.handle::<Inbox>()?.accept(call.a(), accept);
            Ok(())
        })
    }
}

/// Makes room for `a` more requests while an accept is waiting.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_inbox_grant(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call: &Call| {
            call.handle::<Inbox>()?.grant(call.a());
            Ok(Reply::unit())
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_inbox_close(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call: &Call| {
            call.handle::<Inbox>()?.close();
            Ok(Reply::unit())
        })
    }
}
