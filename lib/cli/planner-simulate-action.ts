import {
  type DecisionSink,
  dominates,
  type Entrant,
  fleetName,
  frontOf,
  plannerEntrant,
  run as runEntrant,
  type Scenario,
  sizeOf,
  startingFleet,
  staticFleets,
} from '../planner/core/simulate/entrants.js';
import { PLANNERS } from '../planner/core/simulate/planner-names.js';
import type { PlottedRun } from '../planner/core/simulate/plot.js';
import { resampled } from '../planner/core/simulate/resample.js';
import type { SimulationReport } from '../planner/core/simulate/simulation.js';
import { type Estimate, estimateOf } from '../planner/core/simulate/statistics.js';
import type { TraceRequest } from '../planner/core/simulate/trace.js';
import type { Targets } from '../planner/core/types.js';
import { decisionLine } from '../planner/decision-log.js';
import { parseXPyD } from '../sdk/xpyd.js';
import { type CommandArgs, type CommandIo, usageError } from './command.js';
import { note, print, printJson, tableLines } from './output.js';
import type { PlannerSimulateOptions } from './planner.js';
import { checkOutputs, workersOf, writeOutput, writePlot } from './planner-plot.js';
import { scenarioOf } from './planner-scenario.js';

/** A fleet with this goodput serves all requests; larger ones cost more and are not run. */
const ALL = 0.9995;

/** An entrant with the reports of its runs. */
interface Result {
  readonly entrant: Entrant;
  readonly reports: readonly SimulationReport[];
}

/** Reads `4`, or `3P2D`. */
function fleetOf(flag: string, { mode }: Scenario, words: string): Targets {
  if (mode === 'disagg' && /^[1-9]\d{0,3}p[1-9]\d{0,3}d$/i.test(words)) return parseXPyD(words) as unknown as Targets;
  if (mode === 'agg' && /^[1-9]\d{0,3}$/.test(words)) return { worker: Number(words) };
  throw usageError(
    `${flag}: expected ${mode === 'agg' ? "a number such as '4'" : "a text like '3P2D'"}, got '${words}'`,
  );
}

/** The decisions of a planner as lines of JSON. */
function decisionRecorder(): { readonly lines: string[]; readonly sink: DecisionSink } {
  const lines: string[] = [];
  const sink: DecisionSink = (snapshot, { targets, reasons }) => {
    const isChange = Object.entries(targets).some(([role, target]) => {
      return snapshot.pools[role as keyof typeof targets]?.desired !== target;
    });
    const outcome = isChange ? 'scaled' : 'unchanged';
    const record = { snapshot, targets, reasons, outcome, errors: [], decideMs: 0 } as const;
    lines.push(decisionLine({ tick: lines.length + 1, atMs: snapshot.nowMs, ...record }));
  };
  return { lines, sink };
}

/** Compares planners and static fleets. */
export async function run(args: CommandArgs<PlannerSimulateOptions>, io: CommandIo): Promise<void> {
  const { positionals, options, json } = args;
  const name = positionals[0] as string;
  const { runs = 1, seed = 1, planner: planners = PLANNERS, decisions, plot } = options;
  checkOutputs(name, { plot, decisions }, io);
  const loaded = scenarioOf(name, options, io);
  const { scenario, trace, summary } = loaded;
  const traces = runs === 1 ? [trace] : Array.from({ length: runs }, (_, index) => resampled(trace, seed + index));
  const initial =
    options.initial === undefined ? startingFleet(scenario, trace) : fleetOf('--initial', scenario, options.initial);
  const fleets = options.fleet?.map((words) => fleetOf('--fleet', scenario, words));
  const { replay } = options;
  if (replay !== undefined && (runs > 1 || options.profile !== undefined))
    throw usageError('--replay: expected neither --runs nor --profile with it');
  const recorder = decisionRecorder();
  const results: Result[] = [];
  const reportsOf = async (entrant: Entrant): Promise<SimulationReport[]> => {
    if (replay === undefined)
      return traces.map((one, index) => runEntrant(scenario, one, entrant, index === 0 && plot !== undefined));
    const { replayed } = await import('./planner-replay.js');
    return [await replayed(scenario, name, entrant, replay, options, io)];
  };
  const compete = async (entrant: Entrant): Promise<Result> => {
    if (io.isTerminal && !json) note(io, entrant.name);
    const result = { entrant, reports: await reportsOf(entrant) };
    results.push(result);
    if (entrant.sink !== undefined && decisions !== undefined)
      writeOutput(decisions, recorder.lines.join('\n').concat('\n'), io);
    return result;
  };
  for (const planner of new Set(planners)) {
    const sink = planner === 'sla' && decisions !== undefined ? recorder.sink : undefined;
    const entrant = plannerEntrant(scenario, planner, initial, sink);
    // The rules of the Python planner are policies of this package's simulator only.
    if (replay === undefined || entrant.config !== undefined) await compete(entrant);
  }
  await competeStatic(scenario, fleets, compete);

  const strong = fleets === undefined ? withoutWeakFleets(results) : results;
  const beaten = beatenBy(strong);
  if (plot !== undefined) writePlot(plot, name, loaded, plotted(strong), io);
  if (json) return printJson(io, reportOf(loaded.scenario, trace, initial, results, beaten));
  print(io, `${name}: ${summary}`);
  const { ttftMs, itlMs, coldStartMs } = scenario;
  print(
    io,
    `limits TTFT ${ttftMs} ms and ITL ${itlMs} ms, cold start ${coldStartMs} ms, ${fleetName(initial)} at the start`,
  );
  print(io);
  for (const line of tableLines(io, strong.map(rowOf), HEADER)) print(io, line);
  print(io);
  for (const [name, by] of Object.entries(beaten))
    print(io, `better than ${name} in both figures: ${by.length === 0 ? 'none' : by.join(', ')}`);
}

