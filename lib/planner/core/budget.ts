import type { PoolPlan, ResolvedPlan } from './config.js';
import type { PoolRole, Reason, Targets } from './types.js';

/** A wanted count of workers of a pool. */
export interface Wanted {
  readonly pool: PoolPlan;
  readonly desired: number;
  readonly target: number;
}

/** Counts within all limits, and the limits that were met. */
export interface Limited {
  readonly targets: Targets;
  readonly reasons: readonly Reason[];
}

type Limit = (wanted: Wanted, plan: ResolvedPlan) => { readonly target: number; readonly reason?: Reason };

const reason = (role: PoolRole, code: Reason['code'], text: string, values: Reason['values']): Reason => ({
  role,
  code,
  text,
  values,
});

const minimum: Limit = ({ pool, target }) => {
  const { role, minWorkers } = pool;
  if (target >= minWorkers) return { target };
  const text = `at least ${minWorkers} are configured`;
  return { target: minWorkers, reason: reason(role, 'minimum', text, { wanted: target, minWorkers }) };
};

const maximum: Limit = ({ pool, target }) => {
  const { role, maxWorkers } = pool;
  if (target <= maxWorkers) return { target };
  const text = `at most ${maxWorkers} are configured`;
  return { target: maxWorkers, reason: reason(role, 'budget', text, { wanted: target, maxWorkers }) };
};

const step: Limit = ({ pool, desired, target }, { maxStepUp, maxStepDown }) => {
  const limited = Math.min(Math.max(target, desired - maxStepDown), desired + maxStepUp);
  if (limited === target) return { target };
  const text = `one decision goes from ${desired} to ${limited} at most`;
  return { target: limited, reason: reason(pool.role, 'step-limit', text, { wanted: target, desired }) };
};

/**
 * Shares the GPUs: each pool gets its fewest workers, and what is left in proportion to what it wants beyond them.
 * Whole workers that remain go to the pool that is furthest below its share.
 */
function shared(wanted: readonly Wanted[], maxGpus: number): number[] {
  const extras = wanted.map(({ pool, target }) => (target - pool.minWorkers) * pool.gpusPerWorker);
  const least = wanted.reduce((sum, { pool }) => sum + pool.minWorkers * pool.gpusPerWorker, 0);
  const total = extras.reduce((sum, extra) => sum + extra, 0);
  const share = total === 0 ? 0 : (maxGpus - least) / total;
  const targets = wanted.map(({ pool, target }) =>
    pool.gpusPerWorker === 0 ? target : pool.minWorkers + Math.floor((target - pool.minWorkers) * share),
  );
  let left =
    maxGpus - targets.reduce((sum, target, index) => sum + target * (wanted[index]?.pool.gpusPerWorker ?? 0), 0);
  const missing = (index: number): number => (wanted[index]?.target ?? 0) - (targets[index] ?? 0);
  const order = wanted.map((_, index) => index).sort((a, b) => missing(b) - missing(a));
  for (const index of order) {
    const gpus = wanted[index]?.pool.gpusPerWorker ?? 0;
    if (gpus === 0 || gpus > left || missing(index) <= 0) continue;
    targets[index] = (targets[index] ?? 0) + 1;
    left -= gpus;
  }
  return targets;
}

/** Applies the step limits, the fewest and the most workers, and the GPU budget, in this order. */
export function limited(plan: ResolvedPlan, wanted: readonly Wanted[]): Limited {
  const reasons: Reason[] = [];
  const within = wanted.map((each) => {
    let target = each.target;
    for (const limit of [step, minimum, maximum]) {
      const found = limit({ ...each, target }, plan);
      target = found.target;
      if (found.reason !== undefined) reasons.push(found.reason);
    }
    return { ...each, target };
  });
  const gpus = within.reduce((sum, { pool, target }) => sum + target * pool.gpusPerWorker, 0);
  const targets = gpus <= plan.maxGpus ? within.map(({ target }) => target) : shared(within, plan.maxGpus);
  for (const [index, { pool, target }] of within.entries()) {
    if (targets[index] === target) continue;
    const text = `all pools together have ${plan.maxGpus} GPUs`;
    reasons.push(reason(pool.role, 'budget', text, { wanted: target, maxGpus: plan.maxGpus, gpus }));
  }
  return {
    targets: Object.fromEntries(within.map(({ pool }, index) => [pool.role, targets[index] as number])),
    reasons,
  };
}
