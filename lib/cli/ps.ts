import { type OptionTable, optionTable } from '../options.js';
import type { Command } from './command.js';

const OPTIONS: OptionTable<object> = optionTable<object>({});

export const psCommand: Command = {
  name: 'ps',
  summary: 'List the graphs that run on this machine, and their workers.',
  usage: '',
  options: OPTIONS,
  load: () => import('./ps-action.js'),
};
