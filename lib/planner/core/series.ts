/**
 * Amounts that were counted over exposures: requests over seconds, or tokens over requests. The quotient of both is the
 * rate or the mean of a bin.
 */
export interface Bin {
  /** When the bin ended. */
  readonly endMs: number;
  readonly exposure: number;
  readonly amount: number;
}

/** The past of one quantity, oldest first. */
export type TimeSeries = readonly Bin[];

/** Bins that are kept. If there are more, pairs of the older half are merged. */
const MAX_BINS = 512;

const merged = (first: Bin, second: Bin): Bin => ({
  endMs: second.endMs,
  exposure: first.exposure + second.exposure,
  amount: first.amount + second.amount,
});

/** The series with another bin. A bin without exposure, or with a value that is no count, is ignored. */
export function appended(series: TimeSeries, bin: Bin): TimeSeries {
  if (!(bin.exposure > 0) || !(bin.amount >= 0) || !Number.isFinite(bin.exposure + bin.amount)) return series;
  if (series.length < MAX_BINS) return [...series, bin];
  const half = MAX_BINS / 2;
  const older: Bin[] = [];
  for (let index = 0; index < half; index += 2) older.push(merged(series[index] as Bin, series[index + 1] as Bin));
  return [...older, ...series.slice(half), bin];
}

export const quotient = ({ amount, exposure }: Bin): number => amount / exposure;

/** The amount of all bins over their exposure; 0 without bins. */
export function meanOf(bins: TimeSeries): number {
  let [amount, exposure] = [0, 0];
  for (const bin of bins) {
    amount += bin.amount;
    exposure += bin.exposure;
  }
  return exposure === 0 ? 0 : amount / exposure;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return 0;
  return sorted.length % 2 === 1
    ? (sorted[middle] as number)
    : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}
