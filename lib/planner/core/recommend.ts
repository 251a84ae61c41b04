import type { PoolPlan, ResolvedPlan } from './config.js';
import type { PredictedDemand } from './demand.js';
import type { PassTime } from './performance.js';
import { isOverdue } from './pool-state.js';
import { capacityOf, type Demand, type LatencyGoal, performanceOf, workersFor } from './sizing.js';
import { thresholdNeed, thresholdOf } from './thresholds.js';
import type { PoolSnapshot, PoolState, Reason, WorkerSnapshot } from './types.js';

/** What a pool is sized from. */
export interface Situation {
  readonly plan: ResolvedPlan;
  readonly pool: PoolPlan;
  readonly snapshot: PoolSnapshot;
  readonly state: PoolState;
  /** Workers whose metrics are current. */
  readonly live: readonly WorkerSnapshot[];
  readonly demand: PredictedDemand | undefined;
  readonly time: PassTime | undefined;
  readonly nowMs: number;
  readonly coldStartMs: number;
}

/** Workers that a pool needs. */
export interface Need {
  /** The fewest now. */
  readonly up: number;
  /** As many as are enough if the demand does not change. */
  readonly enough: number;
  readonly reasons: readonly Reason[];
}

const sum = (workers: readonly WorkerSnapshot[], amountOf: (worker: WorkerSnapshot) => number): number =>
  workers.reduce((total, worker) => total + amountOf(worker), 0);

/** Requests that wait in a pool. Workers without metrics are taken to be as loaded as the others. */
function waitingRequests({ pool, live, snapshot }: Situation, computedTokens: number): number {
  const waiting =
    pool.role === 'decode'
      ? sum(live, ({ load }) => load.queuedRequests)
      : sum(live, ({ load }) => load.queuedPrefillTokens) / Math.max(1, computedTokens);
  return (waiting * snapshot.ready) / Math.max(1, live.length);
}

interface Backlog {
  readonly extra: number;
  readonly waiting: number;
}

/**
 * Workers beside the `needed` ones, so that what will wait for these at the end of a cold start is processed within
 * another one. None if it waits no longer than the goal allows. A worker that runs for less than its start costs more
 * than it serves.
 */
function forBacklog(situation: Situation, needed: number, demand: Demand, time: PassTime, goal: LatencyGoal): Backlog {
  const { pool, state, snapshot, nowMs, coldStartMs } = situation;
  const workers = Math.max(1, needed);
  const capacity = capacityOf(pool, time, demand, workers, goal) / workers;
  if (!(capacity > 0)) return { extra: 0, waiting: 0 };
  const seconds = coldStartMs / 1000;
  // Workers that were ready count even if discovery does not list them now: what they do not process is seen to wait.
  const started = state.pending.reduce((total, { count }) => total + count, 0);
  const ready = Math.min(workers, snapshot.desired - started);
  let workerSeconds = ready * seconds;
  let coming = workers - ready;
  for (const start of state.pending) {
    if (isOverdue(start, nowMs, coldStartMs)) continue;
    const count = Math.min(coming, start.count);
    coming -= count;
    workerSeconds += count * Math.min(seconds, (nowMs - start.atMs) / 1000);
  }
  const arriving = demand.rate * seconds;
  const waiting = Math.max(0, waitingRequests(situation, demand.computedTokens) + arriving - capacity * workerSeconds);
  const limitMs = pool.role === 'decode' ? goal.itlMs * demand.outputTokens : goal.ttftMs;
  if (waiting / (capacity * workers) <= limitMs / 1000) return { extra: 0, waiting };
  const drainSeconds = Math.max(coldStartMs, limitMs) / 1000;
  return { extra: Math.ceil(waiting / (drainSeconds * capacity)), waiting };
}

/** Workers that hold what runs now. */
function holding(pool: PoolPlan, live: readonly WorkerSnapshot[]): number {
  return Math.max(
    Math.ceil(sum(live, ({ load }) => load.decodeRequests + load.queuedRequests) / pool.maxRequests),
    Math.ceil(sum(live, ({ load }) => load.kvTokens + load.queuedKvTokens) / pool.kvTokens),
  );
}

/** Sizes a pool for a latency. */
function bySla(situation: Situation, demand: PredictedDemand, time: PassTime): Need {
  const { plan, pool, snapshot, live } = situation;
  const { role } = pool;
  const goal: LatencyGoal = plan;
  const most = Math.min(pool.maxWorkers, Math.floor(plan.maxGpus / Math.max(1, pool.gpusPerWorker)));
  const needed = workersFor(pool, time, demand.expected, goal, most);
  const cautious = workersFor(pool, time, demand.cautious, goal, most);
  const { extra, waiting } = forBacklog(situation, needed, demand.expected, time, goal);
  const { ttftMs, itlMs } = performanceOf(pool, time, demand.expected, Math.max(1, snapshot.ready), goal);
  const reasons: Reason[] = [
    {
      role,
      code: 'demand',
      text: `${needed} for the predicted demand, ${cautious} to be sure`,
      values: {
        needed,
        cautious,
        rate: demand.expected.rate,
        inputTokens: demand.expected.inputTokens,
        computedTokens: demand.expected.computedTokens,
        outputTokens: demand.expected.outputTokens,
        predictedTtftMs: ttftMs,
        predictedItlMs: itlMs,
      },
    },
  ];
  if (extra > 0)
    reasons.push({ role, code: 'backlog', text: `${extra} more for requests that wait`, values: { extra, waiting } });
  return { up: needed + extra, enough: Math.max(cautious, holding(pool, live)), reasons };
}

/** Sizes a pool by thresholds. */
function byThresholds(situation: Situation): Need {
  const { plan, pool, live, snapshot } = situation;
  const threshold = thresholdOf(plan, pool);
  const { up, enough, highest } = thresholdNeed(pool, threshold, live, snapshot.ready, snapshot.desired);
  const values = { highest, ...threshold, needed: up, enough };
  const text = up > 0 ? `a worker is at or above the upper threshold` : `no worker is at the upper threshold`;
  return { up, enough, reasons: [{ role: pool.role, code: 'threshold', text, values }] };
}

const hold = (
  { pool, snapshot }: Situation,
  code: Reason['code'],
  text: string,
  values: Reason['values'] = {},
): Need => ({
  up: 0,
  enough: snapshot.desired,
  reasons: [{ role: pool.role, code, text, values }],
});

/** The workers that a pool needs. Without the inputs for it, workers are only added, by thresholds. */
export function needOf(situation: Situation): Need {
  const { plan, pool, live, snapshot, demand, time } = situation;
  if (snapshot.ready > 0 && live.length === 0)
    return hold(situation, 'no-metrics', 'no worker has current metrics', { ready: snapshot.ready });
  if (plan.objective !== 'sla') return byThresholds(situation);
  if (demand !== undefined && demand.cautious.rate === 0)
    return {
      up: 0,
      enough: holding(pool, live),
      reasons: [{ role: pool.role, code: 'idle', text: 'no requests arrive', values: {} }],
    };
  if (demand !== undefined && time !== undefined) return bySla(situation, demand, time);
  const { up, reasons } = byThresholds(situation);
  const missing =
    demand === undefined
      ? hold(situation, 'no-traffic', 'the traffic is not known')
      : hold(situation, 'no-model', 'too few passes are known');
  return { up, enough: Math.max(up, snapshot.desired), reasons: [...missing.reasons, ...reasons] };
}
