//! Streams towards the caller: pulled in batches, so that a slow caller holds back the producer and a fast one crosses
//! once for many items.
//!
//! A pull gives one buffer: `[state u8][count u32]` then `count` items `[kind u8][length u32][bytes]`, little-endian. The
//! bytes are a value, or a MessagePack map with its annotations. After state `FAILED` the rest is an encoded `Failure`: it
//! always comes behind the last good item.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use dynamo_runtime::engine::AsyncEngineContext;
use futures::{FutureExt, Stream, StreamExt};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use crate::abi::{Call, Failure, Reply, dyn_call, dyn_reply, op_here_if, reply};

pub enum Item {
    /// A value.
    Data(bytes::Bytes),
    /// A MessagePack map `{data?, id?, event?, comment?}`, and whether it has `data`.
    Annotated { bytes: Vec<u8>, data: bool },
}

impl Item {
    fn parts(&self) -> (u8, &[u8]) {
        match self {
            Item::Data(bytes) => (0, bytes),
            Item::Annotated { bytes, .. } => (1, bytes),
        }
    }
}

pub type Items = Pin<Box<dyn Stream<Item = Result<Item, Failure>> + Send>>;
type Opening = Pin<Box<dyn Future<Output = Result<Items, Failure>> + Send>>;

enum State {
    /// The request, not sent before its first poll.
    Opening {
        opening: Opening,
        sent: bool,
    },
    Open(Items),
    Ended,
}

/// A request that is on its way and given up is told of it once its worker has answered the call, at the latest after this.
/// Upstream would tell it in the middle of that answer: a worker whose first write meets the closed connection leaves
/// without reading why, and its handler waits for ever.
const ANSWER: Duration = Duration::from_secs(5);

/// How long a request that was given up is still waited for, so that its worker can be told.
const FAREWELL: Duration = Duration::from_secs(30);

/// How a request is told that its caller has left.
///
/// Upstream wakes those who wait for that news one by one. The first, if it ends the stream that the request is, may have done
/// so before the last knows why: the worker is then told of a plain end. A stream that `settle`s before it ends cannot.
#[derive(Clone)]
pub struct Cancel {
    context: Arc<dyn AsyncEngineContext>,
    telling: Arc<Mutex<()>>,
}

impl Cancel {
    pub fn new(context: Arc<dyn AsyncEngineContext>) -> Self {
        Self { context, telling: Arc::default() }
    }

    fn stop(&self) {
        let _telling = self.telling.lock();
        self.context.stop_generating();
    }

    pub fn kill(&self) {
        let _telling = self.telling.lock();
        self.context.kill();
    }

    /// Waits until news on its way has woken everybody.
    pub fn settle(&self) {
        drop(self.telling.lock());
    }
}

impl State {
    /// A request on its way must not just be dropped: its worker would find nobody to answer, which upstream takes for a
    /// plain end.
    fn end(&mut self, cancel: Option<&Cancel>) {
        let cancel = cancel.cloned();
        match (std::mem::replace(self, State::Ended), crate::process::handle()) {
            (State::Opening { mut opening, sent: true }, Ok(runtime)) => {
                runtime.spawn(async move {
                    let answered = tokio::time::timeout(ANSWER, &mut opening).await;
                    if let Some(cancel) = cancel {
                        cancel.kill();
                    }
                    if answered.is_err() {
                        let _ = tokio::time::timeout(FAREWELL, opening).await;
                    }
                });
            }
            (State::Ended, _) => {}
            _ => {
                if let Some(cancel) = cancel {
                    cancel.kill();
                }
            }
        }
    }
}

const MORE: u8 = 0;
const ENDED: u8 = 1;
const FAILED: u8 = 2;

pub struct PullStream {
    state: tokio::sync::Mutex<State>,
    cancel: Option<Cancel>,
    ready_made: bool,
    /// The worker has answered the call.
    answered: CancellationToken,
    killed: CancellationToken,
}

impl PullStream {
    pub fn new(items: Items) -> Arc<Self> {
        Self::build(State::Open(items), None, false)
    }

    /// A stream whose request is dispatched by the first pull; `cancel` ends it before and after.
    /// `span` is where it is opened: what is sent then has its trace context. `ready_made` tells that looking for its items
    /// costs next to nothing, so that the calling thread may.
    pub fn opening(
        opening: impl Future<Output = Result<Items, Failure>> + Send + 'static,
        cancel: Cancel,
        span: Option<Span>,
        ready_made: bool,
    ) -> Arc<Self> {
        let opening: Opening = match span {
            Some(span) => Box::pin(opening.instrument(span)),
            None => Box::pin(opening),
        };
        Self::build(State::Opening { opening, sent: false }, Some(cancel), ready_made)
    }

    fn build(state: State, cancel: Option<Cancel>, ready_made: bool) -> Arc<Self> {
        Arc::new(Self {
            state: tokio::sync::Mutex::new(state),
            cancel,
            ready_made,
            answered: CancellationToken::new(),
            killed: CancellationToken::new(),
        })
    }

    /// Items may be there already, and cost the thread that takes them little.
    fn may_be_ready(&self) -> bool {
        self.ready_made && self.state.try_lock().is_ok_and(|state| matches!(*state, State::Open(_)))
    }

    /// Sends the request if that has not been done, and waits for its worker's answer.
    async fn open(&self, state: &mut State) -> Result<(), Failure> {
        if let State::Opening { opening, sent } = state {
            *sent = true;
            let opened = opening.await;
            self.answered.cancel();
            *state = State::Ended;
            *state = State::Open(opened?);
        }
        Ok(())
    }

