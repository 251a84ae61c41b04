import { writeFileSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { sizeOf } from '../planner/core/simulate/entrants.js';
import { type PlottedRun, plotRuns } from '../planner/core/simulate/plot.js';
import type { SimulationReport } from '../planner/core/simulate/simulation.js';
import type { Targets } from '../planner/core/types.js';
import { CliError, type CommandIo, EXIT } from './command.js';
import type { PlannerScenario } from './planner-scenario.js';

/** The numbers of workers of a simulated fleet over time. */
export function workersOf(initial: Targets, { events }: SimulationReport): NonNullable<PlottedRun['workers']> {
  let count = sizeOf(initial);
  return [
    { atMs: 0, count },
    ...events.map(({ atMs, from, to }) => {
      count += to - from;
      return { atMs, count };
    }),
  ];
}

/**
 * Writes a file.
 *
 * @throws CliError `E_OUTPUT` (73) if it cannot be written
 */
export function writeOutput(name: string, content: string, { cwd }: CommandIo): string {
  const path = resolve(cwd, name);
  try {
    writeFileSync(path, content);
  } catch (cause) {
    const message = `${path} cannot be written: ${(cause as Error).message}`;
    throw new CliError('E_OUTPUT', message, { exitCode: EXIT.cannotCreate, path, cause });
  }
  return path;
}

/** Writes the diagram of a comparison. */
export function writePlot(
  file: string,
  trace: string,
  { scenario, trace: requests, summary }: PlannerScenario,
  runs: readonly PlottedRun[],
  io: CommandIo,
): string {
  const durationMs = Math.max(1, requests.at(-1)?.atMs ?? 0);
  const arrivalsMs = requests.map(({ atMs }) => atMs);
  const title = `${basename(trace)}: ${summary}`;
  return writeOutput(file, plotRuns({ title, durationMs, arrivalsMs, ttftMs: scenario.ttftMs, runs }), io);
}
