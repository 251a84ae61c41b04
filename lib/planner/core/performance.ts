import { nonNegativeLeastSquares } from './regression.js';
import type { PassBucket, PassSample, PerformanceState } from './types.js';

/** Buckets of similar passes that are kept: those that were hit last. */
const MAX_BUCKETS = 64;
/** Passes over which the mean of a bucket extends. */
const MEMORY = 32;
/** Passes of a bucket from which it has its full weight in a fit. */
const FULL_WEIGHT = 8;
/** Passes and buckets from which a fit is used. */
const [MIN_PASSES, MIN_BUCKETS] = [20, 3];
/**
 * A pass counts as at most this multiple of the mean of its bucket: pauses of an engine are no property of the load.
 */
const MAX_RATIO = 3;
/** Passes that one call learns from, evenly chosen. */
const MAX_LEARNED = 512;
const MAX_WALL_MS = 60_000;
const MAX_TOKENS = 1e9;

/** The duration of a pass in milliseconds. Rises with each argument. */
export type PassTime = (prefillTokens: number, decodeRequests: number, kvTokens: number) => number;

const isAmount = (value: number): boolean => value >= 0 && value <= MAX_TOKENS;

/** Whether a pass can have happened. A heartbeat is none. */
export function isPass({ wallMs, prefillTokens, decodeRequests, kvTokens }: PassSample): boolean {
  return (
    wallMs > 0 &&
    wallMs <= MAX_WALL_MS &&
    isAmount(prefillTokens) &&
    isAmount(decodeRequests) &&
    isAmount(kvTokens) &&
    prefillTokens + decodeRequests > 0
  );
}

const cell = (value: number): number => (value < 1 ? 0 : 1 + Math.floor(2 * Math.log2(value)));

const keyOf = ({ prefillTokens, decodeRequests, kvTokens }: PassSample): string =>
  `${cell(prefillTokens)}/${cell(decodeRequests)}/${cell(kvTokens)}`;

function updated(bucket: PassBucket | undefined, pass: PassSample): PassBucket {
  const key = bucket?.key ?? keyOf(pass);
  if (bucket === undefined) return { ...pass, key, count: 1 };
  const count = Math.min(bucket.count + 1, MEMORY);
  const mean = (before: number, now: number): number => before + (now - before) / count;
  return {
    key,
    count,
    prefillTokens: mean(bucket.prefillTokens, pass.prefillTokens),
    decodeRequests: mean(bucket.decodeRequests, pass.decodeRequests),
    kvTokens: mean(bucket.kvTokens, pass.kvTokens),
    wallMs: mean(bucket.wallMs, Math.min(pass.wallMs, MAX_RATIO * bucket.wallMs)),
  };
}

/** A model that has learned from more passes. Passes that cannot have happened are ignored. */
export function learned(state: PerformanceState, passes: readonly PassSample[]): PerformanceState {
  const buckets = new Map(state.buckets.map((bucket) => [bucket.key, bucket]));
  const stride = Math.max(1, passes.length / MAX_LEARNED);
  for (let at = 0; at < passes.length; at += stride) {
    const pass = passes[Math.floor(at)] as PassSample;
    if (!isPass(pass)) continue;
    const key = keyOf(pass);
    const bucket = updated(buckets.get(key), pass);
    buckets.delete(key);
    buckets.set(key, bucket);
  }
  return { buckets: [...buckets.values()].slice(-MAX_BUCKETS) };
}

/** A model from measured passes of a profile, each of which is a mean of many. */
export function profiled(passes: readonly PassSample[]): PerformanceState {
  const { buckets } = learned({ buckets: [] }, passes);
  return { buckets: buckets.map((bucket) => ({ ...bucket, count: FULL_WEIGHT })) };
}

/**
 * Terms of a pass: overhead, overhead of any prefill, prefill and its attention, requests and their KV cache. The root
 * lets the cost of the cache grow less than in proportion, as it does on engines that hide part of it.
 */
const featuresOf = (prefillTokens: number, decodeRequests: number, kvTokens: number): number[] => [
  1,
  prefillTokens > 0 ? 1 : 0,
  prefillTokens,
  prefillTokens * prefillTokens,
  decodeRequests,
  kvTokens,
  Math.sqrt(kvTokens),
];

/** The fitted duration of a pass, or undefined if too few passes are known. */
export function passTimeOf({ buckets }: PerformanceState): PassTime | undefined {
  const passes = buckets.reduce((sum, { count }) => sum + count, 0);
  if (buckets.length < MIN_BUCKETS || passes < MIN_PASSES) return undefined;
  // Relative errors count, so that short passes matter as much as long ones. A bucket of few passes counts less.
  const weights = buckets.map(({ count, wallMs }) => Math.sqrt(Math.min(count, FULL_WEIGHT) / FULL_WEIGHT) / wallMs);
  const rows = buckets.map((bucket, index) =>
    featuresOf(bucket.prefillTokens, bucket.decodeRequests, bucket.kvTokens).map(
      (feature) => feature * (weights[index] as number),
    ),
  );
  const coefficients = nonNegativeLeastSquares(
    rows,
    buckets.map(({ wallMs }, index) => wallMs * (weights[index] as number)),
  );
  return (prefillTokens, decodeRequests, kvTokens) =>
    featuresOf(prefillTokens, decodeRequests, kvTokens).reduce(
      (sum, feature, index) => sum + feature * (coefficients[index] as number),
      0,
    );
}
