import type { PlannerConfig } from '../config.js';
import { decide, initialState } from '../decide.js';
import type { Decision, PoolRole, Snapshot, Targets } from '../types.js';
import type { PlannerName } from './planner-names.js';
import { pythonSla, pythonThresholds } from './python-rules.js';
import { type ScalingPolicy, type SimulationOptions, type SimulationReport, simulate } from './simulation.js';
import type { TraceRequest } from './trace.js';
import type { SimulatedEngineOptions } from './worker.js';

/** What all fleets of a comparison have in common. */
export interface Scenario {
  readonly mode: 'agg' | 'disagg';
  readonly engine: SimulatedEngineOptions;
  readonly coldStartMs: number;
  readonly ttftMs: number;
  readonly itlMs: number;
  /** The share of requests that should be within both limits. */
  readonly attainment: number;
  readonly maxGpus: number;
  readonly gpusPerWorker: number;
  /** The longest context of the model, in tokens. */
  readonly contextTokens: number;
  /** The further configuration of this package's planners. */
  readonly config?: PlannerConfig;
}

/** A fleet that takes part in a comparison. */
export interface Entrant {
  readonly name: string;
  readonly kind: 'planner' | 'rule' | 'static';
  readonly initial: Targets;
  /** A new policy for each run, because a policy has memory. Absent for a static fleet. */
  readonly policy?: () => ScalingPolicy;
  /** Of a planner of this package. */
  readonly config?: PlannerConfig;
  readonly sink?: DecisionSink | undefined;
}

/** Called with each decision of a planner. */
export type DecisionSink = (snapshot: Snapshot, decision: Decision) => void;

const ROLES: Readonly<Record<Scenario['mode'], readonly PoolRole[]>> = {
  agg: ['worker'],
  disagg: ['prefill', 'decode'],
};

/** The number of workers of a fleet. */
export const sizeOf = (fleet: Targets): number => Object.values(fleet).reduce((sum, count) => sum + count, 0);

/** A fleet in words: `4`, or `3P2D`. */
export const fleetName = ({ worker, prefill, decode }: Targets): string =>
  worker === undefined ? `${prefill}P${decode}D` : `${worker}`;

/** All fleets within the GPU budget, small ones first. */
export function staticFleets({ mode, maxGpus, gpusPerWorker }: Scenario): readonly Targets[] {
  const most = Math.floor(maxGpus / gpusPerWorker);
  const counts = Array.from({ length: most }, (_, index) => index + 1);
  if (mode === 'agg') return counts.map((worker) => ({ worker }));
  const fleets = counts.flatMap((prefill) => counts.map((decode): Targets => ({ prefill, decode })));
  return fleets.filter((fleet) => sizeOf(fleet) <= most).sort((a, b) => sizeOf(a) - sizeOf(b));
}

/** The options of a simulation of a fleet. */
export function simulationOf(
  scenario: Scenario,
  trace: readonly TraceRequest[],
  { initial, policy }: Pick<Entrant, 'initial' | 'policy'>,
  keepsRequests = false,
): SimulationOptions {
  const { engine, coldStartMs, ttftMs, itlMs, mode, gpusPerWorker } = scenario;
  return {
    ...{ trace, initial, engine, coldStartMs, ttftMs, itlMs, keepsRequests },
    gpusPerWorker: Object.fromEntries(ROLES[mode].map((role) => [role, gpusPerWorker])),
    ...(policy === undefined ? {} : { policy: policy() }),
  };
}

export const run = (
  scenario: Scenario,
  trace: readonly TraceRequest[],
  entrant: Pick<Entrant, 'initial' | 'policy'>,
  keepsRequests = false,
): SimulationReport => simulate(simulationOf(scenario, trace, entrant, keepsRequests));

/** The smallest fleet that serves the first minute of a trace, or the largest one. */
export function startingFleet(scenario: Scenario, trace: readonly TraceRequest[]): Targets {
  const minute = trace.filter(({ atMs }) => atMs < 60_000);
  const fleets = staticFleets(scenario);
  const isEnough = (initial: Targets): boolean => run(scenario, minute, { initial }).goodput >= scenario.attainment;
  return fleets.find(isEnough) ?? (fleets.at(-1) as Targets);
}

/** The configuration of this package's planner in a scenario. It has no profile, so it learns the engine first. */
export function configOf(scenario: Scenario, more: PlannerConfig = {}): PlannerConfig {
  const {
    mode,
    engine,
    ttftMs,
    itlMs,
    attainment,
    maxGpus,
    gpusPerWorker,
    coldStartMs,
    contextTokens,
    config = {},
  } = scenario;
  const { maxBatchedTokens, maxRequests, kvTokens } = engine;
  const pools = ROLES[mode].map((role) => [
    role,
    {
      ...{ gpusPerWorker, maxBatchedTokens, maxRequests, kvTokens, contextTokens },
      ...config.pools?.[role],
      ...more.pools?.[role],
    },
  ]);
  return {
    ...{ mode, maxGpus, coldStartMs, sla: { ttftMs, itlMs, attainment } },
    ...config,
    ...more,
    pools: Object.fromEntries(pools),
  };
}

/** This package's planner as a policy. */
export function plannerPolicy(config: PlannerConfig, sink: DecisionSink = () => {}): ScalingPolicy {
  let state = initialState(config, 0);
  return (snapshot) => {
    const decision = decide(snapshot, state, config);
    state = decision.state;
    sink(snapshot, decision);
    return decision;
  };
}

/** A planner or rule that begins with a fleet. */
export function plannerEntrant(scenario: Scenario, name: PlannerName, initial: Targets, sink?: DecisionSink): Entrant {
  if (name === 'sla' || name === 'throughput' || name === 'latency') {
    const config = configOf(scenario, { objective: name });
    return { name, kind: 'planner', initial, config, sink, policy: () => plannerPolicy(config, sink) };
  }
  const policies = {
    'python-sla': () => pythonSla(scenario),
    'python-throughput': () => pythonThresholds('throughput', scenario),
    'python-latency': () => pythonThresholds('latency', scenario),
  };
  return { name, kind: 'rule', initial, policy: policies[name] };
}

/** Whether a report is at least as good in both figures and better in one, by more than rounding. */
export function dominates(
  one: Pick<SimulationReport, 'goodput' | 'gpuHours'>,
  other: Pick<SimulationReport, 'goodput' | 'gpuHours'>,
): boolean {
  const [goodput, saved] = [one.goodput - other.goodput, other.gpuHours - one.gpuHours];
  return goodput >= 0 && saved >= 0 && (goodput > 1e-4 || saved > 1e-4 * other.gpuHours);
}

/** Of the fleets those that no other one beats, by their reports. */
export function frontOf<Item extends { readonly goodput: number; readonly gpuHours: number }>(
  fleets: readonly Item[],
): Item[] {
  return fleets.filter((fleet) => !fleets.some((other) => dominates(other, fleet)));
}
