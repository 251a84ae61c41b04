import {
  decide,
  initialState,
  type PlannerConfig,
  type ScalingPolicy,
  type SimulationReport,
  simulate,
  synthesizeTrace,
  type Targets,
  type TraceShape,
} from 'dynamo-node/planner';
import { pythonSla, pythonThresholds } from '../../../lib/planner/core/simulate/python-rules.js';
import { KV_TOKENS, mockerEngine } from './engine.js';

export const SLA = { ttftMs: 2000, itlMs: 50 };
const MAX_GPUS = 60;
const RULES = { engine: mockerEngine, maxGpus: MAX_GPUS, contextTokens: 8192, ...SLA };

/** Requests per second at the base of each shape. */
const RATES: Readonly<Record<TraceShape, number>> = {
  flat: 60,
  steps: 20,
  bursts: 20,
  diurnal: 16,
  spike: 12,
  'long-prompts': 16,
  sawtooth: 16,
  waves: 14,
  humps: 14,
  plateaus: 20,
};

export type Mode = 'agg' | 'disagg';

/** This package's planner as a policy of a simulation. It begins without a profile. */
export function ours(mode: Mode, more: PlannerConfig = {}): ScalingPolicy {
  const pool = { kvTokens: KV_TOKENS };
  const config: PlannerConfig = {
    ...{ mode, maxGpus: MAX_GPUS, sla: SLA, pools: { worker: pool, prefill: pool, decode: pool } },
    ...more,
  };
  let state = initialState(config, 0);
  return (snapshot) => {
    const decision = decide(snapshot, state, config);
    state = decision.state;
    return decision;
  };
}

export const policies = (mode: Mode): Readonly<Record<string, ScalingPolicy>> => ({
  'dynamo-node': ours(mode),
  'Python, throughput': pythonThresholds('throughput', RULES),
  'Python, latency': pythonThresholds('latency', RULES),
  'Python, SLA': pythonSla(RULES),
});

const sizeOf = (fleet: Targets): number => Object.values(fleet).reduce((sum, count) => sum + count, 0);

function fleetsOf(mode: Mode): Targets[] {
  const counts = (most: number): number[] => Array.from({ length: most }, (_, index) => index + 1);
  const all =
    mode === 'agg'
      ? counts(16).map((worker): Targets => ({ worker }))
      : counts(9).flatMap((prefill) => counts(4).map((decode): Targets => ({ prefill, decode })));
  return all.sort((a, b) => sizeOf(a) - sizeOf(b));
}

/** Options of a simulation without its fleet. */
export function scenario(shape: TraceShape, seed: number, durationMs: number) {
  const trace = synthesizeTrace({ shape, seed, durationMs, rate: RATES[shape], inputTokens: 1500, outputTokens: 200 });
  return { trace, engine: mockerEngine, coldStartMs: 30_000, ...SLA };
}

export interface Outcome {
  readonly name: string;
  readonly report: SimulationReport;
}

export interface Comparison {
  readonly initial: Targets;
  readonly fleets: readonly Outcome[];
  readonly planners: readonly Outcome[];
}

/** `fleet` in words: `4`, or `3P2D`. */
export const nameOf = (fleet: Targets): string =>
  fleet.worker === undefined ? `${fleet.prefill}P${fleet.decode}D` : `${fleet.worker}`;

/**
 * Static fleets and planners on one trace. Each planner begins with the smallest fleet that serves the first minute.
 * Fleets that are larger than one with all requests within their limits are omitted.
 */
export function compare(mode: Mode, shape: TraceShape, seed: number, durationMs: number): Comparison {
  const base = scenario(shape, seed, durationMs);
  const fleets = fleetsOf(mode);
  const minute = base.trace.filter(({ atMs }) => atMs < 60_000);
  const isEnough = (fleet: Targets): boolean => simulate({ ...base, trace: minute, initial: fleet }).goodput >= 0.99;
  const initial = fleets.find(isEnough) ?? (fleets.at(-1) as Targets);
  const outcomes: Outcome[] = [];
  let enough = Number.POSITIVE_INFINITY;
  for (const fleet of fleets) {
    if (sizeOf(fleet) > enough) break;
    const report = simulate({ ...base, initial: fleet });
    outcomes.push({ name: nameOf(fleet), report });
    if (report.goodput >= 0.9995) enough = Math.min(enough, sizeOf(fleet));
  }
  const planners = Object.entries(policies(mode)).map(([name, policy]) => ({
    name,
    report: simulate({ ...base, initial, policy }),
  }));
  return { initial, fleets: outcomes, planners };
}

/** Whether `other` is at least as good in both figures and better in one, by more than rounding. */
export function dominates(other: SimulationReport, report: SimulationReport): boolean {
  const [goodput, gpuHours] = [other.goodput - report.goodput, report.gpuHours - other.gpuHours];
  return goodput >= 0 && gpuHours >= 0 && (goodput > 1e-4 || gpuHours > 1e-4 * report.gpuHours);
}
