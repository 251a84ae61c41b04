import { describe, expect, it } from 'vitest';
import { learned, passTimeOf } from '../../../lib/planner/core/performance.js';
import { nonNegativeLeastSquares } from '../../../lib/planner/core/regression.js';
import type { PassSample, PerformanceState } from '../../../lib/planner/core/types.js';
import { mockerTime } from '../../helpers/planner/engine.js';
import { randomNumbers } from '../../helpers/random.js';

const EMPTY: PerformanceState = { buckets: [] };

/** Passes of the simulated engine, with noise of 5%. */
function passes(count: number, seed = 1): PassSample[] {
  const random = randomNumbers(seed);
  return Array.from({ length: count }, () => {
    const prefillTokens = random() < 0.5 ? 0 : Math.round(random() * 4000);
    const decodeRequests = Math.round(random() * 200) + 1;
    const kvTokens = decodeRequests * (500 + 2000 * random());
    const wallMs = mockerTime(prefillTokens, decodeRequests, kvTokens) * (0.95 + 0.1 * random());
    return { wallMs, prefillTokens, decodeRequests, kvTokens };
  });
}

const learnedFrom = (samples: readonly PassSample[]): PerformanceState => {
  let state = EMPTY;
  for (let at = 0; at < samples.length; at += 50) state = learned(state, samples.slice(at, at + 50));
  return state;
};

describe('the performance model', () => {
  it('predicts passes of the simulated engine within 15%, also longer ones than it has seen', () => {
    const time = passTimeOf(learnedFrom(passes(1000)));
    for (const [prefill, requests, kv] of [
      [0, 40, 60_000],
      [1500, 40, 60_000],
      [4000, 100, 160_000],
      [8192, 100, 160_000],
      [0, 200, 300_000],
    ] as const) {
      const truth = mockerTime(prefill, requests, kv);
      expect(Math.abs((time?.(prefill, requests, kv) ?? 0) / truth - 1), `${prefill}/${requests}/${kv}`).toBeLessThan(
        0.15,
      );
    }
  });

  it('rises with each argument', () => {
    const time = passTimeOf(learnedFrom(passes(500)));
    if (time === undefined) throw new Error('no model');
    for (const at of [0, 10, 1000]) {
      expect(time(at + 100, at, at)).toBeGreaterThanOrEqual(time(at, at, at));
      expect(time(at, at + 100, at)).toBeGreaterThanOrEqual(time(at, at, at));
      expect(time(at, at, at + 100)).toBeGreaterThanOrEqual(time(at, at, at));
    }
  });

  it('is absent until 20 passes of three kinds are known', () => {
    expect(passTimeOf(EMPTY)).toBeUndefined();
    expect(passTimeOf(learned(EMPTY, passes(10)))).toBeUndefined();
    const [one] = passes(1);
    expect(
      passTimeOf(
        learned(
          EMPTY,
          Array.from({ length: 100 }, () => one as PassSample),
        ),
      ),
    ).toBeUndefined();
  });

  it('ignores passes that cannot have happened', () => {
    const [good] = passes(1) as [PassSample];
    const absurd = [
      { ...good, wallMs: 0 },
      { ...good, wallMs: Number.NaN },
      { ...good, wallMs: 1e9 },
      { ...good, prefillTokens: -1 },
      { ...good, kvTokens: Number.POSITIVE_INFINITY },
      { ...good, prefillTokens: 0, decodeRequests: 0 },
    ];
    expect(learned(EMPTY, absurd)).toEqual(EMPTY);
  });

  it('is hardly moved by a pause of an engine', () => {
    const state = learnedFrom(passes(1000));
    const paused = learned(
      state,
      passes(20, 2).map((pass) => ({ ...pass, wallMs: pass.wallMs + 20_000 })),
    );
    const [before, after] = [passTimeOf(state), passTimeOf(paused)].map((time) => time?.(1500, 40, 60_000) ?? 0);
    expect(after as number).toBeLessThan(1.5 * (before as number));
  });

  it('keeps 64 buckets at most, as JSON', () => {
    const state = learnedFrom(passes(5000));
    expect(state.buckets.length).toBeLessThanOrEqual(64);
    expect(JSON.parse(JSON.stringify(state))).toEqual(state);
  });
});

describe('nonNegativeLeastSquares', () => {
  it('finds coefficients that are not negative', () => {
    const rows = Array.from({ length: 20 }, (_, x) => [1, x]);
    const found = nonNegativeLeastSquares(
      rows,
      rows.map(([, x]) => 3 + 2 * (x as number)),
    );
    expect(found[0]).toBeCloseTo(3, 4);
    expect(found[1]).toBeCloseTo(2, 5);
  });

  it('returns 0 for a column that could only be negative, and for an empty one', () => {
    const rows = Array.from({ length: 20 }, (_, x) => [1, x, 0]);
    const found = nonNegativeLeastSquares(
      rows,
      rows.map(([, x]) => 30 - (x as number)),
    );
    expect(found[1]).toBe(0);
    expect(found[2]).toBe(0);
  });
});
