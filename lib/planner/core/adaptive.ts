import { type Bin, meanOf, median, quotient, type TimeSeries } from './series.js';

/** A predicted value and the standard deviation of its error. */
export interface Forecast {
  readonly mean: number;
  readonly deviation: number;
}

/**
 * How the variance of a bin depends on the mean: `counts` like Poisson's, `sizes` like those of prompt lengths, whose
 * deviation is in proportion to their mean.
 */
export type Noise = 'counts' | 'sizes';

/** The median of the square of a standard normal variable. */
const MEDIAN_CHI_SQUARE = 0.4549;
/** Deviations of a recent mean from a fit, from which the fit is contradicted. */
const CONTRADICTION = 4;
/** Standard errors of a slope, from which it is a trend. */
const TREND = 3;
/** Bins whose differences show the noise. */
const NOISE_BINS = 128;
/** Differences as which the assumption counts that the noise is that of Poisson. */
const ASSUMED_DIFFERENCES = 32;

const varianceScale = (mean: number, noise: Noise): number => (noise === 'counts' ? mean : mean * mean);

/** The relative standard error of a dispersion that is found by a median, for one difference. */
const MEDIAN_ERROR = 2.3;

/** A dispersion, and the least that it may be by its standard error. */
export interface Dispersion {
  readonly value: number;
  readonly least: number;
}

/**
 * The variance of a series beside that of Poisson's counts, or of sizes with deviation 1: for counts the index of
 * dispersion, for sizes the squared coefficient of variation. Differences of neighbours show it, so that a trend or a
 * step does not count as noise.
 */
export function dispersionOf(series: TimeSeries, noise: Noise): Dispersion {
  const recent = series.slice(-NOISE_BINS);
  const ratios: number[] = [];
  for (let index = 1; index < recent.length; index++) {
    const [before, after] = [recent[index - 1] as Bin, recent[index] as Bin];
    const mean = meanOf([before, after]);
    if (mean === 0) continue;
    const variance = varianceScale(mean, noise) * (1 / before.exposure + 1 / after.exposure);
    ratios.push((quotient(after) - quotient(before)) ** 2 / variance);
  }
  const found = median(ratios) / MEDIAN_CHI_SQUARE;
  const differences = ratios.length + ASSUMED_DIFFERENCES;
  const known = ratios.length / differences;
  const floor = noise === 'counts' ? 1 : 0.01;
  const value = Math.max(floor, known * found + (1 - known));
  return { value, least: Math.max(floor, value * (1 - MEDIAN_ERROR / Math.sqrt(differences))) };
}

interface Line {
  readonly level: number;
  readonly slope: number;
  /** Variances of level, slope and their covariance, at the time 0 of the fit. */
  readonly levelVariance: number;
  readonly slopeVariance: number;
  readonly covariance: number;
}

/** Sums over the youngest bins, which grow by one bin at a time. Times count from the youngest bin backwards. */
class Window {
  #weight = 0;
  #time = 0;
  #timeSquare = 0;
  #amount = 0;
  #amountTime = 0;
  length = 0;

  add(bin: Bin, time: number): void {
    this.#weight += bin.exposure;
    this.#time += bin.exposure * time;
    this.#timeSquare += bin.exposure * time * time;
    this.#amount += bin.amount;
    this.#amountTime += bin.amount * time;
    this.length++;
  }

  constant(noise: Noise, dispersion: number): Line {
    const level = this.#amount / this.#weight;
    const variance = (dispersion * varianceScale(level, noise)) / this.#weight;
    return { level, slope: 0, levelVariance: variance, slopeVariance: 0, covariance: 0 };
  }

