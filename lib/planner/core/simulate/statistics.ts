/** A mean of repeated runs, and the interval that has the true mean in 95% of such repetitions. */
export interface Estimate {
  readonly mean: number;
  readonly low: number;
  readonly high: number;
}

/** Quantiles 0.975 of Student's t distribution, by degrees of freedom from 1. */
const T = [
  12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131, 2.12, 2.11,
  2.101, 2.093, 2.086, 2.08, 2.074, 2.069, 2.064, 2.06, 2.056, 2.052, 2.048, 2.045, 2.042,
];
const NORMAL = 1.96;

/** Estimates a mean by Student's t distribution. One value has no interval. */
export function estimateOf(values: readonly number[]): Estimate {
  const count = values.length;
  const mean = values.reduce((sum, value) => sum + value, 0) / Math.max(1, count);
  if (count < 2) return { mean, low: mean, high: mean };
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (count - 1);
  const half = (T[count - 2] ?? NORMAL) * Math.sqrt(variance / count);
  return { mean, low: mean - half, high: mean + half };
}

/** The interval of a share that was found `met` times in `count` runs, at 95%. Source: Wilson's score interval. */
export function shareOf(met: number, count: number): Estimate {
  const [share, square] = [met / count, NORMAL ** 2];
  const centre = (share + square / (2 * count)) / (1 + square / count);
  const half =
    (NORMAL / (1 + square / count)) * Math.sqrt((share * (1 - share)) / count + square / (4 * count * count));
  return { mean: share, low: Math.max(0, centre - half), high: Math.min(1, centre + half) };
}
