import { median } from './series.js';
import type { PendingStart, PlannerState, PoolSnapshot, PoolState, Recommendation } from './types.js';

/** Cold starts that are remembered. */
const MAX_COLD_STARTS = 5;
/** Parts of the time for which recommendations are remembered. */
const SLOTS = 64;
/** Cold starts after which a worker that is not ready is overdue. */
const OVERDUE = 3;
/** No start is overdue before. */
const MIN_OVERDUE_MS = 60_000;

/** The measured cold start: the median of the last ones, or the configured one before. */
export function coldStartOf(state: PlannerState, configuredMs: number): number {
  return state.coldStartsMs.length === 0 ? configuredMs : median(state.coldStartsMs);
}

/** Whether a start takes so long that nothing is expected of it. */
export function isOverdue(start: PendingStart, nowMs: number, coldStartMs: number): boolean {
  return nowMs - start.atMs > Math.max(MIN_OVERDUE_MS, OVERDUE * coldStartMs);
}

/** What changed in a pool, and the cold starts that ended. */
export interface Followed {
  readonly pool: PoolState;
  readonly coldStartsMs: readonly number[];
}

/** Follows a pool: starts that were requested are pending until that many workers more are ready. */
export function followed(before: PoolState | undefined, pool: PoolSnapshot, beforeMs: number, nowMs: number): Followed {
  const { desired, ready } = pool;
  if (before === undefined)
    return { pool: { desired, ready, pending: [], recommendations: [], patience: 1 }, coldStartsMs: [] };
  const more = desired - before.desired;
  const pending = more > 0 ? [...before.pending, { atMs: beforeMs, count: more }] : [...before.pending];
  const coldStartsMs: number[] = [];
  let arrived = Math.max(0, ready - before.ready);
  while (arrived > 0 && pending.length > 0) {
    const { atMs, count } = pending.shift() as PendingStart;
    coldStartsMs.push(nowMs - atMs);
    if (count > arrived) pending.unshift({ atMs, count: count - arrived });
    arrived -= Math.min(arrived, count);
  }
  // What the scaler no longer wants does not come. The youngest starts are cancelled first.
  let excess = pending.reduce((sum, { count }) => sum + count, 0) - Math.max(0, desired - ready);
  while (excess > 0) {
    const { atMs, count } = pending.pop() as PendingStart;
    if (count > excess) pending.push({ atMs, count: count - excess });
    excess -= Math.min(excess, count);
  }
  return { pool: { ...before, desired, ready, pending }, coldStartsMs };
}

/** The last cold starts. */
export function remembered(known: readonly number[], found: readonly number[]): readonly number[] {
  return [...known, ...found].slice(-MAX_COLD_STARTS);
}

/**
 * The recommendations of the last `windowMs`, and the last one before, with a new one. Those of a short time are one,
 * so that there are about `SLOTS` of them however often is decided.
 */
export function recommended(
  recommendations: readonly Recommendation[],
  next: Recommendation,
  windowMs: number,
): readonly Recommendation[] {
  const first = recommendations.findIndex(({ atMs }) => atMs >= next.atMs - windowMs);
  const kept = first === -1 ? recommendations.slice(-1) : recommendations.slice(Math.max(0, first - 1));
  const last = kept.at(-1);
  if (last === undefined || kept.length < 2 || next.atMs - last.atMs >= windowMs / SLOTS) return [...kept, next];
  const needed = Math.max(last.needed, next.needed);
  return [...kept.slice(0, -1), { atMs: last.atMs, needed, enough: Math.max(last.enough, next.enough) }];
}

/** The state as if its clock read `deltaMs` more. */
export function shifted(state: PlannerState, deltaMs: number): PlannerState {
  const series = (bins: PlannerState['requests']): PlannerState['requests'] =>
    bins.map((bin) => ({ ...bin, endMs: bin.endMs + deltaMs }));
  const times = <Item extends { readonly atMs: number }>(items: readonly Item[]): Item[] =>
    items.map((item) => ({ ...item, atMs: item.atMs + deltaMs }));
  return {
    ...state,
    startedMs: state.startedMs + deltaMs,
    nowMs: state.nowMs + deltaMs,
    requests: series(state.requests),
    inputTokens: series(state.inputTokens),
    outputTokens: series(state.outputTokens),
    pools: Object.fromEntries(
      Object.entries(state.pools).map(([role, pool]) => [
        role,
        {
          ...pool,
          pending: times(pool.pending),
          recommendations: times(pool.recommendations),
          ...(pool.removedMs === undefined ? {} : { removedMs: pool.removedMs + deltaMs }),
        },
      ]),
    ),
  };
}
