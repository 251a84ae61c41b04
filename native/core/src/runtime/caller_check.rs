//! Finds out that a caller has left while its handler sends nothing.
//!
//! Upstream learns of a closed response connection by a notice of the caller or by a failed write. A caller that gives
//! up before its worker has accepted the request closes the connection at once, and the notice can be lost in a race
//! of the worker's reader and writer. A handler that only waits for its cancellation would wait forever. So a silent
//! answer sends an empty frame from time to time. Callers skip it, and its write fails if the connection is closed.
//! Source: dynamo-runtime `pipeline/network/tcp/client.rs` and `server.rs`.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::time::{Instant, Sleep};

/// A closed connection is found after one to three of these times: the first write to it may still succeed.
pub const SILENCE: Duration = Duration::from_secs(5);

/// An answer that sends an empty frame after each `silence` without an item.
pub struct CallerChecked<S: Stream> {
    items: S,
    silence: Duration,
    /// Makes the item that is sent as an empty frame.
    empty: fn() -> S::Item,
    /// Set when the answer was first waited for.
    timer: Option<Pin<Box<Sleep>>>,
    /// An item has come since the timer was set.
    is_heard: bool,
}

impl<S: Stream> CallerChecked<S> {
    pub fn new(items: S, silence: Duration, empty: fn() -> S::Item) -> Self {
        Self { items, silence, empty, timer: None, is_heard: false }
    }
}

impl<S: Stream + Unpin> Stream for CallerChecked<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = &mut *self;
        if let Poll::Ready(item) = this.items.poll_next_unpin(cx) {
            this.is_heard = true;
            return Poll::Ready(item);
        }
        let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(this.silence)));
        while timer.as_mut().poll(cx).is_ready() {
            timer.as_mut().reset(Instant::now() + this.silence);
            if !std::mem::take(&mut this.is_heard) {
                return Poll::Ready(Some((this.empty)()));
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests;
