import { checkScaleWords } from '../deploy/local/scale-plan.js';
import type { CommandArgs, CommandIo } from './command.js';
import { note, print, printJson } from './output.js';
import { controlGraph, findRunning } from './running-graph.js';
import type { ScaleCommandOptions } from './scale.js';

/** Changes numbers of workers, and waits for the change. */
export async function run(
  { positionals, options, json }: CommandArgs<ScaleCommandOptions>,
  io: CommandIo,
): Promise<void> {
  checkScaleWords(positionals);
  const graph = findRunning(options.graph, io);
  if (graph.state.phase === 'starting') note(io, `graph ${graph.state.graph} is starting; the change waits for it`);
  const state = await controlGraph(graph, { command: 'scale', words: positionals });
  if (json) return printJson(io, state);
  const counts = state.services.map(({ name, workers }) => `${name}=${workers.length}`);
  print(io, `graph ${state.graph} has ${counts.join(' ')}`);
}
