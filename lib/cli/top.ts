import { boolean, number, type OptionTable, optionTable } from '../options.js';
import type { Command } from './command.js';
import { WATCHED_ROWS, type WatchedGraphOptions } from './ui.js';

/** The options of `dynamo top`. */
export interface TopCommandOptions extends WatchedGraphOptions {
  readonly once?: boolean;
  readonly intervalSeconds?: number;
}

const MIN_SECONDS = 0.2;
const MAX_SECONDS = 60;

const OPTIONS: OptionTable<TopCommandOptions> = optionTable<TopCommandOptions>({
  once: boolean.about('Show it once, after the rates have been measured.'),
  intervalSeconds: number(MIN_SECONDS, MAX_SECONDS).about('The time between two readings. Default: 1.'),
  ...WATCHED_ROWS,
});

export const topCommand: Command<TopCommandOptions> = {
  name: 'top',
  summary: 'Show the essentials of a running graph in the terminal, live.',
  usage: '[graph]',
  description: 'The graph is found as by `dynamo ui`. Keys: q or Ctrl-C ends. Without a terminal it is shown once.',
  options: OPTIONS,
  examples: ['top', 'top llm --once --json', 'top --frontend http://127.0.0.1:8000'],
  load: () => import('./top-action.js'),
};
