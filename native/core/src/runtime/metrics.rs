use std::sync::Arc;
use std::time::Duration;

use dynamo_runtime::metrics::MetricsHierarchy;
use parking_lot::Mutex;
use prometheus::{CounterVec, GaugeVec, HistogramVec};
use serde::Deserialize;

use super::Runtime;
use super::endpoint::{Path, Place};
use crate::abi::{Call, Failure, Handle, Reply, dyn_call, dyn_reply, reply};
use crate::blocking_call::{Outcome, blocking_call};
use crate::inbox::{Inbox, Request};

impl Place {
    fn hierarchy(&self) -> &dyn MetricsHierarchy {
        match self {
            Place::Runtime(runtime) => &runtime.drt,
            Place::Namespace(namespace) => namespace,
            Place::Component(component) => component,
            Place::Endpoint(endpoint) => endpoint,
        }
    }
}

pub enum Metric {
    Counter(CounterVec),
    Gauge(GaugeVec),
    Histogram(HistogramVec),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetricArgs {
    #[serde(flatten)]
    path: Path,
    kind: String,
    name: String,
    help: String,
    /// The labels that each value sets.
    #[serde(default)]
    label_names: Vec<String>,
    /// The labels that are fixed for the metric.
    #[serde(default)]
    labels: Vec<(String, String)>,
    buckets: Option<Vec<f64>>,
}

/// Makes a metric at a place of the hierarchy of the runtime. Returns a `Metric`.
/// Takes: handle runtime, args bytes. Returns: handle metric.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_runtime_metric(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let runtime = call.handle::<Runtime>()?;
        let args = call.args::<MetricArgs>()?;
        let place = args.path.place(&runtime)?;
        let hierarchy = place.hierarchy();
        let metrics = MetricsHierarchy::metrics(&hierarchy);
        let names: Vec<&str> = args.label_names.iter().map(String::as_str).collect();
        let fixed: Vec<(&str, &str)> = args.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let (name, help) = (args.name.as_str(), args.help.as_str());
        let metric = match args.kind.as_str() {
            "counter" => Metric::Counter(metrics.create_countervec(name, help, &names, &fixed)?),
            "gauge" => Metric::Gauge(metrics.create_gaugevec(name, help, &names, &fixed)?),
            "histogram" => Metric::Histogram(metrics.create_histogramvec(name, help, &names, &fixed, args.buckets)?),
            other => {
                return Err(Failure::invalid(format!("kind: expected counter, gauge or histogram, got {other}")));
            }
        };
        Ok(Reply::handle(Handle::new(Arc::new(metric))))
    })
}

#[derive(Deserialize)]
struct Change {
    /// `add`, `set` or `observe`.
    verb: String,
    value: f64,
    #[serde(default)]
    labels: Vec<String>,
}

/// Changes a metric. `args`: `{verb, value, labels}`. `labels` has the values in the order of the label names.
/// Takes: handle metric, args bytes. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_metric_change(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let metric = call.handle::<Metric>()?;
        let change = call.args::<Change>()?;
        let labels: Vec<&str> = change.labels.iter().map(String::as_str).collect();
        let wrong = |error: prometheus::Error| Failure::invalid(format!("labels: {error}"));
        match (&*metric, change.verb.as_str()) {
            (Metric::Counter(counter), "add") if change.value >= 0.0 => {
                counter.get_metric_with_label_values(&labels).map_err(wrong)?.inc_by(change.value)
            }
            (Metric::Counter(_), "add") => {
                return Err(Failure::invalid(format!("value: expected 0 or more for a counter, got {}", change.value)));
            }
            (Metric::Gauge(gauge), "add") => {
                gauge.get_metric_with_label_values(&labels).map_err(wrong)?.add(change.value)
            }
            (Metric::Gauge(gauge), "set") => {
                gauge.get_metric_with_label_values(&labels).map_err(wrong)?.set(change.value)
            }
            (Metric::Histogram(histogram), "observe") => {
                histogram.get_metric_with_label_values(&labels).map_err(wrong)?.observe(change.value)
            }
            (_, verb) => return Err(Failure::invalid(format!("verb: this metric cannot {verb}"))),
        }
        Ok(Reply::unit())
    })
}

/// Prometheus text of the host, which is appended to `/metrics`.
pub struct MetricsText {
    last: Mutex<String>,
    /// The inbox of the calls that make the host render the text, and how long a scrape waits for it.
    renderer: Option<(Arc<Inbox>, Duration)>,
}

/// The capacity of an answer to `render`. The answer is empty: the host sets the text.
const ANSWER_BYTES: usize = 1 << 10;

impl MetricsText {
    /// The text for a scrape. A scrape on the host's own thread cannot wait for the host, so it gets the last text.
    fn scraped(&self) -> anyhow::Result<String> {
        if let Some((inbox, limit)) = &self.renderer
            && tokio::runtime::Handle::try_current().is_ok()
            && let Outcome::Failed(failure) = blocking_call(inbox, Request::new("render", Vec::new()), *limit)
        {
            anyhow::bail!(failure.message);
        }
        Ok(self.last.lock().clone())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetricsTextArgs {
    #[serde(flatten)]
    path: Path,
    /// If set, each scrape calls the host to render the text, and waits at most this long.
    timeout_ms: Option<u64>,
}

/// Returns a `MetricsText`, whose text every scrape includes. With `timeLimitMs` it also returns the `Inbox` of the
/// `render` calls.
/// Takes: handle runtime, args bytes. Returns: handle metricsText or nothing, handle metricsText, handle inbox.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_runtime_metrics_text(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let runtime = call.handle::<Runtime>()?;
        let args = call.args::<MetricsTextArgs>()?;
        let place = args.path.place(&runtime)?;
        let renderer = args.timeout_ms.map(|ms| (Inbox::new(ANSWER_BYTES), Duration::from_millis(ms)));
        let inbox = renderer.as_ref().map(|(inbox, _)| Handle::new(inbox.clone()));
        let text = Arc::new(MetricsText { last: Mutex::default(), renderer });
        let scraped = Arc::downgrade(&text);
        place.hierarchy().get_metrics_registry().add_expfmt_callback(Arc::new(move || {
            scraped.upgrade().map_or_else(|| Ok(String::new()), |text| text.scraped())
        }));
        Ok(Reply::with_handles(Vec::new(), [Handle::new(text)].into_iter().chain(inbox).collect()))
    })
}

/// Sets the text. The payload is UTF-8.
/// Takes: handle metricsText, payload bytes. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_metrics_text_set(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let text = std::str::from_utf8(call.payload())
            .map_err(|error| Failure::invalid(format!("text: expected UTF-8: {error}")))?;
        *call.handle::<MetricsText>()?.last.lock() = text.to_string();
        Ok(Reply::unit())
    })
}

/// Returns all metrics of the runtime, as Prometheus text in UTF-8.
/// Takes: handle runtime. Returns: bytes or nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_runtime_metrics(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let runtime = call.handle::<Runtime>()?;
        Ok(Reply::bytes(runtime.drt.metrics().prometheus_expfmt()?.into_bytes()))
    })
}
