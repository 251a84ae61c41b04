import { type OptionTable, optionTable, text } from '../options.js';
import type { Command } from './command.js';

/** The options of `dynamo new`. */
export interface NewOptions {
  readonly dependency?: string;
}

const OPTIONS: OptionTable<NewOptions> = optionTable<NewOptions>({
  dependency: text.about(
    'What package.json names as dynamo-node: a version, or file:PATH. Default: the file of this installation, if any.',
  ),
});

export const newCommand: Command<NewOptions> = {
  name: 'new',
  summary: 'Write a project: a graph of two services, a test, and what they need.',
  usage: '<name>',
  description: 'The name is a folder that does not exist, or is empty. Its last part becomes the name of the package.',
  options: OPTIONS,
  examples: ['new my-graph', 'new my-graph --dependency file:../dynamo-node-0.1.0.tgz'],
  load: () => import('./new-action.js'),
};
