import { milliseconds, type OptionTable, optionTable } from '../options.js';
import type { Command } from './command.js';

/** The options of `dynamo doctor`. */
export interface DoctorOptions {
  readonly timeoutMs?: number;
}

const OPTIONS: OptionTable<DoctorOptions> = optionTable<DoctorOptions>({
  timeoutMs: milliseconds(1).about('How long a server may take to answer. Default 2000.'),
});

export const doctorCommand: Command<DoctorOptions> = {
  name: 'doctor',
  summary: 'Examine this machine: what is there, what is missing, and what to do.',
  usage: '',
  description: 'Exits with 0 if the package can work here, else with 1. What is optional and missing is no failure.',
  options: OPTIONS,
  examples: ['doctor', 'doctor --json'],
  load: () => import('./doctor-action.js'),
};
