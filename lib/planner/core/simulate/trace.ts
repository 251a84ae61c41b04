import { randomNumbers } from './random.js';

/** A request of a trace. */
export interface TraceRequest {
  readonly atMs: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
  /** Prompt tokens that are in a cache of any worker. @default 0 */
  readonly cachedTokens?: number;
}

/** The shapes of synthetic loads. */
export const TRACE_SHAPES = [
  'flat',
  'steps',
  'bursts',
  'diurnal',
  'spike',
  'long-prompts',
  'sawtooth',
  'waves',
  'humps',
  'plateaus',
] as const;

/** The shape of a synthetic load. */
export type TraceShape = (typeof TRACE_SHAPES)[number];

/** A synthetic trace. */
export interface TraceOptions {
  readonly shape: TraceShape;
  /** The seed of the random numbers: the same seed gives the same trace. */
  readonly seed: number;
  readonly durationMs: number;
  /** Requests per second at the base of the shape. */
  readonly rate: number;
  /** Mean prompt length. */
  readonly inputTokens: number;
  /** Mean answer length. */
  readonly outputTokens: number;
}

/** The rate of each shape at a part of the trace, 0 to 1, as a multiple of the base rate; and the highest one. */
const SHAPES: Readonly<Record<TraceShape, { readonly highest: number; readonly at: (part: number) => number }>> = {
  flat: { highest: 1, at: () => 1 },
  steps: { highest: 4, at: (part) => [1, 3, 2, 4, 1][Math.min(4, Math.floor(part * 5))] as number },
  bursts: { highest: 4, at: (part) => (part * 8 - Math.floor(part * 8) < 0.25 ? 4 : 1) },
  diurnal: { highest: 5, at: (part) => 3 - 2 * Math.cos(2 * Math.PI * part) },
  spike: { highest: 10, at: (part) => (part >= 0.4 && part < 0.6 ? 10 : 1) },
  'long-prompts': { highest: 1, at: () => 1 },
  humps: { highest: 6, at: (part) => 1 + 5 * Math.sin(2 * Math.PI * part) ** 4 },
  plateaus: { highest: 4, at: (part) => Math.min(4, Math.max(1, 2.5 + 6 * Math.sin(2 * Math.PI * part - 1))) },
  sawtooth: { highest: 5, at: (part) => 1 + 4 * (part * 3 - Math.floor(part * 3)) },
  waves: { highest: 6, at: (part) => 3 + 2 * Math.sin(4 * Math.PI * part) + Math.sin(14 * Math.PI * part) },
};

/** Prompts of `long-prompts` in the middle of the trace, as a multiple of the mean length. */
const LONG_PROMPTS = 6;

/** A load of independent users: arrivals are a Poisson process whose rate follows the shape. Lengths are log-normal. */
export function synthesizeTrace(options: TraceOptions): TraceRequest[] {
  const { shape, seed, durationMs, rate, inputTokens, outputTokens } = options;
  const random = randomNumbers(seed);
  const { highest, at } = SHAPES[shape];
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  /** A log-normal length with coefficient of variation 0.5. */
  const length = (mean: number): number =>
    Math.max(1, Math.round(mean * Math.exp(0.4724 * normal() - 0.4724 ** 2 / 2)));
  const requests: TraceRequest[] = [];
  for (let atMs = 0; ; ) {
    atMs += (-Math.log(1 - random()) * 1000) / (rate * highest);
    if (atMs >= durationMs) return requests;
    const part = atMs / durationMs;
    if (random() >= at(part) / highest) continue;
    const isLong = shape === 'long-prompts' && part >= 1 / 3 && part < 2 / 3;
    requests.push({
      atMs,
      inputTokens: length(isLong ? inputTokens * LONG_PROMPTS : inputTokens),
      outputTokens: length(outputTokens),
    });
  }
}
