import type { WorkerMetrics } from './worker-messages.js';

/** Sums the samples of some metrics in the text form of Prometheus. */
function sumOf(text: string, ...names: readonly string[]): number {
  const samples = text.matchAll(new RegExp(`^(?:${names.join('|')})(?:\\{[^\\n]*\\})? (\\S+)$`, 'gm'));
  return [...samples].reduce((sum, [, value]) => sum + Number(value), 0);
}

/** The figures of a worker in the text of its metrics. Source: `prometheus_names.rs` of dynamo-runtime. */
export function metricsFrom(text: string): WorkerMetrics {
  return {
    requests: sumOf(text, 'dynamo_component_requests_total', 'dynamo_frontend_requests_total'),
    requestsInFlight: sumOf(text, 'dynamo_component_inflight_requests', 'dynamo_frontend_inflight_requests'),
    outputTokens: sumOf(text, 'dynamo_frontend_output_tokens_total'),
    firstTokenSeconds: sumOf(text, 'dynamo_frontend_time_to_first_token_seconds_sum'),
    firstTokens: sumOf(text, 'dynamo_frontend_time_to_first_token_seconds_count'),
  };
}
