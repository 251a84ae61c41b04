/** What a counter has gained since it was `before`. A counter that falls has begun again at 0. */
const gainOf = (before: number, now: number): number => (now < before ? now : now - before);

/** The gain of a counter a second; undefined if it was not known `seconds` ago. */
export function rateOf(before: number | undefined, now: number, seconds: number): number | undefined {
  return before === undefined || seconds <= 0 ? undefined : gainOf(before, now) / seconds;
}

/** What counters have gained since the last reading. */
export class CounterGains {
  #before = new Map<string, number>();
  #now = new Map<string, number>();
  #beforeMs: number | undefined;
  #nowMs = 0;

  /** Begins a reading. Counters that it does not `set` are forgotten. */
  begin(nowMs: number): void {
    this.#beforeMs = this.#now.size === 0 ? undefined : this.#nowMs;
    this.#before = this.#now;
    this.#now = new Map();
    this.#nowMs = nowMs;
  }

  /** Adds to a counter of this reading. */
  add(name: string, value: number): void {
    this.#now.set(name, (this.#now.get(name) ?? 0) + value);
  }

  /** Undefined unless the last reading had the counter too. */
  gain(name: string): number | undefined {
    const [before, now] = [this.#before.get(name), this.#now.get(name)];
    return before === undefined || now === undefined ? undefined : gainOf(before, now);
  }

  /** A second. */
  rate(name: string): number | undefined {
    const gain = this.gain(name);
    const seconds = this.#beforeMs === undefined ? 0 : (this.#nowMs - this.#beforeMs) / 1000;
    return gain === undefined || seconds <= 0 ? undefined : gain / seconds;
  }
}

/**
 * A quantile from the gains of the cumulative buckets of a histogram, by linear interpolation as in Prometheus.
 *
 * @param buckets pairs of upper bound and cumulative count, ascending by bound; the last bound is Infinity
 * @returns undefined if nothing was counted
 */
export function quantileOf(
  buckets: readonly (readonly [bound: number, count: number])[],
  share: number,
): number | undefined {
  const total = buckets.at(-1)?.[1] ?? 0;
  if (!(total > 0)) return undefined;
  const rank = share * total;
  let [lower, below] = [0, 0];
  for (const [bound, count] of buckets) {
    if (count >= rank) {
      if (!Number.isFinite(bound)) return lower;
      return count === below ? bound : lower + ((bound - lower) * (rank - below)) / (count - below);
    }
    [lower, below] = [bound, count];
  }
  return lower;
}
