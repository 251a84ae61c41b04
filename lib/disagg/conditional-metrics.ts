import type { PreprocessedRequest } from '../llm/protocol.js';
import type { Counter, Gauge, Histogram, Metrics } from '../runtime/metrics.js';
import { type ConditionalDecision, prefillPlaceOf } from './conditional.js';

/** Powers of 4 from 16 tokens to a million. */
const TOKEN_BUCKETS = Array.from({ length: 9 }, (_, power) => 16 * 4 ** power);

/** Who decided: the decode worker's `ConditionalDisaggregation`, or the router of a frontend. */
type Decider = 'worker' | 'router';

/**
 * Counts in Prometheus who prefilled, with the inputs of the decisions. The names begin with `dynamo_component_`:
 *
 * | Name | Type | Labels |
 * | --- | --- | --- |
 * | `conditional_disagg_decisions_total` | counter | `decider`, `place`, `reason` |
 * | `conditional_disagg_prefill_tokens` | histogram of the tokens to prefill | `decider`, `place` |
 * | `conditional_disagg_cached_tokens_total` | counter of cached tokens of the prompts | `decider`, `place` |
 * | `conditional_disagg_prefill_queue_size` | gauge: the queue at the last decision of a worker | none |
 * | `conditional_disagg_max_local_prefill_length`, `conditional_disagg_max_prefill_queue_size` | gauges | none |
 *
 * @example
 * import { ConditionalDisaggregation, ConditionalMetrics } from 'dynamo-node/disagg';
 *
 * const rule = new ConditionalDisaggregation();
 * const counts = new ConditionalMetrics(runtime.endpoint('dynamo.backend.generate').metrics);
 * counts.observe(rule.decide({ promptTokens: 2000, cachedTokens: 1600, prefillQueueSize: 0 }));
 */
export class ConditionalMetrics {
  readonly #decisions: Counter<'decider' | 'place' | 'reason'>;
  readonly #prefillTokens: Histogram<'decider' | 'place'>;
  readonly #cachedTokens: Counter<'decider' | 'place'>;
  readonly #queueSize: Gauge;
  readonly #maxLength: Gauge;
  readonly #maxQueueSize: Gauge;

  constructor(metrics: Metrics) {
    const name = (end: string) => `conditional_disagg_${end}`;
    this.#decisions = metrics.counter({
      name: name('decisions_total'),
      help: 'Prompts by who decided who prefills them, by the place, and by the reason.',
      labelNames: ['decider', 'place', 'reason'],
    });
    this.#prefillTokens = metrics.histogram({
      name: name('prefill_tokens'),
      help: 'Tokens to prefill: those of a prompt that the decode worker has not cached.',
      labelNames: ['decider', 'place'],
      buckets: TOKEN_BUCKETS,
    });
    this.#cachedTokens = metrics.counter({
      name: name('cached_tokens_total'),
      help: 'Tokens of prompts that the decode worker has cached.',
      labelNames: ['decider', 'place'],
    });
    this.#queueSize = metrics.gauge({
      name: name('prefill_queue_size'),
      help: 'Prompts that waited for prefill workers at the last decision of this worker.',
    });
    this.#maxLength = metrics.gauge({
      name: name('max_local_prefill_length'),
      help: 'This worker prefills up to this many uncached tokens itself.',
    });
    this.#maxQueueSize = metrics.gauge({
      name: name('max_prefill_queue_size'),
      help: 'This worker prefills while at least this many prompts wait for prefill workers.',
    });
  }

  /** Counts a decision of this worker. */
  observe(decision: ConditionalDecision): void {
    this.#count('worker', decision.place, decision.reason, decision.prefillTokens, decision.promptTokens);
    this.#queueSize.set(decision.prefillQueueSize);
    this.#maxLength.set(decision.maxLocalPrefillLength);
    this.#maxQueueSize.set(decision.maxPrefillQueueSize);
  }

  /**
   * Counts the decision that a frontend's router made for a request of this decode worker. `cachedTokens` are those of
   * the prompt that this worker has. A request without a decision, because there is no prefill worker, has the place
   * `local` and the reason `no-prefill-worker`.
   */
  observeRequest(request: PreprocessedRequest, cachedTokens: number): void {
    const place = prefillPlaceOf(request);
    const tokens = request.token_ids.length;
    const prefillTokens = Math.max(0, tokens - cachedTokens);
    this.#count(
      'router',
      place ?? 'local',
      place === undefined ? 'no-prefill-worker' : 'policy',
      prefillTokens,
      tokens,
    );
  }

  #count(decider: Decider, place: string, reason: string, prefillTokens: number, promptTokens: number): void {
    this.#decisions.increment(1, { decider, place, reason });
    this.#prefillTokens.observe(prefillTokens, { decider, place });
    this.#cachedTokens.increment(promptTokens - prefillTokens, { decider, place });
  }
}
