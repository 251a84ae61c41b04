//! The log lines of the crates. They are kept in a bounded ring, and the host pulls them in batches. Upstream's
//! initializer is not used: it writes to stderr, exits the process on a bad setting, and cannot disable single targets.
//! The spans of requests always exist, because they carry the trace context (`crate::trace`).

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::{Arc, LazyLock};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Notify;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::abi::{Call, Failure, Handle, Reply, dyn_call, dyn_reply, reply};
use crate::lost_files::{RestoreFiles, is_report};
use crate::stream::{Item, PullStream};
use crate::trace::{CarriersToo, Traces};

/// The lines that are kept until they are read. If there are more, the oldest are dropped and counted.
const CAPACITY: usize = 4096;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    level: &'static str,
    target: String,
    message: String,
    /// Milliseconds since 1970.
    time: f64,
    /// Lines lost before this one.
    dropped: u64,
}

#[derive(Default)]
struct Lines {
    kept: VecDeque<Line>,
    /// How many lines were dropped before the first of `kept`.
    lost: u64,
}

impl Lines {
    fn push(&mut self, line: Line) {
        if self.kept.len() == CAPACITY {
            self.kept.pop_front();
            self.lost += 1;
        }
        self.kept.push_back(line);
    }

    fn pop(&mut self) -> Option<Line> {
        let mut line = self.kept.pop_front()?;
        line.dropped = std::mem::take(&mut self.lost);
        Some(line)
    }
}

#[derive(Default)]
struct Ring {
    lines: Mutex<Lines>,
    arrived: Notify,
}

static RING: LazyLock<Arc<Ring>> = LazyLock::new(Default::default);

struct ToRing;

#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let separator = if self.0.is_empty() { "" } else { " " };
        let _ = match field.name() {
            "message" => write!(self.0, "{separator}{value:?}"),
            name => write!(self.0, "{separator}{name}={value:?}"),
        };
    }
}

impl<S: tracing::Subscriber> Layer<S> for ToRing {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        // These pass the filter in any case.
        if is_report(event.metadata()) && *READERS.lock() == 0 {
            return;
        }
        let mut message = Message::default();
        event.record(&mut message);
        let line = Line {
            level: event.metadata().level().as_str(),
            target: event.metadata().target().to_string(),
            message: message.0,
            time: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64() * 1000.0),
            dropped: 0,
        };
        RING.lines.lock().push(line);
        RING.arrived.notify_waiters();
    }
}

async fn next(ring: Arc<Ring>) -> Option<(Result<Item, Failure>, Arc<Ring>)> {
    let line = loop {
        let arrived = ring.arrived.notified();
        tokio::pin!(arrived);
        // From here on it is notified of new lines, also of a line that another reader takes.
        arrived.as_mut().enable();
        if let Some(line) = ring.lines.lock().pop() {
            break line;
        }
        arrived.await;
    };
    let item = rmp_serde::to_vec_named(&line).map(|bytes| Item::Data(bytes.into())).map_err(Failure::internal);
    Some((item, ring))
}

fn filter(directives: &str) -> Result<EnvFilter, Failure> {
    EnvFilter::try_new(directives).map_err(|error| Failure::invalid(format!("filter: {error}")))
}

/// The filter of the log of the process. Until the log is opened, only the spans that carry trace contexts pass.
static FILTER: LazyLock<Option<reload::Handle<EnvFilter, Registry>>> = LazyLock::new(|| {
    let (filter, handle) = reload::Layer::new(filter("off").ok()?);
    let subscriber = Registry::default().with(CarriersToo(filter)).with(Traces).with(RestoreFiles).with(ToRing);
    tracing::subscriber::set_global_default(subscriber).ok()?;
    Some(handle)
});

/// Installs the log of the process. From then on the trace contexts of requests are kept. Idempotent.
pub fn install() {
    LazyLock::force(&FILTER);
}

/// The number of readers of the log.
static READERS: Mutex<usize> = Mutex::new(0);

/// A reader of the log. When the last reader is dropped, the log is filtered out and its lines are removed.
struct Reader;

impl Reader {
    fn open(wanted: EnvFilter) -> Result<Self, Failure> {
        let mut readers = READERS.lock();
        if let Some(handle) = FILTER.as_ref() {
            handle.reload(wanted).map_err(Failure::internal)?;
        }
        *readers += 1;
        Ok(Self)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut readers = READERS.lock();
        *readers -= 1;
        if *readers > 0 {
            return;
        }
        if let (Some(handle), Ok(off)) = (FILTER.as_ref(), filter("off")) {
            let _ = handle.reload(off);
        }
        *RING.lines.lock() = Lines::default();
    }
}

/// Opens the log of the process. The payload is a filter in the syntax of `DYN_LOG` (`info`, `warn,dynamo_llm=debug`),
/// which also replaces the filter of the other readers. Returns a `PullStream` of lines `{level, target, message, time,
/// dropped}`. Each line goes to one reader. If another library installed a log before, that log and its filter stay.
/// Takes: payload bytes. Returns: handle stream.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_log_open(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let reader = Reader::open(filter(std::str::from_utf8(call.payload()).unwrap_or_default())?)?;
        let lines = futures::stream::unfold((RING.clone(), reader), |(ring, reader)| async move {
            next(ring).await.map(|(line, ring)| (line, (ring, reader)))
        });
        Ok(Reply::handle(Handle::new(PullStream::new(Box::pin(lines)))))
    })
}

#[cfg(test)]
mod tests;
