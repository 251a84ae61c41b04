//! The crates' metrics and log lines of a served endpoint, under their names. Source: dynamo-runtime
//! `pipeline/network/ingress/push_handler.rs`.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use anyhow::{Result, anyhow};
use dynamo_runtime::component::Endpoint;
use dynamo_runtime::engine::AsyncEngineContext;
use dynamo_runtime::metrics::MetricsHierarchy;
use dynamo_runtime::metrics::prometheus_names::work_handler::error_types;
use dynamo_runtime::metrics::work_handler_perf::{
    WORK_HANDLER_NETWORK_TRANSIT_SECONDS, WORK_HANDLER_TIME_TO_FIRST_RESPONSE_SECONDS,
    ensure_work_handler_perf_metrics_registered,
};
use dynamo_runtime::metrics::work_handler_pool::ensure_work_handler_pool_metrics_registered;
use dynamo_runtime::pipeline::network::ingress::push_handler::WorkHandlerMetrics;
use tokio::sync::Notify;

use super::clock::since_epoch_ns;
use super::envelope::Foreign;

#[derive(Default)]
pub struct Meter {
    metrics: OnceLock<WorkHandlerMetrics>,
    /// Resets the timer of the endpoint's health check.
    healthy: OnceLock<Arc<Notify>>,
}

/// A request that is being answered. The drop counts its end.
pub struct Counted<'a> {
    metrics: Option<&'a WorkHandlerMetrics>,
    request_id: Option<&'a str>,
    pub started: Instant,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let Some(metrics) = self.metrics else { return };
        metrics.inflight_requests.dec();
        metrics.request_duration.observe(self.started.elapsed().as_secs_f64());
        if let Some(request_id) = self.request_id {
            tracing::info!(request_id, "request completed");
        }
    }
}

impl Counted<'_> {
    /// The handler has begun, and its caller is about to learn of it.
    pub fn accepted(&self) {
        WORK_HANDLER_TIME_TO_FIRST_RESPONSE_SECONDS.observe(self.started.elapsed().as_secs_f64());
    }
}

impl Meter {
    pub fn register(&self, endpoint: &Endpoint, labels: Option<&[(&str, &str)]>) -> Result<()> {
        let metrics = WorkHandlerMetrics::from_endpoint(endpoint, labels)
            .map_err(|error| anyhow!("Failed to create work handler metrics: {error}"))?;
        ensure_work_handler_perf_metrics_registered(endpoint.get_metrics_registry());
        ensure_work_handler_pool_metrics_registered(endpoint.get_metrics_registry());
        self.metrics.set(metrics).map_err(|_| anyhow!("Metrics already set"))
    }

    pub fn set_healthy(&self, notifier: Arc<Notify>) -> Result<()> {
        self.healthy.set(notifier).map_err(|_| anyhow!("Endpoint health check notifier already set"))
    }

    pub fn begin<'a>(&'a self, bytes: usize, request_id: Option<&'a str>) -> Counted<'a> {
        let metrics = self.metrics.get();
        if let Some(metrics) = metrics {
            metrics.request_counter.inc();
            metrics.inflight_requests.inc();
            metrics.request_bytes.inc_by(bytes as u64);
            if let Some(request_id) = request_id {
                tracing::info!(request_id, "request received");
            }
        }
        Counted { metrics, request_id, started: Instant::now() }
    }

    /// The time of a request on the wire, by the clocks of both hosts.
    pub fn sent_at(&self, sent_ns: Option<u64>) {
        if let Some(sent_ns) = sent_ns {
            let transit_ns = since_epoch_ns().saturating_sub(sent_ns);
            WORK_HANDLER_NETWORK_TRANSIT_SECONDS.observe(transit_ns as f64 / 1e9);
        }
    }

    pub fn responded(&self, bytes: usize) {
        if let Some(metrics) = self.metrics.get() {
            metrics.response_bytes.inc_by(bytes as u64);
        }
    }

    pub fn note_health(&self) {
        if let Some(healthy) = self.healthy.get() {
            healthy.notify_one();
        }
    }

    /// `kind`: one of `error_types`.
    pub fn failed(&self, kind: &str) {
        if let Some(metrics) = self.metrics.get() {
            metrics.error_counter.with_label_values(&[kind]).inc();
        }
    }

    pub fn foreign(&self, foreign: &Foreign) {
        match foreign {
            Foreign::InvalidMessage => self.failed(error_types::INVALID_MESSAGE),
            Foreign::Deserialization => self.failed(error_types::DESERIALIZATION),
            Foreign::ResponseStream => self.failed(error_types::RESPONSE_STREAM),
            Foreign::NoFrame | Foreign::OtherKind => {}
        }
    }

    pub fn cancelled(&self) {
        if let Some(metrics) = self.metrics.get() {
            metrics.cancellation_total.inc();
        }
    }
}

/// The crates' log line of a cancellation.
pub fn log_cancellation(context: &dyn AsyncEngineContext, signal: &'static str) {
    tracing::info!(
        target: "request_span",
        {
            request_id = context.id(),
            { "cancellation.signal" } = signal,
            { "cancellation.source" } = "upstream"
        },
        "request cancellation received"
    );
}
