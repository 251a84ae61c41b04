import type { CommandArgs, CommandIo } from './command.js';
import { print, printJson } from './output.js';
import { controlGraph, findRunning } from './running-graph.js';
import type { ScaleCommandOptions } from './scale.js';

/** Changes numbers of workers, and waits for the change. */
export async function run(
  { positionals, options, json }: CommandArgs<ScaleCommandOptions>,
  io: CommandIo,
): Promise<void> {
  const state = await controlGraph(findRunning(options.graph, io), { command: 'scale', words: positionals });
  if (json) return printJson(io, state);
  const counts = state.services.map(({ name, workers }) => `${name}=${workers.length}`);
  print(io, `graph ${state.graph} has ${counts.join(' ')}`);
}
