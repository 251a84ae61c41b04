//! Streams to the caller. They are pulled in batches: a slow caller slows the producer down, and a fast caller crosses
//! once for many items.
//!
//! A pull returns one buffer: `[state u8][count u32]`, then `count` items `[kind u8][length u32][bytes]`,
//! little-endian. The bytes are a value, or a MessagePack map with annotations. With the state `FAILED` an encoded
//! `Failure` follows the last item.

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
    /// A request. Its first poll sends it.
    Opening {
        opening: Opening,
        sent: bool,
    },
    Open(Items),
    Ended,
}

/// When a caller cancels before the worker has accepted the request, the cancellation is sent after the accept, or
/// after this timeout. Upstream would send it during the accept. A worker whose first write fails on the closed
/// connection does not read the reason, and its handler would wait forever.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a cancelled request is still awaited, so that its worker can be notified.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(30);

/// Cancels a request.
///
/// Upstream wakes the waiters of a cancellation one by one. If the first of them ends the request stream before the
/// last is woken, the worker sees a normal end. A stream that calls `settle` before it ends avoids this.
#[derive(Clone)]
pub struct Cancel {
    context: Arc<dyn AsyncEngineContext>,
    notifying: Arc<Mutex<()>>,
}

impl Cancel {
    pub fn new(context: Arc<dyn AsyncEngineContext>) -> Self {
        Self { context, notifying: Arc::default() }
    }

    fn stop(&self) {
        let _notifying = self.notifying.lock();
        self.context.stop_generating();
    }

    pub fn kill(&self) {
        let _notifying = self.notifying.lock();
        self.context.kill();
    }

    /// Waits until a cancellation in progress has woken all waiters.
    pub fn settle(&self) {
        drop(self.notifying.lock());
    }
}

