import type { TrafficSample } from './core/types.js';
import { parseMetrics } from './prometheus.js';

const PREFIX = 'dynamo_frontend_';

/** The counters from which traffic is known. Source: `dynamo-runtime` `metrics/prometheus_names.rs`. */
const COUNTERS = {
  requests: 'requests_started_total',
  inputTokens: 'input_sequence_tokens_sum',
  inputs: 'input_sequence_tokens_count',
  cachedTokens: 'cached_tokens_sum',
  caches: 'cached_tokens_count',
  outputTokens: 'output_sequence_tokens_sum',
  outputs: 'output_sequence_tokens_count',
  ttftSeconds: 'time_to_first_token_seconds_sum',
  ttfts: 'time_to_first_token_seconds_count',
  itlSeconds: 'inter_token_latency_seconds_sum',
  itls: 'inter_token_latency_seconds_count',
} as const;

type Counters = Record<keyof typeof COUNTERS, number>;

const names = new Map<string, keyof Counters>(
  Object.entries(COUNTERS).map(([name, metric]) => [PREFIX + metric, name as keyof Counters]),
);

/** The counters of a frontend, summed over their labels. */
function countersOf(text: string, model: string | undefined): Counters {
  const counters = Object.fromEntries(Object.keys(COUNTERS).map((name) => [name, 0])) as Counters;
  for (const { name, labels, value } of parseMetrics(text, (each) => names.has(each))) {
    const counter = names.get(name);
    if (counter === undefined || !(value >= 0)) continue;
    if (model === undefined || labels['model'] === model) counters[counter] += value;
  }
  return counters;
}

/** The traffic of one frontend, from the counters in its metrics. A counter that falls has begun again at 0. */
export class FrontendTraffic {
  #before: { readonly counters: Counters; readonly atMs: number } | undefined;

  /** @param model only requests for this model count; all if undefined */
  constructor(private readonly model?: string) {}

  /** What happened since the last call. Undefined at the first call. */
  sample(text: string, nowMs: number): TrafficSample | undefined {
    const counters = countersOf(text, this.model);
    const before = this.#before;
    this.#before = { counters, atMs: nowMs };
    if (before === undefined || nowMs <= before.atMs) return undefined;
    const more = (name: keyof Counters): number => {
      const added = counters[name] - before.counters[name];
      return added < 0 ? counters[name] : added;
    };
    const mean = (name: string, sum: keyof Counters, count: keyof Counters, unit = 1): object =>
      more(count) > 0 ? { [name]: (more(sum) / more(count)) * unit } : {};
    return {
      durationMs: nowMs - before.atMs,
      requests: more('requests'),
      ...mean('inputTokens', 'inputTokens', 'inputs'),
      ...mean('outputTokens', 'outputTokens', 'outputs'),
      ...mean('ttftMs', 'ttftSeconds', 'ttfts', 1000),
      ...mean('itlMs', 'itlSeconds', 'itls', 1000),
      ...hitRateOf(more),
    };
  }
}

/** The share of prompt tokens that the engines found in their caches, of the requests of which it is known. */
function hitRateOf(more: (name: keyof Counters) => number): Pick<TrafficSample, 'hitRate'> {
  const [cached, input] = [more('cachedTokens') / more('caches'), more('inputTokens') / more('inputs')];
  return input > 0 && Number.isFinite(cached) ? { hitRate: Math.min(1, cached / input) } : {};
}

/** The traffic of several frontends together. The means are those of all their requests. */
export function joinedTraffic(samples: readonly TrafficSample[]): TrafficSample | undefined {
  if (samples.length === 0) return undefined;
  const requests = samples.reduce((sum, each) => sum + each.requests, 0);
  const mean = (name: 'inputTokens' | 'outputTokens' | 'ttftMs' | 'itlMs' | 'hitRate'): object => {
    const known = samples.filter((each) => each[name] !== undefined);
    const weight = known.reduce((sum, each) => sum + Math.max(1, each.requests), 0);
    const total = known.reduce((sum, each) => sum + Math.max(1, each.requests) * (each[name] ?? 0), 0);
    return known.length === 0 ? {} : { [name]: total / weight };
  };
  return {
    durationMs: Math.max(...samples.map(({ durationMs }) => durationMs)),
    requests,
    ...mean('inputTokens'),
    ...mean('outputTokens'),
    ...mean('ttftMs'),
    ...mean('itlMs'),
    ...mean('hitRate'),
  };
}
