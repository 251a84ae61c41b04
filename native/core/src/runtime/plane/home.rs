//! Where the workers of this process's requests connect to. Each request waits in the table of the process until its
//! worker has accepted it. Source of the rules: dynamo-runtime `pipeline/network/tcp/server.rs`.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use dynamo_runtime::discovery::EndpointInstanceId;
use dynamo_runtime::metrics::transport_metrics::TCP_ACCEPT_BACKOFF_TOTAL;
use futures::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::envelope::{KILL, subject_of};
use super::frames::{MAX_MESSAGE_BYTES, framed, read_more, take_frame};

/// As in the crates.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a removed instance gets no requests. It covers requests that have chosen it before. As in the crates.
const REMOVED_FOR: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// As in the crates. The kernel bounds it by `net.core.somaxconn`.
const BACKLOG: u32 = 4096;
/// Enough for the whole answer of a small request.
const FIRST_READ_BYTES: usize = 4 << 10;

/// The connection of a worker, and what was read of it after the handshake.
pub struct Arrived {
    pub socket: TcpStream,
    pub buffer: BytesMut,
}

impl Arrived {
    /// Ends a request that no caller waits for.
    fn refuse(self) {
        let _ = self.socket.try_write(&framed(KILL, b""));
    }
}

/// A request takes one connection. Others are refused.
#[derive(Default)]
enum Arrival {
    #[default]
    Awaited,
    Here(Arrived),
    Over,
}

#[derive(Default)]
struct Waiting {
    arrival: Mutex<Arrival>,
    is_removed: AtomicBool,
    waker: AtomicWaker,
}

impl Waiting {
    fn take(&self) -> Option<Arrived> {
        let mut arrival = self.arrival.lock();
        match std::mem::replace(&mut *arrival, Arrival::Over) {
            Arrival::Here(arrived) => Some(arrived),
            before => {
                *arrival = before;
                None
            }
        }
    }
}

/// An instance as one runtime of this process sees it. Others may see it longer, for example if that runtime is closed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    pub runtime: u64,
    pub instance: EndpointInstanceId,
}

struct Entry {
    waiting: Arc<Waiting>,
    target: Option<Target>,
}

#[derive(Default)]
struct Table {
    entries: HashMap<String, Entry>,
    /// When instances were removed from discovery.
    removed: HashMap<Target, Instant>,
}

static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(Default::default);

/// Ends the requests that wait for an instance, and refuses others for a short time. Returns how many it ended.
pub fn instance_removed(target: &Target) -> usize {
    let mut table = TABLE.lock();
    let now = Instant::now();
    table.removed.retain(|_, since| now.duration_since(*since) < REMOVED_FOR);
    table.removed.insert(target.clone(), now);
    let waits = |entry: &&Entry| entry.target.as_ref() == Some(target);
    let waiting: Vec<_> = table.entries.values().filter(waits).map(|entry| entry.waiting.clone()).collect();
    drop(table);
    for one in &waiting {
        one.is_removed.store(true, Release);
        one.waker.wake();
    }
    waiting.len()
}

pub fn instance_added(target: &Target) {
    TABLE.lock().removed.remove(target);
}

/// A request that waits for its worker. The drop forgets it.
pub struct Slot {
    pub subject: String,
    waiting: Arc<Waiting>,
}

/// The instance has left discovery.
#[derive(Debug, PartialEq, Eq)]
pub struct Removed;

impl Slot {
    /// Fails if the instance was removed a short time ago.
    pub fn new(target: Option<Target>) -> Result<Self, Removed> {
        let subject = uuid::Uuid::new_v4().to_string();
        let waiting = Arc::<Waiting>::default();
        let mut table = TABLE.lock();
        if let Some(target) = &target
            && table.removed.get(target).is_some_and(|since| since.elapsed() < REMOVED_FOR)
        {
            return Err(Removed);
        }
        table.entries.insert(subject.clone(), Entry { waiting: waiting.clone(), target });
        Ok(Self { subject, waiting })
    }

