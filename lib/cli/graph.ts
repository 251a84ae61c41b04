import { boolean, type OptionTable, optionTable } from '../options.js';
import type { Command } from './command.js';

/** The options of `dynamo graph`. */
export interface GraphCommandOptions {
  readonly mermaid?: boolean;
}

const OPTIONS: OptionTable<GraphCommandOptions> = optionTable<GraphCommandOptions>({
  mermaid: boolean.about('Write a diagram in the language of Mermaid.'),
});

export const graphCommand: Command<GraphCommandOptions> = {
  name: 'graph',
  summary: 'Show the services of a graph and their dependencies.',
  usage: '<graph>',
  description:
    'The graph is a file with an optional export, such as graph.ts:Frontend, or a folder with a package.json.',
  options: OPTIONS,
  examples: ['graph graph.ts', 'graph . --mermaid', 'graph graph.ts --json'],
  load: () => import('./graph-action.js'),
};
