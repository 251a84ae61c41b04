import type { PoolPlan } from './config.js';
import type { PassTime } from './performance.js';
import { normalQuantile, type Queue, utilizationOf, waitProbability } from './queueing.js';

/** What arrives at a pool. */
export interface Demand {
  /** Requests per second. */
  readonly rate: number;
  /** Mean prompt tokens that must be computed: without those from a cache. */
  readonly computedTokens: number;
  /** Mean prompt tokens, all of which occupy the KV cache. */
  readonly inputTokens: number;
  readonly outputTokens: number;
  /** Variance over mean of the arrivals of a time; Poisson's is 1. */
  readonly arrivalDispersion: number;
  /** Squared coefficient of variation of the prompt lengths. */
  readonly sizeDispersion: number;
}

/** The latency that a pool must reach. */
export interface LatencyGoal {
  readonly ttftMs: number;
  readonly itlMs: number;
  /** The share of requests that must reach it. */
  readonly attainment: number;
}

/** How a pool of a size performs, as far as it matters for its role. */
export interface Performance {
  readonly isEnough: boolean;
  /** Whether the batches stay within the limits of a worker. */
  readonly isStable: boolean;
  /** The share of the capacity that is used, the most loaded resource. */
  readonly utilization: number;
  /** Predicted time to first token of the median request. */
  readonly ttftMs: number;
  readonly itlMs: number;
}

const ITERATIONS = 60;

/** Mean tokens of a request in the KV cache while it decodes. */
const contextOf = ({ inputTokens, outputTokens }: Demand): number => inputTokens + outputTokens / 2;

/**
 * Prompt tokens per millisecond of a worker with full passes, beside a running batch. Short prompts do not fill a pass:
 * it has at most as many of them as the worker has requests.
 */
export function prefillSpeed(
  { maxBatchedTokens, maxRequests }: PoolPlan,
  time: PassTime,
  promptTokens: number,
  decodeRequests = 0,
  kvTokens = 0,
): number {
  const tokens = Math.max(1, Math.min(maxBatchedTokens, maxRequests * promptTokens));
  return tokens / time(tokens, decodeRequests, kvTokens);
}

/** The time to compute a prompt in chunks, with no other prompt. */
function ownPrefillMs(plan: PoolPlan, time: PassTime, tokens: number, requests: number, kv: number): number {
  const full = Math.floor(tokens / plan.maxBatchedTokens);
  const rest = tokens - full * plan.maxBatchedTokens;
  return full * time(plan.maxBatchedTokens, requests, kv) + (rest > 0 ? time(rest, requests, kv) : 0);
}

interface Batch {
  readonly passMs: number;
  readonly requests: number;
  readonly kvTokens: number;
  readonly prefillTokens: number;
  /** False if no batch of the allowed size is stable. */
  readonly isStable: boolean;
}

/**
 * The batch that forms on a worker: by Little's law it holds the arrivals of the time that a request decodes, and the
 * duration of a pass depends on the batch.
 */
function batchOf(plan: PoolPlan, time: PassTime, demand: Demand, rate: number, isPrefilling: boolean): Batch {
  const context = contextOf(demand);
  const perMs = rate / 1000;
  let passMs = time(0, 1, context);
  let batch: Batch = { passMs, requests: 0, kvTokens: 0, prefillTokens: 0, isStable: true };
  for (let iteration = 0; iteration < ITERATIONS; iteration++) {
    const requests = perMs * demand.outputTokens * passMs;
    const prefillTokens = isPrefilling ? perMs * demand.computedTokens * passMs : 0;
    // Only some passes have prompts, and these passes are longer.
    const share = isPrefilling
      ? 1 - Math.exp(-perMs * passMs * Math.ceil(demand.computedTokens / plan.maxBatchedTokens))
      : 0;
    const isStable = requests <= plan.maxRequests && prefillTokens <= plan.maxBatchedTokens;
    const kvTokens = requests * context;
    const batchSize = Math.max(1, requests);
    const withPrompts = share > 0 ? share * time(prefillTokens / share, batchSize, kvTokens) : 0;
    const next = withPrompts + (1 - share) * time(0, batchSize, kvTokens);
    batch = { passMs: next, requests, kvTokens, prefillTokens, isStable };
    if (!isStable || Math.abs(next - passMs) < 1e-6 * passMs) break;
    passMs = next;
  }
  return batch;
}

type Sizing = (plan: PoolPlan, time: PassTime, demand: Demand, workers: number, goal: LatencyGoal) => Performance;

/** Prompts of a pool wait for a free worker. Their time on it is the part of a full pass that they fill. */
function queueOf(demand: Demand, workers: number, speed: number): Queue {
  return {
    servers: workers,
    rate: demand.rate / 1000,
    serviceMs: demand.computedTokens / speed,
    variability: (demand.arrivalDispersion + demand.sizeDispersion) / 2,
  };
}

const prefill: Sizing = (plan, time, demand, workers, goal) => {
  const queue = queueOf(demand, workers, prefillSpeed(plan, time, demand.computedTokens));
  const own = ownPrefillMs(plan, time, demand.computedTokens, 0, 0);
  const late = waitProbability(queue, goal.ttftMs - own);
  return {
    isEnough: late <= 1 - goal.attainment,
    isStable: true,
    utilization: utilizationOf(queue),
    ttftMs: own,
    itlMs: 0,
  };
};

