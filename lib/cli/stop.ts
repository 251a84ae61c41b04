import { boolean, type OptionTable, optionTable } from '../options.js';
import type { Command } from './command.js';

/** The options of `dynamo stop`. */
export interface StopCommandOptions {
  readonly now?: boolean;
}

const OPTIONS: OptionTable<StopCommandOptions> = optionTable<StopCommandOptions>({
  now: boolean.about('Kill it, with all its requests.'),
});

export const stopCommand: Command<StopCommandOptions> = {
  name: 'stop',
  summary: 'Drain a graph that runs on this machine, and wait for its end.',
  usage: '[graph]',
  description: 'The graph is its name in `dynamo ps`. It may be left out if only one runs.',
  options: OPTIONS,
  load: () => import('./stop-action.js'),
};
