import { limited, type Wanted } from './budget.js';
import { type PlannerConfig, type ResolvedPlan, resolvePlan } from './config.js';
import { isTraffic, predictedDemand, withTraffic } from './demand.js';
import { learned, passTimeOf, profiled } from './performance.js';
import { coldStartOf, followed, isOverdue, recommended, remembered, shifted } from './pool-state.js';
import { needOf, type Situation } from './recommend.js';
import type {
  Decision,
  PerformanceState,
  PlannerState,
  PoolRole,
  PoolState,
  Reason,
  Snapshot,
  WorkerSnapshot,
} from './types.js';

/** Cold starts for which a smaller need must hold before workers are removed: a removal and a new start cost two. */
const HOLD_COLD_STARTS = 2;
/** The longest time for which a smaller need must hold, in times of the shortest. */
const MAX_PATIENCE = 16;
/** Windows after a removal within which a new start shows that it was too early. */
const HOLD_WINDOWS = 2;
/** Intervals that a clock may advance between two decisions. */
const MAX_INTERVALS = 10;

/** The state before the first decision. */
export function initialState(config: PlannerConfig, nowMs: number): PlannerState {
  const models = resolvePlan(config).pools.map(({ role, profile }) => [role, profiled(profile)]);
  return {
    startedMs: nowMs,
    nowMs,
    requests: [],
    inputTokens: [],
    outputTokens: [],
    hitRate: 0,
    coldStartsMs: [],
    pools: {},
    models: Object.fromEntries(models) as Readonly<Partial<Record<PoolRole, PerformanceState>>>,
  };
}

const isAmount = (value: number): boolean => value >= 0 && value <= 1e12;

/** Whether the metrics of a worker are current and can have been measured. */
const isLive =
  (staleMs: number) =>
  ({ ageMs, load }: WorkerSnapshot): boolean =>
    ageMs >= 0 && ageMs <= staleMs && Object.values(load).every(isAmount);

/**
 * Decides how many workers of each role there should be. Pure: the same arguments give the same decision, with live
 * workers and in a simulation.
 *
 * @param state the state of the last decision; `initialState` before
 * @throws TypeError, RangeError for a faulty configuration
 */
export function decide(snapshot: Snapshot, state: PlannerState, config: PlannerConfig): Decision {
  return decided(snapshot, state, resolvePlan(config));
}

/** As `decide`, with a checked configuration. */
export function decided(snapshot: Snapshot, before: PlannerState, plan: ResolvedPlan): Decision {
  const { nowMs } = snapshot;
  const elapsedMs = nowMs - before.nowMs;
  const hasJumped = elapsedMs < 0 || elapsedMs > MAX_INTERVALS * plan.intervalMs;
  const state = hasJumped ? shifted(before, elapsedMs - plan.intervalMs) : before;
  const traffic =
    hasJumped || snapshot.traffic === undefined || !isTraffic(snapshot.traffic) ? undefined : snapshot.traffic;

  const next: Mutable = { ...state, nowMs, ...(traffic && withTraffic(state, traffic, nowMs)) };
  const reasons: Reason[] = [];
  const wanted: Wanted[] = [];
  const live = new Map<PoolRole, readonly WorkerSnapshot[]>();
  const found = { pools: { ...next.pools }, models: { ...next.models }, coldStartsMs: next.coldStartsMs };
  for (const { role } of plan.pools) {
    const pool = snapshot.pools[role];
    if (pool === undefined) continue;
    const current = pool.workers.filter(isLive(plan.staleMs));
    live.set(role, current);
    found.models[role] = learned(found.models[role] ?? { buckets: [] }, passesOf(current));
    const change = followed(found.pools[role], pool, state.nowMs, nowMs);
    found.pools[role] = change.pool;
    found.coldStartsMs = remembered(found.coldStartsMs, hasJumped ? [] : change.coldStartsMs);
  }
  Object.assign(next, found);

  const coldStartMs = coldStartOf(next, plan.coldStartMs);
  const demand = traffic === undefined ? undefined : predictedDemand(next, plan, coldStartMs + plan.intervalMs);
  for (const pool of plan.pools) {
    const seen = snapshot.pools[pool.role];
    if (seen === undefined) continue;
    const time = passTimeOf(found.models[pool.role] ?? { buckets: [] });
    const [target, state, why] = poolTarget({
      ...{ plan, pool, demand, time, nowMs, coldStartMs, hasJumped, snapshot: seen },
      state: found.pools[pool.role] as PoolState,
      live: live.get(pool.role) ?? [],
      startedMs: next.startedMs,
    });
    found.pools[pool.role] = state;
    reasons.push(...why);
    wanted.push({ pool, desired: seen.desired, target });
  }
  const { targets, reasons: limits } = limited(plan, wanted);
  return {
    targets,
    reasons: [...reasons, ...limits],
    nextTickMs: nowMs + plan.intervalMs,
    state: { ...next, pools: found.pools },
  };
}

