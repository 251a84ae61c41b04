import type { PoolPlan } from '../config.js';
import { type Demand, performanceOf } from '../sizing.js';
import type { PoolRole, PoolSnapshot, Snapshot, WorkerSnapshot } from '../types.js';
import type { ScalingPolicy } from './simulation.js';
import type { SimulatedEngineOptions } from './worker.js';

/**
 * The rules of Dynamo's Python planner of 1.6, as policies of a simulation. Each changes a pool by one worker every
 * 5 s. They know the times of the simulated engine exactly, where the Python planner learns them.
 */

const INTERVAL_MS = 5000;
const THROUGHPUT_INTERVAL_MS = 180_000;
const MAX_REPLICAS_STEP = 8;
const SENSITIVITY = 0.8;

/** What a rule needs besides the snapshot. */
export interface PythonRuleOptions {
  readonly engine: SimulatedEngineOptions;
  readonly maxGpus: number;
  /** The longest context of the model, in tokens. */
  readonly contextTokens: number;
  readonly ttftMs: number;
  readonly itlMs: number;
}

type Counts = Partial<Record<PoolRole, number>>;
type Rule = (snapshot: PoolSnapshot, role: PoolRole) => number;

/** Applies a rule to each pool. While workers start, none are added. */
function policyOf(
  rule: Rule,
  { maxGpus }: PythonRuleOptions,
  floor: (snapshot: Snapshot) => Counts = () => ({}),
): ScalingPolicy {
  return (snapshot) => {
    const floors = floor(snapshot);
    const targets: Counts = {};
    for (const [role, seen] of Object.entries(snapshot.pools) as [PoolRole, PoolSnapshot][]) {
      const wanted = rule(seen, role);
      const holds = seen.desired > seen.ready && wanted >= seen.ready;
      targets[role] = Math.max(1, holds ? seen.desired : wanted, floors[role] ?? 0);
    }
    const total = Object.values(targets).reduce((sum, each) => sum + each, 0);
    return { targets: total > maxGpus ? {} : targets, nextTickMs: snapshot.nowMs + INTERVAL_MS };
  };
}

const THRESHOLDS = {
  throughput: { prefill: [1, 0.1], decode: [1, 0.6] },
  latency: { prefill: [0.1, 0], decode: [0.4, 0.1] },
} as const;

/** Optimization targets `throughput` and `latency`: static thresholds. */
export function pythonThresholds(objective: 'throughput' | 'latency', options: PythonRuleOptions): ScalingPolicy {
  const { engine, contextTokens } = options;
  const { kvTokens } = engine;
  const rule: Rule = ({ ready, workers }, role) => {
    const isPrefill = role === 'prefill';
    const [up, down] = THRESHOLDS[objective][isPrefill ? 'prefill' : 'decode'];
    const shares = workers.map(({ load }) =>
      isPrefill
        ? load.queuedPrefillTokens / contextTokens
        : (load.kvTokens + load.queuedKvTokens + (role === 'worker' ? load.queuedPrefillTokens : 0)) / kvTokens,
    );
    const most = Math.max(...shares);
    if (isPrefill ? most >= up : most > up) return ready + 1;
    const isLow = isPrefill && objective === 'latency' ? most <= down : most < down;
    if (ready <= 1 || !isLow) return ready;
    return (most * ready) / (ready - 1) >= up ? ready : ready - 1;
  };
  return policyOf(rule, options);
}

/** The time until a prompt of mean length behind a queue is computed, in chunks. */
function queuedPrefillMs(
  { time, maxBatchedTokens }: SimulatedEngineOptions,
  queued: number,
  own: number,
  requests = 0,
  kvTokens = 0,
): number {
  let [left, total] = [queued + own, 0];
  while (left > 0) {
    const chunk = Math.min(left, maxBatchedTokens);
    total += time(chunk, requests, kvTokens);
    left -= chunk;
  }
  return total;
}

interface Estimate {
  readonly isLate: boolean;
  readonly mayShrink: boolean;
}

