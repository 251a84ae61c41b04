import type { PlannerConfig } from '../config.js';
import type { PoolRole, Targets } from '../types.js';
import {
  configOf,
  type Entrant,
  fleetName,
  plannerPolicy,
  run,
  type Scenario,
  sizeOf,
  staticFleets,
} from './entrants.js';
import { resampled } from './resample.js';
import { type Estimate, estimateOf, shareOf } from './statistics.js';
import type { TraceRequest } from './trace.js';

/** A configuration that was tried, with the figures of its runs. */
export interface Trial {
  readonly name: string;
  readonly kind: 'planner' | 'static';
  /** The workers at the start. */
  readonly initial: Targets;
  /** Of a planner. */
  readonly config?: PlannerConfig;
  readonly goodput: Estimate;
  readonly gpuHours: Estimate;
  /** The share of runs that met the SLA. */
  readonly met: Estimate;
  readonly runs: number;
  /** Whether the goodput is enough also at the low end of its interval. */
  readonly isSure: boolean;
  /** GPU-hours of each run; all trials have the same runs. */
  readonly hours: readonly number[];
}

/** The result of a search. */
export interface TuneReport {
  /** The cheapest configuration that meets the SLA; undefined if none does. */
  readonly best?: Trial;
  /**
   * The GPU-hours that the next cheapest one needs more, in the same runs. If its interval has 0, the choice between
   * both is open.
   */
  readonly margin?: { readonly name: string; readonly gpuHours: Estimate };
  /** All configurations that were run to the end, cheap ones first. */
  readonly trials: readonly Trial[];
}

/** How many runs decide. */
export interface TuneOptions {
  /** Runs of each configuration, at least 2. */
  readonly runs: number;
  /** The first seed; the others follow. */
  readonly seed: number;
  /** Called after each configuration. */
  readonly onTrial?: (trial: Trial) => void;
}

/** Runs after which a configuration that met the SLA in none of them is given no others. */
const FIRST_RUNS = 3;

interface Candidate extends Pick<Entrant, 'name' | 'initial' | 'policy'> {
  readonly kind: Trial['kind'];
  readonly config?: PlannerConfig;
}

/** Fewest workers of a planner, as shares of the smallest static fleet that meets the SLA. */
const SHARES = [0, 0.25, 0.5, 0.75, 1];

/**
 * Finds the cheapest configuration that meets an SLA: static fleets, and planners that differ in their fewest workers
 * and in their objective. All are run on the same traces, which might have been recorded under the same load.
 * Pure: the same arguments give the same report.
 */
export function tune(scenario: Scenario, trace: readonly TraceRequest[], options: TuneOptions): TuneReport {
  const { runs, seed, onTrial = () => {} } = options;
  const traces = Array.from({ length: runs }, (_, index) => resampled(trace, seed + index));
  const trials: Trial[] = [];
  const tried = (candidate: Candidate): Trial | undefined => {
    const trial = trialOf(scenario, traces, candidate);
    if (trial === undefined) return undefined;
    trials.push(trial);
    onTrial(trial);
    return trial;
  };
  const fleets = staticFleets(scenario);
  let enough: Targets | undefined;
  for (const initial of fleets) {
    if (enough !== undefined && sizeOf(initial) > sizeOf(enough)) break;
    const trial = tried({ name: `static ${fleetName(initial)}`, kind: 'static', initial });
    if (trial?.isSure === true) enough ??= initial;
  }
  const largest = enough ?? (fleets.at(-1) as Targets);
  for (const candidate of plannersWithin(scenario, largest)) tried(candidate);
  trials.sort((a, b) => costOf(a) - costOf(b) || Number(a.kind === 'planner') - Number(b.kind === 'planner'));
  const [best, next] = trials.filter(({ isSure }) => isSure);
  if (best === undefined) return { trials };
  if (next === undefined) return { best, trials };
  const more = next.hours.map((hours, index) => hours - (best.hours[index] as number));
  return { best, margin: { name: next.name, gpuHours: estimateOf(more) }, trials };
}

/** GPU-hours without rounding errors, so that a planner that never scaled costs the same as its static fleet. */
const costOf = ({ gpuHours }: Trial): number => Number(gpuHours.mean.toPrecision(6));

/** Planners that never have fewer workers than a part of a fleet, at which they begin. */
function plannersWithin(scenario: Scenario, fleet: Targets): Candidate[] {
  const minima = new Map<string, Targets>();
  for (const share of SHARES) {
    const counts = Object.entries(fleet).map(([role, count]) => [role, Math.max(1, Math.ceil(count * share))]);
    const minimum = Object.fromEntries(counts) as Targets;
    minima.set(fleetName(minimum), minimum);
  }
  return (['sla', 'latency'] as const).flatMap((objective) =>
    [...minima].map(([name, initial]): Candidate => {
      const pools = Object.fromEntries(
        (Object.entries(initial) as [PoolRole, number][]).map(([role, minWorkers]) => [role, { minWorkers }]),
      );
      const config = configOf(scenario, { objective, pools });
      const title = `planner ${objective}, at least ${name}`;
      return { name: title, kind: 'planner', initial, config, policy: () => plannerPolicy(config) };
    }),
  );
}

/** Undefined for a configuration that is clearly not enough. */
function trialOf(
  scenario: Scenario,
  traces: readonly (readonly TraceRequest[])[],
  { policy, ...candidate }: Candidate,
): Trial | undefined {
  const { attainment } = scenario;
  const entrant = { initial: candidate.initial, ...(policy === undefined ? {} : { policy }) };
  const reports = [];
  for (const trace of traces) {
    reports.push(run(scenario, trace, entrant));
    const isHopeless = reports.every(({ goodput }) => goodput < attainment);
    if (reports.length === FIRST_RUNS && isHopeless && traces.length > FIRST_RUNS) return undefined;
  }
  const goodputs = reports.map(({ goodput }) => goodput);
  const hours = reports.map(({ gpuHours }) => gpuHours);
  const goodput = estimateOf(goodputs);
  const met = shareOf(goodputs.filter((one) => one >= attainment).length, goodputs.length);
  const runs = reports.length;
  return { ...candidate, goodput, gpuHours: estimateOf(hours), met, runs, isSure: goodput.low >= attainment, hours };
}
