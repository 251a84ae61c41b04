import type { PoolPlan } from '../../../lib/planner/core/config.js';
import type { ScalingPolicy } from '../../../lib/planner/core/simulate/simulation.js';
import { type Demand, performanceOf } from '../../../lib/planner/core/sizing.js';
import type { PoolRole, PoolSnapshot, Snapshot, WorkerSnapshot } from '../../../lib/planner/core/types.js';
import { KV_TOKENS, mockerEngine, mockerTime } from './engine.js';

/** The rules of Dynamo's planner of 1.6, as policies of a simulation. Each changes a pool by one worker every 5 s. */

const INTERVAL_MS = 5000;
const THROUGHPUT_INTERVAL_MS = 180_000;
const MAX_REPLICAS_STEP = 8;
const SENSITIVITY = 0.8;
const CONTEXT_TOKENS = 8192;

export interface RuleLimits {
  readonly maxGpus: number;
  readonly ttftMs: number;
  readonly itlMs: number;
}

const pool = (role: PoolRole): PoolPlan => ({
  ...{ role, minWorkers: 1, maxWorkers: Number.MAX_SAFE_INTEGER, gpusPerWorker: 1 },
  ...{ maxBatchedTokens: mockerEngine.maxBatchedTokens, maxRequests: mockerEngine.maxRequests },
  ...{ kvTokens: mockerEngine.kvTokens, contextTokens: CONTEXT_TOKENS, profile: [] },
});

type Rule = (snapshot: PoolSnapshot, role: PoolRole) => number;

/** Applies a rule to each pool. While workers start, none are added. */
function policyOf(
  rule: Rule,
  { maxGpus }: RuleLimits,
  floor: (snapshot: Snapshot) => Floor = () => ({}),
): ScalingPolicy {
  return (snapshot) => {
    const floors = floor(snapshot);
    const targets: Partial<Record<PoolRole, number>> = {};
    for (const [role, seen] of Object.entries(snapshot.pools) as [PoolRole, PoolSnapshot][]) {
      const wanted = rule(seen, role);
      const isStarting = seen.desired > seen.ready;
      let target =
        wanted > seen.ready && isStarting ? seen.desired : isStarting && wanted === seen.ready ? seen.desired : wanted;
      target = Math.max(1, target, floors[role] ?? 0);
      targets[role] = target;
    }
    const total = Object.values(targets).reduce((sum, each) => sum + each, 0);
    const isOver = total > maxGpus;
    return { targets: isOver ? {} : targets, nextTickMs: snapshot.nowMs + INTERVAL_MS };
  };
}

type Floor = Partial<Record<PoolRole, number>>;

/** Objectives `throughput` and `latency`: static thresholds. */
export function thresholdRule(objective: 'throughput' | 'latency', limits: RuleLimits): ScalingPolicy {
  const table = {
    throughput: { prefill: [1, 0.1], decode: [1, 0.6] },
    latency: { prefill: [0.1, 0], decode: [0.4, 0.1] },
  } as const;
  const rule: Rule = ({ ready, workers }, role) => {
    const isPrefill = role === 'prefill';
    const [up, down] = table[objective][isPrefill ? 'prefill' : 'decode'];
    const shares = workers.map(({ load }) =>
      isPrefill
        ? load.queuedPrefillTokens / CONTEXT_TOKENS
        : (load.kvTokens + load.queuedKvTokens + (role === 'worker' ? load.queuedPrefillTokens : 0)) / KV_TOKENS,
    );
    const most = Math.max(...shares);
    if (isPrefill ? most >= up : most > up) return ready + 1;
    const isLow = isPrefill && objective === 'latency' ? most <= down : most < down;
    if (ready <= 1 || !isLow) return ready;
    return (most * ready) / (ready - 1) >= up ? ready : ready - 1;
  };
  return policyOf(rule, limits);
}

/** The time until a prompt of mean length behind a queue is computed, in chunks. */
function queuedPrefillMs(queued: number, own: number, requests: number, kvTokens: number): number {
  let [left, total] = [queued + own, 0];
  while (left > 0) {
    const chunk = Math.min(left, mockerEngine.maxBatchedTokens);
    total += mockerTime(chunk, requests, kvTokens);
    left -= chunk;
  }
  return total;
}

