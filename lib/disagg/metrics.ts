import type { Counter, Histogram, Metrics } from '../runtime/metrics.js';
import type { HandoffReason } from './errors.js';
import type { KvTransferReport } from './report.js';

/** Buckets of durations. */
export const SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const BYTES = Array.from({ length: 11 }, (_, index) => 4 ** (index + 6));
const TOKENS = Array.from({ length: 15 }, (_, index) => 2 ** (index + 3));

/**
 * The metrics of a prefill worker's offers. Metrics that Dynamo knows too have the name of `prometheusNames`, without a
 * prefix for the engine.
 */
export class OfferMetrics {
  readonly #prefill: Histogram;
  readonly #cached: Histogram;
  readonly #offers: Counter<'outcome'>;
  readonly #duration: Histogram;

  constructor(metrics: Metrics) {
    this.#prefill = metrics.histogram({
      name: 'prefill_seconds',
      help: 'Time from the start of a prefill to its offer.',
      buckets: SECONDS,
    });
    this.#cached = metrics.histogram({
      name: 'cached_tokens',
      help: 'Prompt tokens that the worker had cached.',
      buckets: TOKENS,
    });
    this.#offers = metrics.counter({
      name: 'kv_offers_total',
      help: 'Offers of KV blocks by how they ended.',
      labelNames: ['outcome'],
    });
    this.#duration = metrics.histogram({
      name: 'kv_offer_seconds',
      help: 'Time from an offer to its end.',
      buckets: SECONDS,
    });
  }

  offered(prefillSeconds: number, cachedTokens: number): void {
    this.#prefill.observe(prefillSeconds);
    this.#cached.observe(cachedTokens);
  }

  ended(outcome: string, seconds: number): void {
    this.#offers.increment(1, { outcome });
    this.#duration.observe(seconds);
  }
}

/** The metrics of a decode worker's transfers. */
export class TransferMetrics {
  readonly #success: Counter;
  readonly #failures: Counter<'reason'>;
  readonly #latency: Histogram;
  readonly #bytes: Histogram;
  readonly #speed: Histogram;
  readonly #handoff: Histogram;
  readonly #wait: Histogram;
  readonly #cached: Histogram;

  constructor(metrics: Metrics) {
    this.#success = metrics.counter({ name: 'kv_transfer_success_total', help: 'Handoffs that were read.' });
    this.#failures = metrics.counter({
      name: 'kv_transfer_failures_total',
      help: 'Handoffs that failed, by reason.',
      labelNames: ['reason'],
    });
    this.#latency = metrics.histogram({
      name: 'kv_transfer_latency_seconds',
      help: 'Time of the read of the KV blocks of a request.',
      buckets: SECONDS,
    });
    this.#bytes = metrics.histogram({
      name: 'kv_transfer_bytes',
      help: 'Bytes of KV blocks read for a request.',
      buckets: BYTES,
    });
    this.#speed = metrics.histogram({
      name: 'kv_transfer_speed_gb_s',
      help: 'Speed of the read of the KV blocks of a request.',
      buckets: [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500],
    });
    this.#handoff = metrics.histogram({
      name: 'kv_handoff_seconds',
      help: 'Time from the handoff to the blocks in place.',
      buckets: SECONDS,
    });
    this.#wait = metrics.histogram({
      name: 'prefill_wait_seconds',
      help: 'Time that decode waited for the offer of the prefill worker.',
      buckets: SECONDS,
    });
    this.#cached = metrics.histogram({
      name: 'cached_tokens',
      help: 'Prompt tokens that the worker had cached.',
      buckets: TOKENS,
    });
  }

  done({ bytes, transferMs, handoffMs, waitMs, cachedTokens }: KvTransferReport): void {
    this.#success.increment();
    this.#cached.observe(cachedTokens);
    this.#handoff.observe(handoffMs / 1000);
    if (waitMs > 0) this.#wait.observe(waitMs / 1000);
    if (bytes === 0) return;
    this.#bytes.observe(bytes);
    this.#latency.observe(transferMs / 1000);
    this.#speed.observe(bytes / transferMs / 1e6);
  }

  failed(reason: HandoffReason | 'cancelled' | 'other'): void {
    this.#failures.increment(1, { reason });
  }
}
