import { existsSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { sizeOf } from '../planner/core/simulate/entrants.js';
import { type PlottedRun, plotRuns } from '../planner/core/simulate/plot.js';
import type { SimulationReport } from '../planner/core/simulate/simulation.js';
import type { Targets } from '../planner/core/types.js';
import { CliError, type CommandIo, EXIT, usageError } from './command.js';
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

const isFolder = (path: string): boolean => existsSync(path) && statSync(path).isDirectory();

/**
 * Checks the files of a comparison before it runs, by their flags.
 *
 * @throws CliError `E_USAGE` (64) for the trace itself, `E_OUTPUT` (73) for a folder, or in one that is not there
 */
export function checkOutputs(
  trace: string,
  files: Readonly<Record<string, string | undefined>>,
  { cwd }: CommandIo,
): void {
  for (const [flag, name] of Object.entries(files)) {
    if (name === undefined) continue;
    const path = resolve(cwd, name);
    if (path === resolve(cwd, trace))
      throw usageError(`--${flag}: expected another file than the trace, got '${name}'`);
    const reason = isFolder(path)
      ? 'expected a file, got a folder'
      : isFolder(dirname(path))
        ? undefined
        : 'its folder is not there';
    if (reason === undefined) continue;
    const message = `${path} cannot be written: ${reason}`;
    throw new CliError('E_OUTPUT', message, { exitCode: EXIT.cannotCreate, path });
  }
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
