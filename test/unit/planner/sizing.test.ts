import { describe, expect, it } from 'vitest';
import { type PlannerConfig, resolvePlan } from '../../../lib/planner/core/config.js';
import { normalQuantile, waitProbability } from '../../../lib/planner/core/queueing.js';
import { capacityOf, type Demand, workersFor } from '../../../lib/planner/core/sizing.js';
import { KV_TOKENS, mockerTime } from '../../helpers/planner/engine.js';

const GOAL = { ttftMs: 2000, itlMs: 50, attainment: 0.99 };
const MOST = 10_000;

const demand = (more: Partial<Demand> = {}): Demand => ({
  ...{ rate: 60, computedTokens: 1500, inputTokens: 1500, outputTokens: 200 },
  ...{ arrivalDispersion: 1, sizeDispersion: 0.25 },
  ...more,
});

const poolOf = (mode: PlannerConfig['mode'], at = 0) => {
  const pool = { kvTokens: KV_TOKENS };
  const found = resolvePlan({ mode, pools: { worker: pool, prefill: pool, decode: pool } } as PlannerConfig).pools[at];
  if (found === undefined) throw new Error('no pool');
  return found;
};

const pools = [
  ['workers', poolOf('agg')],
  ['prefill workers', poolOf('disagg')],
  ['decode workers', poolOf('disagg', 1)],
] as const;

describe('workersFor', () => {
  it.each(pools)('returns as many or more %s for a higher rate, longer prompts and longer answers', (_, pool) => {
    const sizes = (demands: readonly Demand[]): number[] =>
      demands.map((each) => workersFor(pool, mockerTime, each, GOAL, MOST));
    const scales = [0.1, 0.5, 1, 2, 5, 20];
    for (const found of [
      sizes(scales.map((scale) => demand({ rate: 60 * scale }))),
      sizes(scales.map((scale) => demand({ inputTokens: 1500 * scale, computedTokens: 1500 * scale }))),
      sizes(scales.map((scale) => demand({ outputTokens: 200 * scale }))),
    ])
      expect(found).toEqual([...found].sort((a, b) => a - b));
  });

  it.each(pools)('returns 0 %s without demand, and the most for a demand without bounds', (_, pool) => {
    expect(workersFor(pool, mockerTime, demand({ rate: 0 }), GOAL, MOST)).toBe(0);
    expect(workersFor(pool, mockerTime, demand({ rate: 1e9 }), GOAL, 7)).toBe(7);
  });

  it('returns fewer workers if a part of the prompts is in a cache', () => {
    const pool = poolOf('disagg');
    const [without, cached] = [1500, 300].map((computedTokens) =>
      workersFor(pool, mockerTime, demand({ computedTokens }), GOAL, MOST),
    );
    expect(cached).toBeLessThan(without as number);
  });

  it('does not depend on passes with more prompts than a worker takes', () => {
    const { role, ...pool } = poolOf('agg');
    // Known for up to 40 prompt tokens; beyond them a model may say anything.
    const time = (prefillTokens: number): number => 20 + (prefillTokens > 40 ? prefillTokens ** 2 : prefillTokens / 2);
    const short = demand({ rate: 2, inputTokens: 5, computedTokens: 5, outputTokens: 50 });
    expect(workersFor({ ...pool, role, maxRequests: 4 }, time, short, GOAL, MOST)).toBeLessThan(4);
  });

  it.each(pools)('returns a number of %s that is not the most if no number reaches the goal', (_, pool) => {
    const impossible = { ttftMs: 1, itlMs: 0.1, attainment: 0.99 };
    const found = workersFor(pool, mockerTime, demand(), impossible, MOST);
    expect(found).toBeGreaterThan(0);
    expect(found).toBeLessThan(20);
  });

  it('returns no more workers for each request if there are more requests', () => {
    const pool = poolOf('agg');
    const each = [30, 300, 3000].map((rate) => workersFor(pool, mockerTime, demand({ rate }), GOAL, MOST) / rate);
    expect(each[1]).toBeLessThanOrEqual(each[0] as number);
    expect(each[2]).toBeLessThanOrEqual(each[1] as number);
  });
});

describe('capacityOf', () => {
  it.each(pools)('is at least the rate for which as many %s are enough', (_, pool) => {
    const workers = workersFor(pool, mockerTime, demand(), GOAL, MOST);
    expect(capacityOf(pool, mockerTime, demand(), workers, GOAL)).toBeGreaterThanOrEqual(60 * 0.99);
  });
});

describe('waitProbability', () => {
  const queue = { servers: 1, rate: 0.008, serviceMs: 100, variability: 1 };

  it('agrees with the exact value of one server', () => {
    expect(waitProbability(queue, 0)).toBeCloseTo(0.8, 6);
    expect(waitProbability(queue, 1000)).toBeCloseTo(0.8 * Math.exp(-2), 6);
  });

  it('is 1 for an overloaded queue and for a wait below 0, and 0 without load', () => {
    expect(waitProbability({ ...queue, rate: 0.01 }, 1000)).toBe(1);
    expect(waitProbability(queue, -1)).toBe(1);
    expect(waitProbability({ ...queue, rate: 0 }, 0)).toBe(0);
  });
});

it('normalQuantile returns the quantiles of tables', () => {
  expect(normalQuantile(0.5)).toBeCloseTo(0, 2);
  expect(normalQuantile(0.975)).toBeCloseTo(1.96, 2);
  expect(normalQuantile(0.99)).toBeCloseTo(2.326, 2);
});
