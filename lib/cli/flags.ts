import { flagOf, type OptionTable } from '../options.js';
import { usageError } from './command.js';

/** The flag of an option: `httpPort` is `--http-port`. */
export const flagLine = flagOf;

type Row = ReturnType<OptionTable<object>['flags']>[number]['option'];

const TRUE = ['1', 'true', 'yes', 'on'];
const FALSE = ['0', 'false', 'no', 'off'];

/** A value of the command line or of a variable, in the type of its row. What does not fit is left for the check. */
function parsed(kind: Row['kind'], value: unknown): unknown {
  if (typeof value !== 'string') return value;
  if (kind === 'integer' || kind === 'number')
    return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(value) ? Number(value) : value;
  if (kind === 'boolean')
    return TRUE.includes(value.toLowerCase()) || (FALSE.includes(value.toLowerCase()) ? false : value);
  if (kind === 'list') return value.split(',').filter((item) => item !== '');
  return value;
}

/**
 * The options of a command: what was typed, else what the variables of the table say.
 *
 * @throws CliError `E_USAGE` that names the flag or the variable, what was expected and what came
 */
export function valuesOf<Options extends object>(
  table: OptionTable<Options>,
  typed: Readonly<Record<string, unknown>>,
  env: Readonly<Record<string, string | undefined>>,
): Options {
  const values: Record<string, unknown> = {};
  for (const { flag, name, option } of table.flags()) {
    const variable = option.variables.find((one) => (env[one] ?? '') !== '');
    const source = typed[name] === undefined && variable !== undefined ? `$${variable}` : flag;
    const value = typed[name] ?? (variable === undefined ? undefined : env[variable]);
    if (value === undefined) {
      if (option.isRequired) throw usageError(`${flag}: expected ${option.expected}, got nothing`);
      continue;
    }
    values[name] = parsed(option.kind, value);
    try {
      option.check(source, values[name]);
    } catch (error) {
      throw usageError((error as Error).message);
    }
  }
  return values as Options;
}
