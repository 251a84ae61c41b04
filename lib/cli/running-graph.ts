import { join } from 'node:path';
import { type ControlRequest, control } from '../deploy/local/control.js';
import { type RunState, runningGraphs, runsFolder } from '../deploy/local/run-folder.js';
import { CliError, type CommandIo, EXIT } from './command.js';

/** A graph that runs on this machine. */
export interface FoundGraph {
  readonly folder: string;
  /** As its state file says. `controlGraph` has the present state. */
  readonly state: RunState;
}

const fail = (message: string, hint?: string): CliError =>
  new CliError('E_NOT_RUNNING', message, { exitCode: EXIT.unavailable, ...(hint === undefined ? {} : { hint }) });

/**
 * Finds a graph by its name, or the only one.
 *
 * @throws CliError `E_NOT_RUNNING` (69) if it does not run, `E_USAGE` (64) if there are several and no name
 */
export function findRunning(name: string | undefined, { env }: CommandIo): FoundGraph {
  const running = runningGraphs(runsFolder(env));
  const names = running.map(({ state }) => state.graph).join(', ');
  const found = running.filter(({ state }) => name === undefined || state.graph === name);
  if (found[0] === undefined)
    throw name === undefined
      ? fail('no graph runs on this machine', 'Start one with `dynamo serve GRAPH`.')
      : fail(`graph ${name} does not run on this machine${names === '' ? '' : `; these do: ${names}`}`);
  if (found.length > 1)
    throw new CliError('E_USAGE', `several graphs run on this machine: ${names}`, {
      exitCode: EXIT.usage,
      hint: 'Name one of them.',
    });
  return found[0];
}

/** Sends a request to a graph, and returns its state after it. */
export function controlGraph({ folder }: FoundGraph, request: ControlRequest, signal?: AbortSignal): Promise<RunState> {
  return control(join(folder, 'control.sock'), request, signal);
}

/** How long a graph may take to say its state. */
const STATE_TIMEOUT_MS = 2000;

/** The present state of a graph. One that ends or hangs does not answer: the state is then that of its file. */
export function stateOf({ folder, state }: FoundGraph): Promise<RunState> {
  const signal = AbortSignal.timeout(STATE_TIMEOUT_MS);
  return control(join(folder, 'control.sock'), { command: 'status' }, signal).catch(() => state);
}