impl State {
    /// A sent request must not just be dropped: its worker would have no caller to answer, which upstream treats as a
    /// normal end.
    fn end(&mut self, cancel: Option<&Cancel>) {
        let cancel = cancel.cloned();
        match (std::mem::replace(self, State::Ended), crate::process::handle()) {
            (State::Opening { mut opening, sent: true }, Ok(runtime)) => {
                runtime.spawn(async move {
                    let accepted = tokio::time::timeout(ACCEPT_TIMEOUT, &mut opening).await;
                    if let Some(cancel) = cancel {
                        cancel.kill();
                    }
                    if accepted.is_err() {
                        let _ = tokio::time::timeout(CANCEL_TIMEOUT, opening).await;
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
    cheap_to_poll: bool,
    /// Cancelled when the worker has accepted the request.
    accepted: CancellationToken,
    killed: CancellationToken,
}

impl PullStream {
    pub fn new(items: Items) -> Arc<Self> {
        Self::build(State::Open(items), None, false)
    }

    /// A stream whose first pull sends its request. `cancel` ends the request before and after that. The request is
    /// sent in `span`, from which it gets its trace context. `cheap_to_poll`: polling the items is cheap enough for the
    /// calling thread.
    pub fn opening(
        opening: impl Future<Output = Result<Items, Failure>> + Send + 'static,
        cancel: Cancel,
        span: Option<Span>,
        cheap_to_poll: bool,
    ) -> Arc<Self> {
        let opening: Opening = match span {
            Some(span) => Box::pin(opening.instrument(span)),
            None => Box::pin(opening),
        };
        Self::build(State::Opening { opening, sent: false }, Some(cancel), cheap_to_poll)
    }

    fn build(state: State, cancel: Option<Cancel>, cheap_to_poll: bool) -> Arc<Self> {
        Arc::new(Self {
            state: tokio::sync::Mutex::new(state),
            cancel,
            cheap_to_poll,
            accepted: CancellationToken::new(),
            killed: CancellationToken::new(),
        })
    }

    /// Whether items may be available, and cheap to take on the calling thread.
    fn may_be_ready(&self) -> bool {
        self.cheap_to_poll && self.state.try_lock().is_ok_and(|state| matches!(*state, State::Open(_)))
    }

    /// Sends the request, if it was not sent before, and waits until its worker accepts it.
    async fn open(&self, state: &mut State) -> Result<(), Failure> {
        if let State::Opening { opening, sent } = state {
            *sent = true;
            let opened = opening.await;
            self.accepted.cancel();
            *state = State::Ended;
            *state = State::Open(opened?);
        }
        Ok(())
    }

    /// Stops the request. The producer may still finish, and its end arrives as usual. A request that was not sent is
    /// never sent.
    fn stop(&self) -> Result<(), Failure> {
        let unsent = self.state.try_lock().is_ok_and(|state| matches!(*state, State::Opening { sent: false, .. }));
        let Some(cancel) = self.cancel.clone().filter(|_| !unsent) else {
            self.kill();
            return Ok(());
        };
        if self.accepted.is_cancelled() {
            cancel.stop();
            return Ok(());
        }
        let accepted = self.accepted.clone();
        crate::process::handle()?.spawn(async move {
            let _ = tokio::time::timeout(ACCEPT_TIMEOUT, accepted.cancelled()).await;
            cancel.stop();
        });
        Ok(())
    }

    /// Ends the stream now.
    fn kill(&self) {
        self.killed.cancel();
        self.end_killed();
    }

    /// Called by `kill` and at the end of a pull. The later of the two gets the lock.
    fn end_killed(&self) {
        if self.killed.is_cancelled()
            && let Ok(mut state) = self.state.try_lock()
        {
            let _enter = crate::process::enter();
            state.end(self.cancel.as_ref());
        }
    }

    /// Waits for at least `min` items or the end. Then takes the available items, up to `max` items and `max_bytes`.
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
            // Dropping the items here, and not with the handle, notifies the producer at once.
            *state = State::Ended;
        }
        drop(state);
        self.end_killed();
        Ok(Reply::bytes(batch.finish(pulled)))
    }
}

/// This many items with data are more than a unary answer has. The request ends there.
const MAX_UNARY_VALUES: u32 = 2;

impl PullStream {
    /// The whole answer in one batch, with at most `MAX_UNARY_VALUES` items with data. It keeps at most one item
    /// without data, which shows that the answer had begun. No pull may run at the same time.
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
                if values == MAX_UNARY_VALUES {
                    break;
                }
            }
            Ok(true)
        }
        .await;
        if values < MAX_UNARY_VALUES {
            *state = State::Ended;
        }
        Reply::bytes(batch.finish(answered))
    }
}

/// The buffer that one pull returns.
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

    /// Returns true when the stream has ended.
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

/// Completes with a batch of items. `a`: the minimum of items to wait for. `b`: the maximum to take: the low 32 bits
/// are items, the high 32 bits are KiB.
/// Takes: handle stream, a minItems, b limits. Returns: bytes.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_stream_pull(call: &dyn_call) {
    let here = |call: &Call| call.handle::<PullStream>().is_ok_and(|stream| stream.may_be_ready());
    op_here_if(call, here, |call: &Call| {
        let stream = call.handle::<PullStream>()?;
        let (min, max, max_bytes) = (call.a() as usize, (call.b() as u32) as usize, (call.b() >> 32) as usize * 1024);
        Ok(async move { stream.pull(min, max, max_bytes).await })
    })
}

/// Cancels a stream. `a` = 0 stops it: the producer may still finish, and its end arrives as usual. `a` = 1 kills it:
/// the stream ends now.
/// Takes: handle stream, a isKill. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_stream_cancel(call: &dyn_call) -> dyn_reply {
    reply(call, |call| {
        let stream = call.handle::<PullStream>()?;
        match call.a() {
            0 => stream.stop()?,
            _ => stream.kill(),
        }
        Ok(Reply::unit())
    })
}

#[cfg(test)]
mod tests;