interface Estimate {
  readonly isLate: boolean;
  readonly mayShrink: boolean;
}

/** Objective `sla`: latency from the present load, and every 180 s a floor from the traffic. Its model is exact. */
export function slaRule(limits: RuleLimits): ScalingPolicy {
  const { ttftMs, itlMs } = limits;
  let [inputTokens, outputTokens] = [1, 1];

  const prefill = ({ load }: WorkerSnapshot, scale: number): Estimate => {
    const kv = load.kvTokens * scale;
    const now = queuedPrefillMs(load.queuedPrefillTokens, inputTokens, load.decodeRequests, load.kvTokens);
    const own = queuedPrefillMs(0, inputTokens, load.decodeRequests, kv);
    const after = queuedPrefillMs(load.queuedPrefillTokens * scale, inputTokens, load.decodeRequests, kv);
    return { isLate: now > ttftMs, mayShrink: after - own < (ttftMs - own) * SENSITIVITY };
  };
  const decode = ({ load }: WorkerSnapshot, scale: number): Estimate => {
    const kv = load.kvTokens + load.queuedKvTokens;
    const combined = (kv + load.queuedPrefillTokens) * scale;
    const now = mockerTime(0, load.decodeRequests + 1, kv + inputTokens);
    const after = mockerTime(0, load.decodeRequests * scale, combined);
    return { isLate: now > itlMs, mayShrink: combined < KV_TOKENS && after < itlMs * SENSITIVITY };
  };
  const parts = { prefill: [prefill], decode: [decode], worker: [prefill, decode] };
  const rule: Rule = ({ ready, workers }, role) => {
    const scale = ready > 1 ? ready / (ready - 1) : 1;
    const estimates = parts[role].map((part) => workers.map((worker) => part(worker, scale)));
    if (estimates.some((all) => all.every(({ isLate }) => isLate))) return ready + 1;
    return ready > 1 && estimates.every((all) => all.every(({ mayShrink }) => mayShrink)) ? ready - 1 : ready;
  };

  let [requests, sinceMs]: [number, number] = [0, 0];
  let floors: Floor = {};
  const floor = ({ nowMs, traffic, pools }: Snapshot): Floor => {
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
    const rolesAndPools = Object.entries(pools) as [PoolRole, PoolSnapshot][];
    floors = Object.fromEntries(
      rolesAndPools.map(([role, { ready }]) => {
        const wanted = replicas(role, demand, limits);
        return [role, Math.min(Math.max(wanted, ready - MAX_REPLICAS_STEP), ready + MAX_REPLICAS_STEP)];
      }),
    );
    return floors;
  };
  return policyOf(rule, limits, floor);
}

/** The demand over the highest rate of an engine at which the mean latency is within the limits. */
function replicas(role: PoolRole, demand: Demand, { ttftMs, itlMs }: RuleLimits): number {
  const { rate, inputTokens, outputTokens } = demand;
  if (role === 'prefill') return Math.ceil((rate * queuedPrefillMs(0, inputTokens, 0, 0)) / 1000);
  if (role === 'decode') {
    const context = inputTokens + outputTokens / 2;
    let batch = 1;
    while (batch < mockerEngine.maxRequests && mockerTime(0, batch + 1, (batch + 1) * context) <= itlMs) batch++;
    return Math.ceil((rate * outputTokens * mockerTime(0, batch, batch * context)) / 1000 / batch);
  }
  let [low, high] = [0.01, 1000];
  for (let step = 0; step < 30; step++) {
    const middle = Math.sqrt(low * high);
    const mean = performanceOf(pool('worker'), mockerTime, { ...demand, rate: middle }, 1, {
      ttftMs,
      itlMs,
      attainment: 0.5,
    });
    if (mean.isStable && mean.itlMs <= itlMs && mean.utilization < 1) low = middle;
    else high = middle;
  }
  return Math.ceil(rate / low);
}
