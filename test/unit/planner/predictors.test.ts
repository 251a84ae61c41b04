import { describe, expect, it } from 'vitest';
import { adaptiveForecast, dispersionOf } from '../../../lib/planner/core/adaptive.js';
import { PREDICTORS, type PredictorName } from '../../../lib/planner/core/predictors.js';
import { appended, meanOf, type TimeSeries } from '../../../lib/planner/core/series.js';
import { randomNumbers } from '../../helpers/random.js';

const STEP_MS = 5000;

/** A count with Poisson's distribution. */
function poisson(mean: number, random: () => number): number {
  let [count, product] = [0, random()];
  const limit = Math.exp(-mean);
  for (; product > limit; count++) product *= random();
  return count;
}

/** Bins of 5 s of a load with a rate for each bin. */
function load(bins: number, rateAt: (bin: number) => number, seed = 1): TimeSeries {
  const random = randomNumbers(seed);
  let series: TimeSeries = [];
  for (let bin = 0; bin < bins; bin++)
    series = appended(series, {
      endMs: (bin + 1) * STEP_MS,
      exposure: STEP_MS / 1000,
      amount: poisson(rateAt(bin) * 5, random),
    });
  return series;
}

const options = { seasonMs: 60 * STEP_MS };
const names = Object.keys(PREDICTORS) as PredictorName[];

describe('predictors', () => {
  it.each(names)('%s predicts a constant rate within 25%%', (name) => {
    const series = load(100, () => 20);
    for (const horizon of [0, 35_000])
      expect(Math.abs(PREDICTORS[name](series, horizon, options).mean - 20)).toBeLessThan(5);
  });

  it.each(names)('%s predicts nothing without a past', (name) => {
    expect(PREDICTORS[name]([], 35_000, options)).toEqual({ mean: 0, deviation: 0 });
  });

  it.each(names)('%s returns finite values that are not negative for loads that end, begin and repeat', (name) => {
    const series = [
      load(3, () => 0),
      load(40, (bin) => (bin < 20 ? 30 : 0)),
      load(40, (bin) => (bin < 20 ? 0 : 10)),
      load(200, (bin) => 10 + 8 * Math.sin(bin / 5)),
      load(1, () => 5),
    ];
    for (const past of series) {
      const { mean, deviation } = PREDICTORS[name](past, 35_000, options);
      expect(Number.isFinite(mean) && mean >= 0, `${mean}`).toBe(true);
      expect(Number.isFinite(deviation) && deviation >= 0, `${deviation}`).toBe(true);
    }
  });

  it.each(['adaptive', 'kalman'] as const)('%s follows a ramp ahead of it', (name) => {
    const series = load(60, (bin) => 10 + bin);
    const { mean } = PREDICTORS[name](series, 7 * STEP_MS, options);
    expect(Math.abs(mean - 76)).toBeLessThan(12);
  });

  it('autoregressive predicts an oscillation', () => {
    const rate = (bin: number): number => 40 + 30 * Math.sin((2 * Math.PI * bin) / 12);
    const { mean } = PREDICTORS.autoregressive(load(120, rate), 6 * STEP_MS, options);
    expect(Math.abs(mean - rate(125))).toBeLessThan(15);
  });

  it('seasonal predicts the rise of the last season', () => {
    const rate = (bin: number): number => (bin % 60 < 30 ? 5 : 25);
    expect(PREDICTORS.seasonal(load(145, rate), 10 * STEP_MS, options).mean).toBeGreaterThan(18);
    expect(PREDICTORS.adaptive(load(145, rate), 10 * STEP_MS, options).mean).toBeLessThan(8);
  });

  it('burst remembers a burst for ten minutes', () => {
    const after = (bins: number): number =>
      PREDICTORS.burst(
        load(20 + bins, (bin) => (bin < 10 ? 50 : 5)),
        0,
        options,
      ).mean;
    expect(after(60)).toBeGreaterThan(40);
    expect(after(140)).toBeLessThan(10);
  });
});

describe('the adaptive predictor', () => {
  it('has less noise the longer a constant load lasts', () => {
    const deviations = [5, 20, 100].map(
      (bins) =>
        adaptiveForecast(
          load(bins, () => 20),
          0,
        ).deviation,
    );
    expect(deviations[1]).toBeLessThan(deviations[0] as number);
    expect(deviations[2]).toBeLessThan(deviations[1] as number);
    expect(deviations[2]).toBeLessThan(0.5);
  });

  it('follows a step within two bins and does not take it for a trend', () => {
    const { mean } = adaptiveForecast(
      load(42, (bin) => (bin < 40 ? 10 : 40)),
      35_000,
    );
    expect(mean).toBeGreaterThan(30);
    expect(mean).toBeLessThan(50);
  });

  it('errs by no more than four deviations in 99 of 100 constant loads', () => {
    const seeds = Array.from({ length: 200 }, (_, seed) => seed + 1);
    const misses = seeds.filter((seed) => {
      const { mean, deviation } = adaptiveForecast(
        load(60, () => 20, seed),
        35_000,
      );
      return Math.abs(mean - 20) > 4 * deviation;
    });
    expect(misses.length).toBeLessThanOrEqual(2);
  });
});

describe('dispersionOf', () => {
  it('returns about 1 for independent arrivals, also around a step', () => {
    expect(
      dispersionOf(
        load(128, () => 20),
        'counts',
      ).value,
    ).toBeLessThan(1.6);
    expect(
      dispersionOf(
        load(128, (bin) => (bin < 64 ? 10 : 60)),
        'counts',
      ).value,
    ).toBeLessThan(1.6);
  });

  it('returns more for arrivals in batches', () => {
    const batches = load(128, () => 4).map((bin) => ({ ...bin, amount: bin.amount * 10 }));
    expect(dispersionOf(batches, 'counts').value).toBeGreaterThan(5);
  });
});

describe('a time series', () => {
  it('merges old bins and keeps their sums', () => {
    const series = load(2000, () => 10);
    expect(series.length).toBeLessThanOrEqual(512);
    expect(series.reduce((sum, { exposure }) => sum + exposure, 0)).toBe(10_000);
    expect(Math.abs(meanOf(series) - 10)).toBeLessThan(0.2);
  });

  it.each([
    ['no exposure', { exposure: 0, amount: 1 }],
    ['a negative amount', { exposure: 1, amount: -1 }],
    ['NaN', { exposure: 1, amount: Number.NaN }],
    ['infinity', { exposure: 1, amount: Number.POSITIVE_INFINITY }],
  ])('ignores a bin with %s', (_, bin) => {
    expect(appended([], { endMs: 1, ...bin })).toEqual([]);
  });
});