/** Static fleets: those that are named, or each size until one serves all requests. */
async function competeStatic(
  scenario: Scenario,
  named: readonly Targets[] | undefined,
  compete: (entrant: Entrant) => Promise<Result>,
): Promise<void> {
  const entrantOf = (initial: Targets): Entrant => ({
    name: `static ${fleetName(initial)}`,
    kind: 'static',
    initial,
  });
  if (named !== undefined) {
    for (const initial of named) await compete(entrantOf(initial));
    return;
  }
  let enough = Number.POSITIVE_INFINITY;
  for (const initial of staticFleets(scenario)) {
    if (sizeOf(initial) > enough) return;
    const { reports } = await compete(entrantOf(initial));
    if (reports.every(({ goodput }) => goodput >= ALL)) enough = sizeOf(initial);
  }
}

/** A fleet that another static one beats on average says nothing about planners. */
function withoutWeakFleets(results: readonly Result[]): Result[] {
  const fleets = results.filter(({ entrant }) => entrant.kind === 'static');
  const front = frontOf(fleets.map((result) => ({ result, ...meansOf(result) }))).map(({ result }) => result);
  return results.filter((result) => result.entrant.kind !== 'static' || front.includes(result));
}

const meansOf = ({ reports }: Result): { readonly goodput: number; readonly gpuHours: number } => ({
  goodput: estimateOf(reports.map(({ goodput }) => goodput)).mean,
  gpuHours: estimateOf(reports.map(({ gpuHours }) => gpuHours)).mean,
});

/** By the name of each planner of this package: who is better in both figures, and in how many runs. */
function beatenBy(results: readonly Result[]): Readonly<Record<string, readonly string[]>> {
  const own = results.filter(({ entrant }) => entrant.kind === 'planner');
  return Object.fromEntries(
    own.map(({ entrant, reports }) => {
      const better = results.flatMap(({ entrant: { name, kind }, reports: others }) => {
        if (kind === 'planner') return [];
        const wins = others.filter((other, index) => dominates(other, reports[index] as SimulationReport)).length;
        return wins === 0 ? [] : [reports.length === 1 ? name : `${name} (${wins} of ${reports.length} runs)`];
      });
      return [entrant.name, better];
    }),
  );
}

/** Planners as lines, and of the static fleets the smallest that serves most. */
function plotted(results: readonly Result[]): PlottedRun[] {
  const fleets = results.filter(({ entrant }) => entrant.kind === 'static');
  const most = Math.max(...fleets.map((one) => meansOf(one).goodput));
  const reference = fleets.find((one) => meansOf(one).goodput >= most - 1e-9);
  return results.map((result) => {
    const { entrant, reports } = result;
    const [first] = reports as [SimulationReport];
    const isDrawn = entrant.kind !== 'static' || result === reference;
    return {
      name: entrant.name,
      kind: entrant.kind,
      ...meansOf(result),
      ...(isDrawn ? { workers: workersOf(entrant.initial, first) } : {}),
      ...(isDrawn && first.latencies !== undefined ? { latencies: first.latencies } : {}),
    };
  });
}

const HEADER = ['WHO', 'WITHIN LIMITS', 'GPU-HOURS', 'TTFT MEAN', 'TTFT P99', 'ITL MEAN', 'ITL P99', 'CHANGES'];

function shown({ mean, low, high }: Estimate, digits: number, factor = 1, unit = ''): string {
  const half = ((high - low) / 2) * factor;
  return `${(mean * factor).toFixed(digits)}${unit}${half === 0 ? '' : ` ± ${half.toFixed(digits)}`}`;
}

function rowOf({ entrant, reports }: Result): string[] {
  const estimate = (figure: (report: SimulationReport) => number): Estimate => estimateOf(reports.map(figure));
  const ms = (figure: (report: SimulationReport) => number): string => `${estimate(figure).mean.toFixed(0)} ms`;
  return [
    entrant.kind === 'planner' ? `planner ${entrant.name}` : entrant.name,
    shown(
      estimate(({ goodput }) => goodput),
      1,
      100,
      '%',
    ),
    shown(
      estimate(({ gpuHours }) => gpuHours),
      3,
    ),
    ms(({ meanTtftMs }) => meanTtftMs),
    ms(({ p99TtftMs }) => p99TtftMs),
    ms(({ meanItlMs }) => meanItlMs),
    ms(({ p99ItlMs }) => p99ItlMs),
    estimate(({ events }) => events.length).mean.toFixed(0),
  ];
}

function reportOf(
  { engine: _, ...scenario }: Scenario,
  trace: readonly TraceRequest[],
  initial: Targets,
  results: readonly Result[],
  betterInBoth: Readonly<Record<string, readonly string[]>>,
): object {
  return {
    schema: 'dynamo.planner.simulation/v1',
    scenario,
    requests: trace.length,
    initial,
    results: results.map(({ entrant: { name, kind, initial }, reports }) => ({
      ...{ name, kind, initial },
      goodput: estimateOf(reports.map(({ goodput }) => goodput)),
      gpuHours: estimateOf(reports.map(({ gpuHours }) => gpuHours)),
      runs: reports.map(({ latencies, ...report }) => report),
    })),
    betterInBoth,
  };
}