    /// Ready if the instance was removed. Wakes the task when that happens, or when the worker arrives.
    pub fn poll_removed(&self, cx: &mut Context<'_>) -> Poll<Removed> {
        self.waiting.waker.register(cx.waker());
        if self.waiting.is_removed.load(Acquire) {
            return Poll::Ready(Removed);
        }
        Poll::Pending
    }

    /// Waits for the worker's connection.
    pub async fn arrival(&self) -> Result<Arrived, Removed> {
        poll_fn(|cx| match self.poll_removed(cx) {
            Poll::Ready(removed) => Poll::Ready(Err(removed)),
            Poll::Pending => self.waiting.take().map_or(Poll::Pending, |arrived| Poll::Ready(Ok(arrived))),
        })
        .await
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        TABLE.lock().entries.remove(&self.subject);
        let last = std::mem::replace(&mut *self.waiting.arrival.lock(), Arrival::Over);
        if let Arrival::Here(arrived) = last {
            arrived.refuse();
        }
    }
}

/// Gives a connection to the request that waits for it.
fn deliver(subject: &str, arrived: Arrived) {
    let waiting = TABLE.lock().entries.get(subject).map(|entry| entry.waiting.clone());
    if let Some(waiting) = waiting {
        let mut arrival = waiting.arrival.lock();
        if matches!(*arrival, Arrival::Awaited) {
            *arrival = Arrival::Here(arrived);
            drop(arrival);
            return waiting.waker.wake();
        }
    }
    tracing::warn!("failed to handle tcp connection: Subject not found: {subject}");
    arrived.refuse();
}

static HOMES: LazyLock<Mutex<HashMap<IpAddr, SocketAddr>>> = LazyLock::new(Default::default);

/// The address at which this process awaits responses on a host. The first call listens.
pub fn address_on(host: IpAddr) -> io::Result<SocketAddr> {
    let mut homes = HOMES.lock();
    if let Some(address) = homes.get(&host) {
        return Ok(*address);
    }
    let socket = if host.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.bind(SocketAddr::new(host, 0))?;
    // Accepted connections inherit both. A caller closes first, and must keep no port for that.
    socket.set_nodelay(true)?;
    socket.set_zero_linger()?;
    let listener = socket.listen(BACKLOG)?;
    let address = listener.local_addr()?;
    tokio::spawn(accept(listener));
    homes.insert(host, address);
    Ok(address)
}

async fn accept(listener: TcpListener) {
    let mut pause = FIRST_PAUSE;
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                pause = FIRST_PAUSE;
                tokio::spawn(greet(socket));
            }
            // Of these the next call may succeed.
            Err(error) if is_of_the_peer(&error) => tracing::warn!(%error, "failed to accept tcp connection"),
            Err(error) => {
                TCP_ACCEPT_BACKOFF_TOTAL.inc();
                if pause == FIRST_PAUSE {
                    tracing::warn!(%error, "tcp accept failed; waiting before the next");
                }
                tokio::time::sleep(pause).await;
                pause = MAX_PAUSE.min(pause * 2);
            }
        }
    }
}

/// Whether an accept failed because of the connection, and not because of this process.
fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

async fn greet(socket: TcpStream) {
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake(socket)).await {
        Ok(Ok((subject, arrived))) => deliver(&subject, arrived),
        Ok(Err(error)) => tracing::warn!(%error, "failed to handle tcp connection"),
        Err(_) => tracing::warn!("failed to handle tcp connection: Timed out waiting for CallHomeHandshake"),
    }
}

async fn handshake(mut socket: TcpStream) -> io::Result<(String, Arrived)> {
    let mut buffer = BytesMut::with_capacity(FIRST_READ_BYTES);
    loop {
        if let Some(frame) = take_frame(&mut buffer, MAX_MESSAGE_BYTES)? {
            let wrong = || io::Error::new(io::ErrorKind::InvalidData, "the first message is no handshake");
            let subject = subject_of(&frame.header).ok_or_else(wrong)?;
            return Ok((subject, Arrived { socket, buffer }));
        }
        if poll_fn(|cx| read_more(&mut socket, &mut buffer, cx)).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

#[cfg(test)]
mod tests;
