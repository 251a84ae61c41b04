import type { WorkerMetrics } from './worker-messages.js';

const FRONTEND = 'dynamo_frontend_';
const COMPONENT = 'dynamo_component_';

/** The metrics that are summed over their labels. Source: `prometheus_names.rs` of dynamo-runtime. */
const SUMS = {
  requests: [`${COMPONENT}requests_total`, `${FRONTEND}requests_total`],
  requestsInFlight: [`${COMPONENT}inflight_requests`, `${FRONTEND}inflight_requests`],
  outputTokens: [`${FRONTEND}output_tokens_total`],
  firstTokenSeconds: [`${FRONTEND}time_to_first_token_seconds_sum`],
  firstTokens: [`${FRONTEND}time_to_first_token_seconds_count`],
  kvTotalBlocks: [`${COMPONENT}total_blocks`],
  transfers: [`${COMPONENT}kv_transfer_success_total`],
  transferFailures: [`${COMPONENT}kv_transfer_failures_total`],
  transferBytes: [`${COMPONENT}kv_transfer_bytes_sum`],
  transferSeconds: [`${COMPONENT}kv_transfer_latency_seconds_sum`],
} as const;

/** Shares, of which the mean over the ranks is taken. */
const MEANS = {
  kvUsage: [`${COMPONENT}gpu_cache_usage_percent`],
  kvHitRate: [`${COMPONENT}kv_cache_hit_rate`],
} as const;

const FIELDS: ReadonlyMap<string, string> = new Map(
  Object.entries({ ...SUMS, ...MEANS }).flatMap(([field, metrics]) =>
    metrics.map((metric) => [metric, field] as const),
  ),
);
const SAMPLES = new RegExp(`^(${[...FIELDS.keys()].join('|')})(?:\\{[^\\n]*\\})? (\\S+)$`, 'gm');

/** The figures of a worker in the text of its metrics. */
export function metricsFrom(text: string): WorkerMetrics {
  const values = new Map<string, number[]>();
  for (const [, metric, value] of text.matchAll(SAMPLES)) {
    const field = FIELDS.get(metric as string) as string;
    const found = values.get(field);
    if (found === undefined) values.set(field, [Number(value)]);
    else found.push(Number(value));
  }
  const sumOf = (field: string): number => (values.get(field) ?? []).reduce((sum, value) => sum + value, 0);
  const sums = Object.keys(SUMS).map((field) => [field, sumOf(field)]);
  const means = Object.keys(MEANS)
    .filter((field) => values.has(field))
    .map((field) => [field, sumOf(field) / (values.get(field)?.length ?? 1)]);
  return Object.fromEntries([...sums, ...means]) as unknown as WorkerMetrics;
}