type Mutable = { -readonly [Name in keyof PlannerState]: PlannerState[Name] };

/** Passes of many workers, of each only as many as are learned from in the end. */
function passesOf(workers: readonly WorkerSnapshot[]): WorkerSnapshot['passes'] {
  const stride = Math.max(1, Math.floor(workers.length / 512));
  return workers.filter((_, index) => index % stride === 0).flatMap(({ passes }) => passes);
}

interface PoolInput extends Situation {
  readonly hasJumped: boolean;
  readonly startedMs: number;
}

/**
 * The target of a pool before the limits. Workers are added at once, and removed if fewer were enough for some time.
 */
function poolTarget(input: PoolInput): [number, PoolState, readonly Reason[]] {
  const { plan, pool, snapshot, state, nowMs, coldStartMs, hasJumped, startedMs } = input;
  const { role } = pool;
  const { desired } = snapshot;
  const need = needOf(input);
  const reasons = [...need.reasons];
  const overdue = state.pending
    .filter((start) => isOverdue(start, nowMs, coldStartMs))
    .reduce((total, { count }) => total + count, 0);
  if (overdue > 0) {
    const text = `${overdue} workers were started long ago and are not ready`;
    reasons.push({ role, code: 'starting-overdue', text, values: { overdue, coldStartMs } });
  }
  const shortestMs = Math.max(HOLD_COLD_STARTS * coldStartMs, 2 * plan.intervalMs);
  const windowMs = shortestMs * state.patience;
  const recommendations = recommended(
    state.recommendations,
    { atMs: nowMs, needed: need.up, enough: need.enough },
    windowMs,
  );
  const after = { ...state, recommendations };
  if (hasJumped) {
    reasons.push({ role, code: 'clock-jump', text: 'the clock has jumped; nothing changes', values: {} });
    return [desired, after, reasons];
  }
  if (need.up > desired) return [need.up, { ...after, ...regretted(state, nowMs, windowMs) }, reasons];
  // What was started for requests that wait is kept for as long as it took to start.
  const enough = recommendations.reduce((most, { atMs, needed, enough }) => {
    if (nowMs - atMs > windowMs) return most;
    return Math.max(most, enough, nowMs - atMs <= coldStartMs ? needed : 0);
  }, 0);
  if (enough >= desired) {
    reasons.push({ role, code: 'hold', text: `${desired} are enough`, values: { desired, enough } });
    return [desired, after, reasons];
  }
  if (nowMs - Math.max(startedMs, recommendations[0]?.atMs ?? nowMs) < shortestMs) {
    const text = `fewer are enough, but not yet for ${Math.round(windowMs)} ms`;
    reasons.push({ role, code: 'warming-up', text, values: { desired, enough, windowMs } });
    return [desired, after, reasons];
  }
  const text = `${enough} were enough for ${Math.round(windowMs)} ms`;
  reasons.push({ role, code: 'idle', text, values: { desired, enough, windowMs } });
  return [enough, enough < snapshot.ready ? { ...after, ...removed(state, nowMs) } : after, reasons];
}

/**
 * What is remembered if workers are added: if others were removed only shortly before, the removal was too early, and
 * the next one waits twice as long. Bursts that come again then find the workers.
 */
function regretted({ patience, removedMs }: PoolState, nowMs: number, windowMs: number): Partial<PoolState> {
  if (removedMs === undefined || nowMs - removedMs > HOLD_WINDOWS * windowMs) return {};
  return { patience: Math.min(MAX_PATIENCE, patience * 2), removedMs: undefined };
}

/** What is remembered if ready workers are removed: the last removal was not too early, so this one may be earlier. */
function removed({ patience, removedMs }: PoolState, nowMs: number): Partial<PoolState> {
  return { removedMs: nowMs, patience: removedMs === undefined ? patience : Math.max(1, patience / 2) };
}
