import { adaptiveForecast, dispersionOf } from './adaptive.js';
import type { ResolvedPlan } from './config.js';
import { PREDICTORS } from './predictors.js';
import { appended } from './series.js';
import type { Demand } from './sizing.js';
import type { PlannerState, TrafficSample } from './types.js';

/** Standard deviations of the forecast that are added before workers are removed. */
const CAUTION = 3;
const MAX_REQUESTS = 1e9;
const MAX_LENGTH = 1e8;
/** The weight of a new hit rate. */
const HIT_RATE_WEIGHT = 0.2;
/** Longer tails of prompt lengths than these say more about one prompt than about a queue. */
const MAX_SIZE_DISPERSION = 4;
/** Bins from which traffic is known. */
const MIN_BINS = 2;

const isAmount = (value: number | undefined, max: number): value is number =>
  value !== undefined && value >= 0 && value <= max;

/** Whether a sample can have been measured. */
export function isTraffic({ durationMs, requests }: TrafficSample): boolean {
  return durationMs > 0 && isAmount(durationMs, MAX_REQUESTS) && isAmount(requests, MAX_REQUESTS);
}

type Traffic = Pick<PlannerState, 'requests' | 'inputTokens' | 'outputTokens' | 'hitRate'>;

/** The state with another sample. Lengths that are absent or absurd leave theirs unchanged. */
export function withTraffic(state: PlannerState, sample: TrafficSample, endMs: number): Traffic {
  const { durationMs, requests, inputTokens, outputTokens, hitRate } = sample;
  // Answers end also in intervals in which no request begins.
  const count = Math.max(1, requests);
  const lengths = (series: Traffic['inputTokens'], mean: number | undefined): Traffic['inputTokens'] =>
    isAmount(mean, MAX_LENGTH) && mean > 0
      ? appended(series, { endMs, exposure: count, amount: count * mean })
      : series;
  return {
    requests: appended(state.requests, { endMs, exposure: durationMs / 1000, amount: requests }),
    inputTokens: lengths(state.inputTokens, inputTokens),
    outputTokens: lengths(state.outputTokens, outputTokens),
    hitRate: isAmount(hitRate, 1) ? state.hitRate + HIT_RATE_WEIGHT * (hitRate - state.hitRate) : state.hitRate,
  };
}

/** A predicted demand: the expected one, and one that is hardly exceeded, by which workers are removed. */
export interface PredictedDemand {
  readonly expected: Demand;
  readonly cautious: Demand;
}

/**
 * The demand until a worker that is started now is ready. The higher of the present and the future rate counts,
 * because both must be served. Caution is for the present one: the error of a trend grows with its length. Undefined
 * until the traffic and the lengths are known.
 */
export function predictedDemand(
  state: PlannerState,
  plan: ResolvedPlan,
  horizonMs: number,
): PredictedDemand | undefined {
  if (state.requests.length < MIN_BINS) return undefined;
  const predictor = PREDICTORS[plan.predictor];
  const options = { seasonMs: plan.seasonMs };
  const [now, later] = [predictor(state.requests, 0, options), predictor(state.requests, horizonMs, options)];
  const mean = Math.max(now.mean, later.mean);
  const isDecoding = plan.pools.some(({ role }) => role !== 'prefill');
  if (mean > 0 && state.inputTokens.length === 0) return undefined;
  if (mean > 0 && isDecoding && state.outputTokens.length === 0) return undefined;

  const inputTokens = adaptiveForecast(state.inputTokens, 0, 'sizes');
  const outputTokens = adaptiveForecast(state.outputTokens, 0, 'sizes');
  const [arrivals, sizes] = [dispersionOf(state.requests, 'counts'), dispersionOf(state.inputTokens, 'sizes')];
  const demand = (caution: number, bound: 'value' | 'least'): Demand => {
    const length = inputTokens.mean + caution * inputTokens.deviation;
    return {
      rate: Math.max(now.mean + caution * now.deviation, later.mean),
      inputTokens: length,
      computedTokens: length * (1 - state.hitRate),
      outputTokens: outputTokens.mean + caution * outputTokens.deviation,
      arrivalDispersion: arrivals[bound],
      sizeDispersion: Math.min(MAX_SIZE_DISPERSION, sizes[bound]),
    };
  };
  return { expected: demand(0, 'least'), cautious: demand(CAUTION, 'value') };
}