/** The load that a pool has at most for the attained share of requests: arrivals vary around their mean. */
function peakRate(demand: Demand, meanRequests: number, goal: LatencyGoal): number {
  if (meanRequests <= 0) return demand.rate;
  const deviation = Math.sqrt(demand.arrivalDispersion / meanRequests);
  return demand.rate * (1 + normalQuantile(goal.attainment) * deviation);
}

const decode: Sizing = (plan, time, demand, workers, goal) => {
  const usual = batchOf(plan, time, demand, demand.rate / workers, false);
  const peak = batchOf(plan, time, demand, peakRate(demand, usual.requests * workers, goal) / workers, false);
  const occupied = peak.requests * (demand.inputTokens + demand.outputTokens);
  const isStable = usual.isStable && peak.isStable;
  return {
    isEnough: isStable && peak.passMs <= goal.itlMs && occupied <= plan.kvTokens,
    isStable,
    utilization: Math.max(peak.passMs / goal.itlMs, occupied / plan.kvTokens, peak.requests / plan.maxRequests),
    ttftMs: 0,
    itlMs: usual.passMs,
  };
};

const worker: Sizing = (plan, time, demand, workers, goal) => {
  const usual = batchOf(plan, time, demand, demand.rate / workers, true);
  const peak = batchOf(plan, time, demand, peakRate(demand, usual.requests * workers, goal) / workers, true);
  const occupied = peak.requests * (demand.inputTokens + demand.outputTokens);
  const queue = queueOf(
    demand,
    workers,
    prefillSpeed(plan, time, demand.computedTokens, usual.requests, usual.kvTokens),
  );
  const own = ownPrefillMs(plan, time, demand.computedTokens, usual.requests, usual.kvTokens);
  // A prompt also waits for the end of the pass that runs when it arrives.
  const late = waitProbability(queue, goal.ttftMs - own - usual.passMs);
  const isStable = usual.isStable && peak.isStable;
  return {
    isEnough: isStable && late <= 1 - goal.attainment && peak.passMs <= goal.itlMs && occupied <= plan.kvTokens,
    isStable,
    utilization: Math.max(utilizationOf(queue), peak.passMs / goal.itlMs, occupied / plan.kvTokens),
    ttftMs: own + usual.passMs / 2,
    itlMs: usual.passMs,
  };
};

const SIZINGS: Readonly<Record<PoolPlan['role'], Sizing>> = { prefill, decode, worker };

/** How a pool with a number of workers performs under a demand. */
export function performanceOf(
  plan: PoolPlan,
  time: PassTime,
  demand: Demand,
  workers: number,
  goal: LatencyGoal,
): Performance {
  return SIZINGS[plan.role](plan, time, demand, workers, goal);
}

/** More workers than any pool has: there a request is alone. */
const ALONE = 1e9;

/**
 * A goal that some number of workers reaches. If even a request alone takes longer, its wait may be as long as the
 * goal, and inter-token latency is no criterion.
 */
function reachable(plan: PoolPlan, time: PassTime, demand: Demand, goal: LatencyGoal): LatencyGoal {
  const alone = performanceOf(plan, time, demand, ALONE, goal);
  return {
    attainment: goal.attainment,
    ttftMs: alone.ttftMs + time(0, 1, demand.inputTokens) < goal.ttftMs ? goal.ttftMs : 2 * alone.ttftMs + goal.ttftMs,
    itlMs: alone.itlMs < goal.itlMs ? goal.itlMs : Number.MAX_VALUE,
  };
}

/** The fewest workers with which a pool reaches a goal, at most `maxWorkers`. 0 without demand. */
export function workersFor(
  plan: PoolPlan,
  time: PassTime,
  demand: Demand,
  goal: LatencyGoal,
  maxWorkers: number,
): number {
  if (!(demand.rate > 0)) return 0;
  const wanted = reachable(plan, time, demand, goal);
  const isEnough = (workers: number): boolean => performanceOf(plan, time, demand, workers, wanted).isEnough;
  let [low, high] = [0, 1];
  while (high < maxWorkers && !isEnough(high)) [low, high] = [high, high * 2];
  high = Math.min(high, maxWorkers);
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (isEnough(middle)) high = middle;
    else low = middle;
  }
  return high;
}

const CAPACITY_STEPS = 40;

/** The requests per second that a pool of `workers` processes at most, however long they wait. */
export function capacityOf(plan: PoolPlan, time: PassTime, demand: Demand, workers: number, goal: LatencyGoal): number {
  const wanted = reachable(plan, time, demand, goal);
  const fits = (rate: number): boolean => {
    const { utilization, isStable } = performanceOf(plan, time, { ...demand, rate }, workers, wanted);
    return isStable && utilization < 1;
  };
  let [low, high] = [0, 1e6 * workers];
  for (let step = 0; step < CAPACITY_STEPS; step++) {
    const middle = low === 0 ? high / 2 : Math.sqrt(low * high);
    if (fits(middle)) low = middle;
    else high = middle;
  }
  return low;
}
