import { synthesizeTrace } from 'dynamo-node/planner';
import { describe, expect, it } from 'vitest';
import { dominates, frontOf, type Scenario, staticFleets } from '../../../lib/planner/core/simulate/entrants.js';
import { estimateOf, shareOf } from '../../../lib/planner/core/simulate/statistics.js';
import { tune } from '../../../lib/planner/core/simulate/tune.js';
import { mockerEngine } from '../../helpers/planner/engine.js';

const SCENARIO: Scenario = {
  ...{ mode: 'agg', engine: mockerEngine, coldStartMs: 30_000, ttftMs: 2000, itlMs: 50, attainment: 0.99 },
  ...{ maxGpus: 6, gpusPerWorker: 1, contextTokens: 8192 },
};

describe('estimateOf', () => {
  it('returns the mean and its 95% interval', () => {
    const { mean, low, high } = estimateOf([1, 2, 3, 4, 5]);
    expect(mean).toBe(3);
    // 2.776 * sqrt(2.5 / 5)
    expect([low, high]).toEqual([expect.closeTo(1.037, 3), expect.closeTo(4.963, 3)]);
    expect(estimateOf([7])).toEqual({ mean: 7, low: 7, high: 7 });
  });
});

describe('shareOf', () => {
  it("returns Wilson's interval, which stays within 0 and 1", () => {
    expect(shareOf(10, 10)).toEqual({ mean: 1, low: expect.closeTo(0.7225, 4), high: 1 });
    expect(shareOf(0, 10)).toEqual({ mean: 0, low: 0, high: expect.closeTo(0.2775, 4) });
    expect(shareOf(5, 10)).toEqual({ mean: 0.5, low: expect.closeTo(0.2366, 4), high: expect.closeTo(0.7634, 4) });
  });
});

describe('frontOf', () => {
  it('returns what nothing else beats in both figures', () => {
    const fleets = [
      { goodput: 0.9, gpuHours: 1 },
      { goodput: 0.9, gpuHours: 1.2 },
      { goodput: 0.95, gpuHours: 1.2 },
      { goodput: 0.5, gpuHours: 0.4 },
    ];
    expect(frontOf(fleets)).toEqual([fleets[0], fleets[2], fleets[3]]);
    expect(dominates({ goodput: 0.9, gpuHours: 1 }, { goodput: 0.9, gpuHours: 1 })).toBe(false);
  });
});

describe('staticFleets', () => {
  it('returns the fleets within the budget, small ones first', () => {
    expect(staticFleets({ ...SCENARIO, gpusPerWorker: 2 })).toEqual([{ worker: 1 }, { worker: 2 }, { worker: 3 }]);
    expect(staticFleets({ ...SCENARIO, mode: 'disagg', maxGpus: 3 })).toEqual([
      { prefill: 1, decode: 1 },
      { prefill: 1, decode: 2 },
      { prefill: 2, decode: 1 },
    ]);
  });
});

describe('tune', () => {
  const trace = (shape: 'flat' | 'diurnal', rate: number, durationMs: number) =>
    synthesizeTrace({ shape, seed: 2, durationMs, rate, inputTokens: 1500, outputTokens: 200 });

  it('finds the smallest static fleet for a constant load, and says in how many runs it was enough', () => {
    const load = trace('flat', 40, 40_000);
    const { best, margin, trials } = tune(SCENARIO, load, { runs: 4, seed: 1 });
    expect(best).toMatchObject({ kind: 'static', isSure: true, runs: 4, met: { mean: 1 } });
    expect(best?.goodput.low).toBeGreaterThanOrEqual(0.99);
    const hours = trials.map(({ gpuHours }) => Number(gpuHours.mean.toPrecision(6)));
    expect(hours).toEqual([...hours].sort((a, b) => a - b));
    expect(trials.filter(({ isSure }) => isSure)[0]).toBe(best);
    expect(margin?.gpuHours.mean).toBeGreaterThan(-1e-9);
    expect(tune(SCENARIO, load, { runs: 4, seed: 1 })).toEqual(tune(SCENARIO, load, { runs: 4, seed: 1 }));
  });

  it('prefers a planner to the static fleet of the peak if the load rises and falls slowly', () => {
    const { best, trials } = tune({ ...SCENARIO, coldStartMs: 3000, maxGpus: 4 }, trace('diurnal', 8, 300_000), {
      ...{ runs: 3, seed: 1 },
    });
    expect(best?.kind).toBe('planner');
    const fleet = trials.find(({ kind, isSure }) => kind === 'static' && isSure);
    expect(best?.gpuHours.high).toBeLessThan(fleet?.gpuHours.low ?? 0);
  });

  it('returns no best configuration if none within the budget meets the SLA', () => {
    const { best, trials } = tune({ ...SCENARIO, maxGpus: 1 }, trace('flat', 60, 60_000), { runs: 4, seed: 1 });
    expect([best, trials]).toEqual([undefined, []]);
  });
});
