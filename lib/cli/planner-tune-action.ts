import { fleetName } from '../planner/core/simulate/entrants.js';
import type { Estimate } from '../planner/core/simulate/statistics.js';
import { type Trial, tune } from '../planner/core/simulate/tune.js';
import { type CommandArgs, type CommandIo, EXIT } from './command.js';
import { note, print, printJson, tableLines } from './output.js';
import type { PlannerTuneOptions } from './planner.js';
import { checkOutputs, writePlot } from './planner-plot.js';
import { scenarioOf } from './planner-scenario.js';

const RUNS = 10;

const HEADER = ['CONFIGURATION', 'WITHIN LIMITS', 'GPU-HOURS', 'RUNS THAT MEET IT', ''];

/** An interval of a share, without what no share is. */
const percent = ({ low, high }: Estimate): string =>
  `${(Math.max(0, low) * 100).toFixed(2)} to ${(Math.min(1, high) * 100).toFixed(2)}%`;
const hours = ({ low, high }: Estimate): string => `${low.toFixed(3)} to ${high.toFixed(3)}`;

/** Finds the cheapest configuration that meets an SLA. The exit code is 1 if none does. */
export async function run(args: CommandArgs<PlannerTuneOptions>, io: CommandIo): Promise<number> {
  const { positionals, options, json } = args;
  const name = positionals[0] as string;
  const { runs = RUNS, seed = 1, plot } = options;
  checkOutputs(name, { plot }, io);
  const loaded = scenarioOf(name, options, io);
  const { scenario, trace, summary } = loaded;
  const report = tune(scenario, trace, { runs, seed, ...(json ? {} : { onTrial: (trial) => note(io, trial.name) }) });
  const { best, margin, trials } = report;
  if (plot !== undefined) {
    const points = trials.map(({ name, kind, goodput, gpuHours }) => ({
      ...{ name, kind },
      goodput: goodput.mean,
      gpuHours: gpuHours.mean,
    }));
    writePlot(plot, name, loaded, points, io);
  }
  if (json) {
    const { engine: _, ...rest } = scenario;
    printJson(io, { schema: 'dynamo.planner.tuning/v1', scenario: rest, requests: trace.length, runs, ...report });
    return best === undefined ? EXIT.failure : EXIT.ok;
  }
  print(io, `${name}: ${summary}`);
  const { ttftMs, itlMs, attainment } = scenario;
  print(io, `goal: ${attainment * 100}% of the requests with TTFT up to ${ttftMs} ms and ITL up to ${itlMs} ms`);
  print(io, `intervals have the mean of such loads with 95%, by ${runs} runs`);
  print(io);
  for (const line of tableLines(io, trials.map(rowOf), HEADER)) print(io, line);
  print(io);
  if (best === undefined) {
    print(io, `no configuration of up to ${scenario.maxGpus} GPUs meets it surely`);
    return EXIT.failure;
  }
  print(io, `cheapest: ${best.name}, ${hours(best.gpuHours)} GPU-hours, ${percent(best.goodput)} within the limits`);
  print(io, sureness(best));
  if (margin !== undefined) {
    const isOpen = margin.gpuHours.low <= 0;
    const more = hours(margin.gpuHours);
    print(
      io,
      isOpen
        ? `${margin.name} may be as cheap: it needs ${more} GPU-hours more; more --runs may decide`
        : `the next one, ${margin.name}, needs ${more} GPU-hours more`,
    );
  }
  if (best.kind === 'planner')
    print(io, `it begins with ${fleetName(best.initial)}; its configuration: ${JSON.stringify(best.config)}`);
  return EXIT.ok;
}

const sureness = ({ met, runs }: Trial): string =>
  `it met the goal in ${Math.round(met.mean * runs)} of ${runs} runs; ` +
  `the share of such loads in which it does is ${percent(met)}`;

function rowOf({ name, goodput, gpuHours, met, runs, isSure }: Trial): string[] {
  return [
    name,
    percent(goodput),
    hours(gpuHours),
    `${Math.round(met.mean * runs)} of ${runs}`,
    isSure ? '' : 'not sure',
  ];
}
