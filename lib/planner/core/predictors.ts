import { adaptiveForecast, dispersionOf, type Forecast } from './adaptive.js';
import { autoregressiveForecast } from './autoregressive.js';
import { meanOf, quotient, type TimeSeries } from './series.js';

/** What a predictor needs besides the past. */
export interface PredictorOptions {
  /** The length of a season. */
  readonly seasonMs: number;
}

/** Predicts a rate `horizonMs` after the last bin of a series. Pure: the same past gives the same forecast. */
export type Predictor = (series: TimeSeries, horizonMs: number, options: PredictorOptions) => Forecast;

/** The time for which predictor `burst` remembers a burst. */
const BURST_MEMORY_MS = 600_000;
/** Bins whose mean is a burst; single bins are noise. */
const BURST_BINS = 3;

/** The last bin, with Poisson's noise. */
function constant(series: TimeSeries): Forecast {
  const last = series.at(-1);
  if (last === undefined) return { mean: 0, deviation: 0 };
  const mean = quotient(last);
  return { mean, deviation: Math.sqrt((dispersionOf(series, 'counts').value * mean) / last.exposure) };
}

/** Variances of the steps of level and trend, as shares of the variance of an observation. */
const KALMAN_NOISE = { level: 0.1, trend: 0.01 };

/** A Kalman filter for a level and a trend, both of which drift. */
function kalman(series: TimeSeries, horizonMs: number): Forecast {
  const [first, ...rest] = series;
  if (first === undefined) return { mean: 0, deviation: 0 };
  const dispersion = dispersionOf(series, 'counts').value;
  const observed = (exposure: number): number => (dispersion * Math.max(1e-6, meanOf(series))) / exposure;
  let [level, trend] = [quotient(first), 0];
  let [levelVariance, covariance, trendVariance] = [100 * observed(first.exposure), 0, 100 * observed(first.exposure)];
  const step = (noise: number): void => {
    level += trend;
    levelVariance += 2 * covariance + trendVariance + KALMAN_NOISE.level * noise;
    covariance += trendVariance;
    trendVariance += KALMAN_NOISE.trend * noise;
  };
  for (const bin of rest) {
    const noise = observed(bin.exposure);
    step(noise);
    const total = levelVariance + noise;
    const [levelGain, trendGain] = [levelVariance / total, covariance / total];
    const innovation = quotient(bin) - level;
    level += levelGain * innovation;
    trend += trendGain * innovation;
    trendVariance -= trendGain * covariance;
    covariance *= 1 - levelGain;
    levelVariance *= 1 - levelGain;
  }
  const steps = stepsOf(series, horizonMs);
  const variance = levelVariance + 2 * steps * covariance + steps * steps * trendVariance;
  return { mean: Math.max(0, level + steps * trend), deviation: Math.sqrt(Math.max(0, variance)) };
}

/** A horizon in bins of the length of the last one. */
export function stepsOf(series: TimeSeries, horizonMs: number): number {
  const [before, last] = [series.at(-2), series.at(-1)];
  if (before === undefined || last === undefined || last.endMs <= before.endMs) return 1;
  return Math.min(1000, Math.max(1, Math.round(horizonMs / (last.endMs - before.endMs))));
}

/** The rate at the same time of earlier seasons, scaled to the present load. Without one season it is `adaptive`. */
function seasonal(series: TimeSeries, horizonMs: number, { seasonMs }: PredictorOptions): Forecast {
  const present = adaptiveForecast(series, 0);
  const [first, last] = [series[0], series.at(-1)];
  if (first === undefined || last === undefined || last.endMs + horizonMs - seasonMs < first.endMs)
    return adaptiveForecast(series, horizonMs);
  const seasonBack = (atMs: number): TimeSeries =>
    series.filter(({ endMs }) => {
      const seasons = Math.round((atMs - endMs) / seasonMs);
      return seasons > 0 && Math.abs(atMs - endMs - seasons * seasonMs) <= Math.max(horizonMs, seasonMs / 48) / 2;
    });
  const [then, ahead] = [meanOf(seasonBack(last.endMs)), meanOf(seasonBack(last.endMs + horizonMs))];
  const scale = then > 0 ? present.mean / then : 1;
  return { mean: ahead * scale, deviation: present.deviation };
}

/** The highest load of the last ten minutes, or the present one if it is higher. */
function burst(series: TimeSeries, horizonMs: number): Forecast {
  const present = adaptiveForecast(series, horizonMs);
  const last = series.at(-1)?.endMs ?? 0;
  const recent = series.filter(({ endMs }) => endMs > last - BURST_MEMORY_MS);
  let highest = 0;
  for (let end = BURST_BINS; end <= recent.length; end++)
    highest = Math.max(highest, meanOf(recent.slice(end - BURST_BINS, end)));
  return { mean: Math.max(present.mean, highest), deviation: present.deviation };
}

/** How a rate is predicted. */
export type PredictorName = 'adaptive' | 'constant' | 'kalman' | 'autoregressive' | 'seasonal' | 'burst';

/** All predictors, by name. */
export const PREDICTORS: Readonly<Record<PredictorName, Predictor>> = {
  adaptive: (series, horizonMs) => adaptiveForecast(series, horizonMs),
  constant,
  kalman,
  autoregressive: autoregressiveForecast,
  seasonal,
  burst,
};
