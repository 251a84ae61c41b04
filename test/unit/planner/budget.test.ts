import { describe, expect, it } from 'vitest';
import { limited } from '../../../lib/planner/core/budget.js';
import { type PlannerConfig, resolvePlan } from '../../../lib/planner/core/config.js';

function limit(config: PlannerConfig, desired: readonly number[], targets: readonly number[]) {
  const plan = resolvePlan(config);
  const wanted = plan.pools.map((pool, index) => ({
    pool,
    desired: desired[index] ?? 0,
    target: targets[index] ?? 0,
  }));
  return limited(plan, wanted);
}

const disagg: PlannerConfig = { mode: 'disagg', maxGpus: 10 };

describe('limited', () => {
  it('leaves targets within the limits as they are', () => {
    expect(limit(disagg, [1, 1], [4, 6])).toEqual({ targets: { prefill: 4, decode: 6 }, reasons: [] });
  });

  it.each([[[40, 10]], [[10, 40]], [[1000, 1000]], [[1, 1000]], [[11, 0]]])(
    'shares the GPUs among pools that want %j',
    (targets) => {
      const found = limit(disagg, [1, 1], targets).targets as { prefill: number; decode: number };
      expect(found.prefill + found.decode).toBe(10);
      expect(Math.min(found.prefill, found.decode)).toBeGreaterThanOrEqual(1);
      expect(Math.sign(found.prefill - found.decode)).toBe(Math.sign((targets[0] ?? 0) - (targets[1] ?? 0)));
    },
  );

  it('counts the GPUs of each worker', () => {
    const pools = { prefill: { gpusPerWorker: 2 }, decode: { gpusPerWorker: 4 } };
    const { prefill = 0, decode = 0 } = limit({ ...disagg, maxGpus: 20, pools }, [1, 1], [10, 10]).targets;
    expect(2 * prefill + 4 * decode).toBeLessThanOrEqual(20);
    expect(2 * prefill + 4 * decode).toBeGreaterThanOrEqual(18);
  });

  it('never returns fewer than the fewest workers', () => {
    const pools = { worker: { minWorkers: 3 } };
    const { targets, reasons } = limit({ pools }, [5], [0]);
    expect(targets).toEqual({ worker: 3 });
    expect(reasons).toMatchObject([{ role: 'worker', code: 'minimum', values: { wanted: 0, minWorkers: 3 } }]);
  });

  it('limits the steps', () => {
    const config: PlannerConfig = { maxStepUp: 2, maxStepDown: 1, maxGpus: 50 };
    expect(limit(config, [5], [20]).targets).toEqual({ worker: 7 });
    expect(limit(config, [5], [1]).targets).toEqual({ worker: 4 });
    expect(limit(config, [5], [1]).reasons[0]?.code).toBe('step-limit');
  });

  it('returns the most workers of a pool at most', () => {
    expect(limit({ pools: { worker: { maxWorkers: 4 } } }, [1], [9]).targets).toEqual({ worker: 4 });
  });
});
