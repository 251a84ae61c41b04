import type { PoolPlan, ResolvedPlan } from './config.js';
import type { PoolRole, WorkerSnapshot } from './types.js';

/** A load from which workers are added, and one up to which they are removed. */
export interface Threshold {
  readonly up: number;
  readonly down: number;
}

type Measure = 'prefill' | 'decode';

/**
 * Thresholds of the objectives, in contexts that wait and in the used share of the KV cache. Source: the planner of
 * 1.6.
 */
const THRESHOLDS: Readonly<Record<'throughput' | 'latency', Readonly<Record<Measure, Threshold>>>> = {
  throughput: { prefill: { up: 1, down: 0.1 }, decode: { up: 1, down: 0.6 } },
  latency: { prefill: { up: 0.1, down: 0 }, decode: { up: 0.4, down: 0.1 } },
};

const measureOf = (role: PoolRole): Measure => (role === 'prefill' ? 'prefill' : 'decode');

/** The thresholds of a role. For objective `sla` those of `throughput`, which serve until a model is learned. */
export function thresholdOf(plan: ResolvedPlan, pool: PoolPlan): Threshold {
  const measure = measureOf(pool.role);
  const { objective, thresholds } = plan;
  if (objective !== 'load' || thresholds === undefined)
    return THRESHOLDS[objective === 'latency' ? 'latency' : 'throughput'][measure];
  return measure === 'prefill'
    ? {
        up: thresholds.prefillUpTokens / pool.contextTokens,
        down: thresholds.prefillDownTokens / pool.contextTokens,
      }
    : { up: thresholds.decodeUpShare, down: thresholds.decodeDownShare };
}

/** The load of a worker, in the measure of its role. */
export function loadShareOf(pool: PoolPlan, { load }: WorkerSnapshot): number {
  if (pool.role === 'prefill') return load.queuedPrefillTokens / pool.contextTokens;
  const waiting = pool.role === 'worker' ? load.queuedPrefillTokens : 0;
  return Math.max(
    (load.kvTokens + load.queuedKvTokens + waiting) / pool.kvTokens,
    (load.decodeRequests + load.queuedRequests) / pool.maxRequests,
  );
}

/** What the thresholds recommend. */
export interface ThresholdNeed {
  /** The workers that are needed now. */
  readonly up: number;
  /** The workers that are enough. */
  readonly enough: number;
  readonly highest: number;
}

/**
 * Workers by thresholds. More than one are added or removed at once if the load says so. The rest of a smaller pool
 * stays below the upper threshold, so that it does not grow again at once.
 */
export function thresholdNeed(
  pool: PoolPlan,
  threshold: Threshold,
  workers: readonly WorkerSnapshot[],
  ready: number,
  desired: number,
): ThresholdNeed {
  const shares = workers.map((worker) => loadShareOf(pool, worker));
  const highest = shares.reduce((most, share) => Math.max(most, share), 0);
  // Workers without metrics are taken to be as loaded as the others.
  const total = (shares.reduce((sum, share) => sum + share, 0) * ready) / Math.max(1, shares.length);
  const byTotal = (share: number): number => Math.ceil(total / Math.max(share, 1e-6) - 1e-9);
  const setpoint = (threshold.up + threshold.down) / 2;
  if (highest > 0 && highest >= threshold.up) {
    const more = desired > ready ? ready : ready + 1;
    const up = Math.max(more, byTotal(threshold.up));
    return { up, enough: Math.max(up, desired), highest };
  }
  if (highest > threshold.down) return { up: 0, enough: desired, highest };
  const unbalanced = threshold.up > 0 ? Math.floor((highest * ready) / threshold.up) + 1 : ready;
  return { up: 0, enough: Math.max(byTotal(setpoint), Math.min(unbalanced, ready)), highest };
}
