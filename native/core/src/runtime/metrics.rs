use std::sync::Arc;

use dynamo_runtime::metrics::MetricsHierarchy;
use parking_lot::Mutex;
use prometheus::{CounterVec, GaugeVec, HistogramVec};
use serde::Deserialize;

use super::Runtime;
use super::endpoint::{Path, Place};
use crate::abi::{Call, Failure, Handle, Reply, dyn_call, dyn_reply, reply};

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
    /// Labels given with each value.
    #[serde(default)]
    label_names: Vec<String>,
    /// Labels fixed for the metric.
    #[serde(default)]
    labels: Vec<(String, String)>,
    buckets: Option<Vec<f64>>,
}

/// Makes a metric at a place of the runtime's hierarchy. Gives a `Metric`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_runtime_metric(call: *const dyn_call) -> dyn_reply {
    unsafe {
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
                "histogram" => {
                    Metric::Histogram(metrics.create_histogramvec(name, help, &names, &fixed, args.buckets)?)
                }
                other => {
                    return Err(Failure::invalid(format!("kind: expected counter, gauge or histogram, got {other}")));
                }
            };
            Ok(Reply::handle(Handle::new(Arc::new(metric))))
        })
    }
}

#[derive(Deserialize)]
struct Change {
    /// `add`, `set` or `observe`.
    verb: String,
    value: f64,
    #[serde(default)]
    labels: Vec<String>,
}

/// `args`: `{verb, value, labels}` with the labels' values in the order of their names.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_metric_change(call: *const dyn_call) -> dyn_reply {
    unsafe {
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
}

/// Prometheus text of the host's own, appended to what `/metrics` shows.
pub struct MetricsText(Mutex<String>);

/// `args`: a place. Gives a `MetricsText`, whose last text every scrape reads: no scrape ever waits for the host.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_runtime_metrics_text(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call: &Call| {
            let runtime = call.handle::<Runtime>()?;
            let place = call.args::<Path>()?.place(&runtime)?;
            let text = Arc::new(MetricsText(Mutex::default()));
            let scraped = Arc::downgrade(&text);
            place.hierarchy().get_metrics_registry().add_expfmt_callback(Arc::new(move || {
                Ok(scraped.upgrade().map(|text| text.0.lock().clone()).unwrap_or_default())
            }));
            Ok(Reply::handle(Handle::new(text)))
        })
    }
}

/// The payload is the new text, in UTF-8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_metrics_text_set(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call: &Call| {
            let text = std::str::from_utf8(call.payload())
                .map_err(|error| Failure::invalid(format!("text: expected UTF-8: {error}")))?;
            *call.handle::<MetricsText>()?.0.lock() = text.to_string();
            Ok(Reply::unit())
        })
    }
}

/// All metrics of the runtime, as Prometheus text in UTF-8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_runtime_metrics(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call: &Call| {
            let runtime = call.handle::<Runtime>()?;
            Ok(Reply::bytes(runtime.drt.metrics().prometheus_expfmt()?.into_bytes()))
        })
    }
}