  line(noise: Noise, dispersion: number): Line | undefined {
    const determinant = this.#weight * this.#timeSquare - this.#time * this.#time;
    if (this.length < 3 || !(determinant > 1e-9)) return undefined;
    const slope = (this.#weight * this.#amountTime - this.#time * this.#amount) / determinant;
    const level = (this.#amount - slope * this.#time) / this.#weight;
    const unit = dispersion * varianceScale(this.#amount / this.#weight, noise);
    return {
      level,
      slope,
      levelVariance: (unit * this.#timeSquare) / determinant,
      slopeVariance: (unit * this.#weight) / determinant,
      covariance: (-unit * this.#time) / determinant,
    };
  }
}

/** Deviations of sums of bins from a fit: `amount` was counted where `expected` was. */
function deviationsOf(amount: number, expected: number, exposure: number, noise: Noise, spread: number): number {
  // The square root makes the variance of counts constant, so that few counts do not look like a change.
  return noise === 'counts'
    ? (2 * (Math.sqrt(amount + 0.375) - Math.sqrt(expected + 0.375))) / Math.sqrt(spread)
    : (amount - expected) / Math.sqrt(Math.max(1e-12, (spread * expected * expected) / exposure));
}

/**
 * Whether the youngest `length` bins agree with a fit: the bins together, as a chi-square, and the means of the
 * youngest and the oldest 1, 2, 4, ... of them.
 */
function agrees(
  bins: readonly Bin[],
  times: readonly number[],
  length: number,
  line: Line,
  noise: Noise,
  spread: number,
): boolean {
  const amounts = [0];
  const expectations = [0];
  const exposures = [0];
  let chiSquare = 0;
  for (let index = 0; index < length; index++) {
    const { amount, exposure } = bins[index] as Bin;
    const expected = exposure * Math.max(0, line.level + line.slope * (times[index] as number));
    chiSquare += deviationsOf(amount, expected, exposure, noise, spread) ** 2;
    amounts.push((amounts[index] as number) + amount);
    expectations.push((expectations[index] as number) + expected);
    exposures.push((exposures[index] as number) + exposure);
  }
  if (chiSquare > length + CONTRADICTION * Math.sqrt(2 * length)) return false;
  const isNear = (from: number, to: number): boolean => {
    const between = (sums: readonly number[]): number => (sums[to] as number) - (sums[from] as number);
    const found = deviationsOf(between(amounts), between(expectations), between(exposures), noise, spread);
    return Math.abs(found) <= CONTRADICTION;
  };
  for (let part = 1; part <= length / 2; part *= 2)
    if (!isNear(0, part) || !isNear(length - part, length)) return false;
  return true;
}

/**
 * Predicts by a constant, or a line, over the longest past that does not contradict it. Constant load gets a long
 * window and little noise; after a step the window begins at the step. A line counts only if it holds for longer than
 * a constant, and reaches back as far as it predicts. It flattens ahead. Source of the method: Lepski's rule.
 *
 * @param horizonMs how far after the last bin
 */
export function adaptiveForecast(series: TimeSeries, horizonMs: number, noise: Noise = 'counts'): Forecast {
  const last = series.at(-1);
  if (last === undefined) return { mean: 0, deviation: 0 };
  const spread = dispersionOf(series, noise).value;
  const bins = [...series].reverse();
  const times = bins.map(({ endMs }) => (endMs - last.endMs) / 1000);
  const window = new Window();
  window.add(bins[0] as Bin, 0);
  let constant = { line: window.constant(noise, spread), length: 1 };
  let trend: Fitted | undefined;
  let [isFlat, isLine] = [true, true];
  for (let length = 2, next = 2; length <= bins.length && (isFlat || isLine); length++) {
    window.add(bins[length - 1] as Bin, times[length - 1] as number);
    if (length < next && length < bins.length) continue;
    next = Math.ceil(length * 1.25 + 0.5);
    const flat = window.constant(noise, spread);
    isFlat &&= agrees(bins, times, length, flat, noise, spread);
    if (isFlat) constant = { line: flat, length };
    const line = window.line(noise, spread);
    if (line === undefined) continue;
    isLine &&= agrees(bins, times, length, line, noise, spread);
    if (isLine) trend = { line, length };
  }
  if (trend === undefined || trend.length <= constant.length || !isTrend(trend.line)) return ahead(constant.line, 0);
  const reachMs = -(times[trend.length - 1] as number) * 1000;
  if (reachMs < horizonMs) return ahead(constant.line, 0);
  // A trend is expected to last about as long as it has lasted.
  return ahead(trend.line, (reachMs * (1 - Math.exp(-horizonMs / reachMs))) / 1000);
}

interface Fitted {
  readonly line: Line;
  /** In bins. */
  readonly length: number;
}

const isTrend = ({ slope, slopeVariance }: Line): boolean => Math.abs(slope) > TREND * Math.sqrt(slopeVariance);

/** The value of a line some seconds ahead. */
function ahead(line: Line, seconds: number): Forecast {
  const variance = line.levelVariance + 2 * seconds * line.covariance + seconds * seconds * line.slopeVariance;
  return { mean: Math.max(0, line.level + line.slope * seconds), deviation: Math.sqrt(Math.max(0, variance)) };
}
