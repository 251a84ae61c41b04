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
use parking_lot::Mutex;
use rmp::encode as mp;
use tokio::sync::Notify;

use crate::abi::{Call, Failure, Handle, Reply, dyn_call, dyn_reply, op, reply};
use crate::leaving::Leaving;
use crate::sink::{Sent, Sink, SinkItems, sink};
use crate::stream::PullStream;

/// One call: what is called, on whose behalf, with what.
pub struct Request {
    pub method: &'static str,
    pub payload: Bytes,
    pub context: Option<Arc<dyn AsyncEngineContext>>,
    pub metadata: BTreeMap<String, String>,
    pub input: Option<Arc<PullStream>>,
}

impl Request {
    pub fn new(method: &'static str, payload: impl Into<Bytes>) -> Self {
        Self { method, payload: payload.into(), context: None, metadata: BTreeMap::new(), input: None }
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
}

#[derive(Default)]
struct Queue {
    requests: VecDeque<Event>,
    lost: VecDeque<Event>,
    /// How many requests the host has room for.
    credits: u64,
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
    arrived: Notify,
    high_water_bytes: usize,
}

impl Inbox {
    /// `high_water_bytes` bounds what each request's answer may hold unread.
    pub fn new(high_water_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::default(),
            arrived: Notify::new(),
            high_water_bytes,
        })
    }

    /// Queues a request; its answer is a stream that ends with `Ended` or `Failed`. Dropped before, it tells the host.
    pub fn send(self: &Arc<Self>, request: Request) -> Result<Answer, Failure> {
        let (sink, items) = sink(self.high_water_bytes);
        let context = request.context.clone();
        let how = context.as_ref().map(Leaving::of);
        let leaving = context.clone().map(stopped);
        let id = {
            let mut queue = self.queue.lock();
            queue.check_open()?;
            queue.last_id += 1;
            let id = queue.last_id;
            queue.requests.push_back(Event::Request { id, request, sink });
            id
        };
        self.arrived.notify_one();
        Ok(Answer { id, items, inbox: Arc::clone(self), context, how, leaving, over: false })
    }

    /// A call with one answer, for what is not a request of a client's. `None` is an answer without a value.
    pub async fn call(self: &Arc<Self>, request: Request) -> Result<Option<Bytes>, Failure> {
        use futures::StreamExt;
        let mut answer = self.send(request)?;
        let mut value = None;
        while let Some(sent) = answer.next().await {
            match sent {
                Sent::Data(bytes) | Sent::Annotated(bytes) => value = Some(bytes),
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
        drop(queue);
        if let Some(Event::Request { sink, .. }) = withdrawn {
            sink.end(None);
        }
        self.arrived.notify_one();
    }

    async fn accept(&self) -> Result<Reply, Failure> {
        loop {
            {
                let mut queue = self.queue.lock();
                let events = queue.take();
                if !events.is_empty() {
                    return Ok(encode(events));
                }
                if queue.closed {
                    return Err(Failure::closed("the inbox"));
                }
            }
            self.arrived.notified().await;
        }
    }

    fn grant(&self, credits: u64) {
        self.queue.lock().credits += credits;
        self.arrived.notify_one();
    }

    /// Refuses what comes and drops what waits: each waiting caller sees the handler gone.
    pub fn close(&self) {
        let waiting = {
            let mut queue = self.queue.lock();
            queue.closed = true;
            std::mem::take(&mut queue.requests)
        };
        drop(waiting);
        self.arrived.notify_one();
    }
}

fn encode(events: Vec<Event>) -> Reply {
    let (mut out, mut handles) = (Vec::with_capacity(256), Vec::new());
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
        self.how.as_ref().is_none_or(|how| how.is_killed()) || self.context.as_ref().is_some_and(|context| context.is_killed())
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
        op(call, |call: &Call| {
            let inbox = call.handle::<Inbox>()?;
            inbox.grant(call.a());
            Ok(async move { inbox.accept().await })
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
