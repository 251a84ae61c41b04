import { type OptionTable, optionTable, text } from '../options.js';
import type { Command } from './command.js';

/** The options of `dynamo scale`. */
export interface ScaleCommandOptions {
  readonly graph?: string;
}

const OPTIONS: OptionTable<ScaleCommandOptions> = optionTable<ScaleCommandOptions>({
  graph: text.about('The name of the graph in `dynamo ps`. May be left out if only one runs.'),
});

export const scaleCommand: Command<ScaleCommandOptions> = {
  name: 'scale',
  summary: 'Change the numbers of workers of a graph that runs on this machine.',
  usage: '<counts...>',
  description: 'Returns when new workers are ready and removed ones have completed their requests.',
  options: OPTIONS,
  examples: ['scale Worker=3', 'scale Worker=3 Router=1', 'scale 3P2D --graph llm'],
  load: () => import('./scale-action.js'),
};
