//! The connection of one response, at the caller. Source of the rules: dynamo-runtime `pipeline/network/tcp/server.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use dynamo_runtime::engine::AsyncEngineContext;
use futures::task::{AtomicWaker, noop_waker_ref};
use parking_lot::Mutex;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::envelope::{KILL, SENTINEL, STOP};
use super::frames::{Frame, UNLIMITED, framed, read_more, take_frame};
use super::home::Arrived;

/// How many frames the drop looks through for the end.
const MAX_SKIPPED: u32 = 16;

/// The way back to the worker. It is a child of the request's context, and forwards a stop and a kill at once, on the
/// thread that cancels and whether or not anything reads the response.
#[derive(Debug, Default)]
pub struct Link {
    writer: Mutex<Option<OwnedWriteHalf>>,
    is_stopped: AtomicBool,
    is_killed: AtomicBool,
    /// The task that reads the response.
    waker: AtomicWaker,
}

impl Link {
    /// Whether the request was cancelled. A context notifies its children before it changes itself.
    pub fn is_cancelled(&self) -> bool {
        self.is_stopped.load(Acquire) || self.is_killed.load(Acquire)
    }

    /// The socket has sent nothing before but a few such words, so it has space.
    fn send(&self, word: &[u8]) {
        if let Some(writer) = self.writer.lock().as_ref() {
            let _ = writer.try_write(&framed(word, b""));
        }
    }

    fn order_stop(&self) {
        if !self.is_killed.load(Acquire) && !self.is_stopped.swap(true, AcqRel) {
            self.send(STOP);
            self.waker.wake();
        }
    }

    /// Ends the response.
    pub fn order_kill(&self) {
        if !self.is_killed.swap(true, AcqRel) {
            self.send(KILL);
            self.waker.wake();
        }
    }

    /// The drop of the half ends its direction in order.
    fn close(&self) {
        drop(self.writer.lock().take());
    }
}

#[async_trait]
impl AsyncEngineContext for Link {
    fn id(&self) -> &str {
        ""
    }

    fn is_stopped(&self) -> bool {
        self.is_cancelled()
    }

    fn is_killed(&self) -> bool {
        self.is_killed.load(Acquire)
    }

    async fn stopped(&self) {
        std::future::pending().await
    }

    async fn killed(&self) {
        std::future::pending().await
    }

    fn stop_generating(&self) {
        self.order_stop();
    }

    fn stop(&self) {
        self.order_stop();
    }

    fn kill(&self) {
        self.order_kill();
    }

    fn link_child(&self, _: Arc<dyn AsyncEngineContext>) {}
}

/// Reads the frames of a response. The drop ends the request, unless the response has ended.
pub struct Reader {
    half: OwnedReadHalf,
    buffer: BytesMut,
    link: Arc<Link>,
    is_over: bool,
}

impl Reader {
    pub fn new(Arrived { socket, buffer }: Arrived, context: &dyn AsyncEngineContext) -> Self {
        let (half, writer) = socket.into_split();
        let link = Arc::new(Link { writer: Mutex::new(Some(writer)), ..Link::default() });
        context.link_child(link.clone());
        // A link learns nothing of what was before it.
        if context.is_killed() {
            link.order_kill();
        } else if context.is_stopped() {
            link.order_stop();
        }
        Self { half, buffer, link, is_over: false }
    }

    pub fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// The next frame. `None` if none follows, because the connection has ended or failed, or the request was killed.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        self.link.waker.register(cx.waker());
        while !self.is_over && !self.link.is_killed() {
            match take_frame(&mut self.buffer, UNLIMITED) {
                Ok(None) => {}
                Ok(frame) => return Poll::Ready(frame),
                Err(error) => return self.fail(&error.to_string()),
            }
            match ready!(read_more(&mut self.half, &mut self.buffer, cx)) {
                Ok(0) if self.buffer.is_empty() => self.is_over = true,
                Ok(0) => return self.fail("it ended inside a frame"),
                Ok(_) => {}
                Err(error) => return self.fail(&error.to_string()),
            }
        }
        Poll::Ready(None)
    }

    /// The data of the next item. `None` after the last.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        while let Some(Frame { header, data }) = ready!(self.poll_frame(cx)) {
            match &header[..] {
                // An empty frame only shows that the worker is there.
                b"" if data.is_empty() => {}
                b"" => return Poll::Ready(Some(data)),
                SENTINEL if data.is_empty() => self.is_over = true,
                _ => return self.fail("a message that no worker sends"),
            }
        }
        Poll::Ready(None)
    }

    /// The worker needs no order at the drop: it was cancelled before, or has ended by itself.
    pub fn leave(&mut self) {
        self.is_over = true;
    }

    fn fail<T>(&mut self, why: &str) -> Poll<Option<T>> {
        tracing::warn!("tcp stream read error from worker, closing connection: {why}");
        self.link.send(KILL);
        self.is_over = true;
        Poll::Ready(None)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // The end may be there, behind what was not read.
        let mut cx = Context::from_waker(noop_waker_ref());
        for _ in 0..MAX_SKIPPED {
            if !matches!(self.poll_data(&mut cx), Poll::Ready(Some(_))) {
                break;
            }
        }
        if !self.is_over {
            self.link.order_kill();
        }
        self.link.close();
    }
}
