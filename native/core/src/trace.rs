//! W3C trace context. The crates keep it in the extensions of spans and send it in the headers of the request plane.
//! The crates' layer creates a context for every request, and panics without OpenTelemetry's layer. This layer replaces
//! it: it forwards the received context and creates none.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use dynamo_runtime::logging::{DistributedTraceContext, get_distributed_tracing_context, parse_traceparent};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Metadata, Span, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::lost_files::is_report;

/// The target of the crates' request spans.
const TARGET: &str = "request_span";

/// The metadata keys of the trace context. The host reads them from a request and sets them on another.
const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// The type has private fields, so a new one starts as a copy of this.
static EMPTY: LazyLock<DistributedTraceContext> = LazyLock::new(|| {
    serde_json::from_value(serde_json::json!({ "trace_id": "", "span_id": "" }))
        .expect("both fields that it needs are given")
});

/// The fields of the crates' spans that make up a context.
const FIELDS: [&str; 7] =
    ["trace_id", "span_id", "parent_id", "trace_flags", "tracestate", "x_request_id", "request_id"];

#[derive(Default)]
struct Fields([Option<String>; FIELDS.len()]);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        if let Some(at) = FIELDS.iter().position(|name| *name == field.name()) {
            self.0[at] = Some(value.to_string());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if FIELDS.contains(&field.name()) {
            self.record_str(field, &format!("{value:?}"));
        }
    }
}

/// Stores the trace context in each span of a traced request.
pub struct Traces;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Traces {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let Fields([trace_id, span_id, parent_id, trace_flags, tracestate, x_request_id, request_id]) = fields;
        // No span of this process is exported, so none of them can be a parent. The caller's span stays the parent.
        let made = match (trace_id, span_id.or(parent_id)) {
            (Some(trace_id), Some(span_id)) => {
                let mut made = EMPTY.clone();
                (made.trace_id, made.span_id, made.tracestate) = (trace_id, span_id, tracestate);
                (made.x_request_id, made.request_id) = (x_request_id, request_id);
                made.trace_flags = trace_flags.unwrap_or(made.trace_flags);
                made
            }
            _ => match span.parent().and_then(|parent| parent.extensions().get::<DistributedTraceContext>().cloned()) {
                Some(inherited) => inherited,
                None => return,
            },
        };
        span.extensions_mut().insert(made);
    }
}

/// The spans in which a trace context is received, or sent by the host. The list is short because each span costs every
/// request its fields.
const CARRIERS: [&str; 3] = ["handle_payload", "http-request", "client_request"];

/// Whether a span is that of a request to this process. The crates serve the request inside it.
pub fn is_request(metadata: &Metadata<'_>) -> bool {
    carries(metadata) && metadata.name() == CARRIERS[0]
}

fn carries(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target() == TARGET && CARRIERS.contains(&metadata.name())
}

fn passes(metadata: &Metadata<'_>) -> bool {
    carries(metadata) || is_report(metadata)
}

/// A filter that always passes the spans that carry trace contexts, and the reports of lost files.
pub struct CarriersToo<L>(pub L);

impl<S: Subscriber, L: Layer<S>> Layer<S> for CarriersToo<L> {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        let interest = self.0.register_callsite(metadata);
        if passes(metadata) { Interest::always() } else { interest }
    }

    fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
        passes(metadata) || self.0.enabled(metadata, context)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.0.max_level_hint().map(|hint| hint.max(LevelFilter::INFO))
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.0.on_new_span(attributes, id, context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        self.0.on_record(id, values, context);
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        self.0.on_enter(id, context);
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        self.0.on_exit(id, context);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        self.0.on_close(id, context);
    }
}

/// Adds the received trace context to the metadata of a request, if the metadata have none.
pub fn add_received(metadata: &mut BTreeMap<String, String>) {
    if metadata.contains_key(TRACEPARENT) {
        return;
    }
    if let Some(context) = get_distributed_tracing_context() {
        metadata.insert(TRACEPARENT.into(), context.create_traceparent());
        if let Some(state) = context.tracestate {
            metadata.insert(TRACESTATE.into(), state);
        }
    }
}

/// The span to send a request in. It puts the trace context of the metadata into the headers. `None` if the metadata
/// have no valid trace context.
pub fn outgoing_span(metadata: &BTreeMap<String, String>) -> Option<Span> {
    let (trace_id, span_id, flags) = parse_traceparent(metadata.get(TRACEPARENT)?);
    // A span that is disabled reads no field.
    let (trace_id, span_id, trace_flags) = (trace_id?, span_id?, flags?);
    Some(tracing::info_span!(
        target: TARGET,
        "client_request",
        trace_id,
        span_id,
        trace_flags,
        tracestate = metadata.get(TRACESTATE),
    ))
}

#[cfg(test)]
mod tests;
