import { boolean, integer, type OptionTable, optionTable, text } from '../options.js';
import type { Command } from './command.js';

/** The options of `dynamo logs`. */
export interface LogsCommandOptions {
  readonly graph?: string;
  readonly follow?: boolean;
  readonly tail?: number;
}

const OPTIONS: OptionTable<LogsCommandOptions> = optionTable<LogsCommandOptions>({
  graph: text.about('The name of the graph in `dynamo ps`. May be left out if only one runs.'),
  follow: boolean.about('Wait for further lines.'),
  tail: integer(0).about('Only this number of the last lines.'),
});

export const logsCommand: Command<LogsCommandOptions> = {
  name: 'logs',
  summary: 'Show the output of the workers of a graph that runs on this machine.',
  usage: '[service]',
  description: 'The service is a name, or one of its workers, such as `Worker#0`.',
  options: OPTIONS,
  short: { follow: 'f' },
  examples: ['logs', 'logs Worker -f', 'logs Worker#1 --tail 20'],
  load: () => import('./logs-action.js'),
};