/** Optimization target `sla`: latency from the present load, and every 180 s a floor from the traffic. */
export function pythonSla(options: PythonRuleOptions): ScalingPolicy {
  const { engine, ttftMs, itlMs } = options;
  const { time, kvTokens } = engine;
  let [inputTokens, outputTokens] = [1, 1];

  const prefill = ({ load }: WorkerSnapshot, scale: number): Estimate => {
    const kv = load.kvTokens * scale;
    const { queuedPrefillTokens: queued, decodeRequests } = load;
    const now = queuedPrefillMs(engine, queued, inputTokens, decodeRequests, load.kvTokens);
    const own = queuedPrefillMs(engine, 0, inputTokens, decodeRequests, kv);
    const after = queuedPrefillMs(engine, queued * scale, inputTokens, decodeRequests, kv);
    return { isLate: now > ttftMs, mayShrink: after - own < (ttftMs - own) * SENSITIVITY };
  };
  const decode = ({ load }: WorkerSnapshot, scale: number): Estimate => {
    const kv = load.kvTokens + load.queuedKvTokens;
    const combined = (kv + load.queuedPrefillTokens) * scale;
    const now = time(0, load.decodeRequests + 1, kv + inputTokens);
    const after = time(0, load.decodeRequests * scale, combined);
    return { isLate: now > itlMs, mayShrink: combined < kvTokens && after < itlMs * SENSITIVITY };
  };
  const parts = { prefill: [prefill], decode: [decode], worker: [prefill, decode] };
  const rule: Rule = ({ ready, workers }, role) => {
    const scale = ready > 1 ? ready / (ready - 1) : 1;
    const estimates = parts[role].map((part) => workers.map((worker) => part(worker, scale)));
    if (estimates.some((all) => all.every(({ isLate }) => isLate))) return ready + 1;
    return ready > 1 && estimates.every((all) => all.every(({ mayShrink }) => mayShrink)) ? ready - 1 : ready;
  };

  let [requests, sinceMs]: [number, number] = [0, 0];
  let floors: Counts = {};
  const floor = ({ nowMs, traffic, pools }: Snapshot): Counts => {
    if (traffic !== undefined) {
      requests += traffic.requests;
      inputTokens = traffic.inputTokens ?? inputTokens;
      outputTokens = traffic.outputTokens ?? outputTokens;
    }
    if (nowMs - sinceMs < THROUGHPUT_INTERVAL_MS) return floors;
    const demand: Demand = {
      rate: requests / ((nowMs - sinceMs) / 1000),
      ...{ inputTokens, computedTokens: inputTokens, outputTokens, arrivalDispersion: 1, sizeDispersion: 1 },
    };
    [requests, sinceMs] = [0, nowMs];
    const seen = Object.entries(pools) as [PoolRole, PoolSnapshot][];
    floors = Object.fromEntries(
      seen.map(([role, { ready }]) => {
        const wanted = replicasFor(role, demand, options);
        return [role, Math.min(Math.max(wanted, ready - MAX_REPLICAS_STEP), ready + MAX_REPLICAS_STEP)];
      }),
    );
    return floors;
  };
  return policyOf(rule, options, floor);
}

/** The demand over the highest rate of an engine at which the mean latency is within the limits. */
function replicasFor(role: PoolRole, demand: Demand, options: PythonRuleOptions): number {
  const { engine, ttftMs, itlMs, contextTokens } = options;
  const { rate, inputTokens, outputTokens } = demand;
  if (role === 'prefill') return Math.ceil((rate * queuedPrefillMs(engine, 0, inputTokens)) / 1000);
  if (role === 'decode') {
    const context = inputTokens + outputTokens / 2;
    let batch = 1;
    while (batch < engine.maxRequests && engine.time(0, batch + 1, (batch + 1) * context) <= itlMs) batch++;
    return Math.ceil((rate * outputTokens * engine.time(0, batch, batch * context)) / 1000 / batch);
  }
  const plan: PoolPlan = {
    ...{ role, minWorkers: 1, maxWorkers: Number.MAX_SAFE_INTEGER, gpusPerWorker: 1, profile: [] },
    ...{ maxBatchedTokens: engine.maxBatchedTokens, maxRequests: engine.maxRequests },
    ...{ kvTokens: engine.kvTokens, contextTokens },
  };
  let [low, high] = [0.01, 1000];
  for (let step = 0; step < 30; step++) {
    const middle = Math.sqrt(low * high);
    const goal = { ttftMs, itlMs, attainment: 0.5 };
    const mean = performanceOf(plan, engine.time, { ...demand, rate: middle }, 1, goal);
    if (mean.isStable && mean.itlMs <= itlMs && mean.utilization < 1) low = middle;
    else high = middle;
  }
  return Math.ceil(rate / low);
}