    /// The producer may still finish, and its end comes as usual. A request that was not sent yet never is.
    fn stop(&self) -> Result<(), Failure> {
        let unsent = self.state.try_lock().is_ok_and(|state| matches!(*state, State::Opening { sent: false, .. }));
        let Some(cancel) = self.cancel.clone().filter(|_| !unsent) else {
            self.kill();
            return Ok(());
        };
        if self.answered.is_cancelled() {
            cancel.stop();
            return Ok(());
        }
        let answered = self.answered.clone();
        crate::process::handle()?.spawn(async move {
            let _ = tokio::time::timeout(ANSWER, answered.cancelled()).await;
            cancel.stop();
        });
        Ok(())
    }

    /// The stream ends now.
    fn kill(&self) {
        self.killed.cancel();
        self.end_killed();
    }

    /// Called by whoever kills and by a pull that is over: the last of both finds the lock free.
    fn end_killed(&self) {
        if self.killed.is_cancelled()
            && let Ok(mut state) = self.state.try_lock()
        {
            let _enter = crate::process::enter();
            state.end(self.cancel.as_ref());
        }
    }

    /// Waits for at least `min` items (or the end), then takes what is ready, up to `max` items and `max_bytes`.
    async fn pull(&self, min: usize, max: usize, max_bytes: usize) -> Result<Reply, Failure> {
        let mut state = self.state.lock().await;
        let mut batch = Batch::new();
        let pulled = tokio::select! {
            biased;
            () = self.killed.cancelled() => Ok(true),
            pulled = async {
                self.open(&mut state).await?;
                batch.fill(&mut state, min, max, max_bytes).await
            } => pulled,
        };
        if !self.killed.is_cancelled() && !matches!(pulled, Ok(false)) {
            // Dropping the items here, not with the handle, tells the producer at once.
            *state = State::Ended;
        }
        drop(state);
        self.end_killed();
        Ok(Reply::bytes(batch.finish(pulled)))
    }
}

/// So many items with data are more than a caller of `answer` wants: the request ends there.
const TOO_MANY: u32 = 2;

impl PullStream {
    /// The whole answer in one batch, up to `TOO_MANY` items with data; of those without data no more than one, which tells
    /// that the answer had begun. Nobody else may pull.
    pub async fn answer(&self) -> Reply {
        let mut state = self.state.lock().await;
        let mut batch = Batch::new();
        let mut values = 0;
        let answered = async {
            self.open(&mut state).await?;
            let State::Open(items) = &mut *state else { return Ok(true) };
            while let Some(item) = items.next().await {
                let item = item?;
                let has_data = !matches!(item, Item::Annotated { data: false, .. });
                values += u32::from(has_data);
                if has_data || batch.count == values {
                    batch.push(&item);
                }
                if values == TOO_MANY {
                    break;
                }
            }
            Ok(true)
        }
        .await;
        if values < TOO_MANY {
            *state = State::Ended;
        }
        Reply::bytes(batch.finish(answered))
    }
}

/// The buffer that one pull gives.
struct Batch {
    buffer: Vec<u8>,
    count: u32,
}

impl Batch {
    fn new() -> Self {
        Self { buffer: vec![MORE, 0, 0, 0, 0], count: 0 }
    }

    fn push(&mut self, item: &Item) {
        let (kind, bytes) = item.parts();
        self.buffer.push(kind);
        self.buffer.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        self.buffer.extend_from_slice(bytes);
        self.count += 1;
    }

    /// True when the stream has ended.
    async fn fill(&mut self, state: &mut State, min: usize, max: usize, max_bytes: usize) -> Result<bool, Failure> {
        let State::Open(items) = state else { return Ok(true) };
        while (self.count as usize) < max && self.buffer.len() < max_bytes {
            let next = if (self.count as usize) < min.max(1) {
                items.next().await
            } else {
                match items.next().now_or_never() {
                    Some(next) => next,
                    None => return Ok(false),
                }
            };
            match next {
                Some(item) => self.push(&item?),
                None => return Ok(true),
            }
        }
        Ok(false)
    }

    fn finish(mut self, pulled: Result<bool, Failure>) -> Vec<u8> {
        self.buffer[0] = match pulled {
            Ok(false) => MORE,
            Ok(true) => ENDED,
            Err(_) => FAILED,
        };
        self.buffer[1..5].copy_from_slice(&self.count.to_le_bytes());
        if let Err(failure) = pulled {
            self.buffer.extend_from_slice(&failure.encode());
        }
        self.buffer
    }
}

impl Drop for PullStream {
    fn drop(&mut self) {
        let cancel = self.cancel.take();
        self.state.get_mut().end(cancel.as_ref());
    }
}

/// `a`: the least number of items to wait for. `b`: the most to take; the low 32 bits count items, the high 32 KiB.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_stream_pull(call: *const dyn_call) {
    unsafe {
        let here = |call: &Call| call.handle::<PullStream>().is_ok_and(|stream| stream.may_be_ready());
        op_here_if(call, here, |call: &Call| {
            let stream = call.handle::<PullStream>()?;
            let (min, max, max_bytes) =
                (call.a() as usize, (call.b() as u32) as usize, (call.b() >> 32) as usize * 1024);
            Ok(async move { stream.pull(min, max, max_bytes).await })
        })
    }
}

/// `a` = 0: stop, the producer may still finish and its end comes as usual. `a` = 1: kill, the stream ends now.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_stream_cancel(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call| {
            let stream = call.handle::<PullStream>()?;
            match call.a() {
                0 => stream.stop()?,
                _ => stream.kill(),
            }
            Ok(Reply::unit())
        })
    }
}
