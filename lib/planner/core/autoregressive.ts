import type { Forecast } from './adaptive.js';
import { quotient, type TimeSeries } from './series.js';

/** Bins that a fit uses. */
const FIT_BINS = 128;
const MAX_ORDER = 6;

interface Fit {
  readonly coefficients: readonly number[];
  readonly variance: number;
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

/** Autocovariances of centred values for the lags 0 to `maxLag`. */
function autocovariances(values: readonly number[], maxLag: number): number[] {
  return Array.from({ length: maxLag + 1 }, (_, lag) => {
    let sum = 0;
    for (let index = lag; index < values.length; index++)
      sum += (values[index] as number) * (values[index - lag] as number);
    return sum / values.length;
  });
}

/** The autoregressive fit of the order with the least criterion of Akaike, by the recursion of Levinson and Durbin. */
function fitOf(values: readonly number[]): Fit {
  const covariances = autocovariances(values, Math.min(MAX_ORDER, Math.floor(values.length / 4)));
  let best: Fit = { coefficients: [], variance: covariances[0] as number };
  let [coefficients, variance]: [number[], number] = [[], best.variance];
  let criterion = values.length * Math.log(variance + 1e-12);
  for (let order = 1; order < covariances.length && variance > 1e-12; order++) {
    const explained = coefficients.reduce((sum, each, lag) => sum + each * (covariances[order - 1 - lag] as number), 0);
    const reflection = ((covariances[order] as number) - explained) / variance;
    const before = coefficients;
    coefficients = before.map((each, lag) => each - reflection * (before[order - 2 - lag] as number));
    coefficients.push(reflection);
    variance *= 1 - reflection * reflection;
    const found = values.length * Math.log(variance + 1e-12) + 2 * order;
    if (found >= criterion) continue;
    criterion = found;
    best = { coefficients, variance };
  }
  return best;
}

/**
 * Predicts by an autoregression of the rates or, if these wander, of their differences: an ARIMA(p, 0 or 1, 0). The
 * bins must have one length; older ones that do not are not used.
 */
export function autoregressiveForecast(series: TimeSeries, horizonMs: number): Forecast {
  const last = series.at(-1);
  if (last === undefined) return { mean: 0, deviation: 0 };
  const even = evenTail(series);
  const rates = even.map(quotient);
  if (rates.length < 8) return { mean: quotient(last), deviation: Math.sqrt(quotient(last) / last.exposure) };

  const differences = rates.slice(1).map((rate, index) => rate - (rates[index] as number));
  const centre = mean(rates);
  const levels = rates.map((rate) => rate - centre);
  const [ofLevels, ofDifferences] = [fitOf(levels), fitOf(differences)];
  const wanders = ofDifferences.variance < ofLevels.variance;
  const { coefficients, variance } = wanders ? ofDifferences : ofLevels;

  const past = wanders ? differences : levels;
  const stepMs = last.endMs - (even.at(-2)?.endMs ?? last.endMs) || 1000;
  const steps = Math.min(1000, Math.max(1, Math.round(horizonMs / stepMs)));
  const future = [...past];
  const weights = [1];
  for (let step = 0; step < steps; step++) {
    future.push(coefficients.reduce((sum, each, lag) => sum + each * (future.at(-1 - lag) ?? 0), 0));
    weights.push(coefficients.reduce((sum, each, lag) => sum + each * (weights.at(-1 - lag) ?? 0), 0));
  }
  const added = future.slice(past.length).reduce((sum, each) => sum + each, 0);
  const predicted = wanders ? quotient(last) + added : centre + (future.at(-1) as number);
  const spread = accumulated(weights.slice(0, steps), wanders);
  return { mean: Math.max(0, predicted), deviation: Math.sqrt(variance * spread) };
}

/** The sum of squares of the weights with which past noise enters a forecast. */
function accumulated(weights: readonly number[], isSum: boolean): number {
  let [total, running] = [0, 0];
  for (const weight of weights) {
    running = isSum ? running + weight : weight;
    total += running * running;
  }
  return total;
}

/** The youngest bins that have about the length of the last one. */
function evenTail(series: TimeSeries): TimeSeries {
  const length = series.at(-1)?.exposure ?? 0;
  let from = series.length;
  while (from > 0 && series.length - from < FIT_BINS) {
    const { exposure } = series[from - 1] as { exposure: number };
    if (exposure > 1.5 * length || exposure < length / 1.5) break;
    from--;
  }
  return series.slice(from);
}
