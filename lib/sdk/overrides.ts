import { ConfigError, type ConfigPath, type ConfigSource, deepMerge, type Section } from './config-source.js';

interface Override {
  readonly flag: string;
  /** The service, then the keys. */
  readonly path: readonly [string, ...string[]];
  readonly value: unknown;
}

const FLAG = /^--([A-Za-z0-9][-A-Za-z0-9]*)\.([^=]+)(?:=([\s\S]*))?$/;

/** Whether an argument is `--Service.key`, with or without a value. */
export const isOverride = (argument: string): boolean => FLAG.test(argument);

const isDecimal = /^[+-]?(\d+\.?\d*|\.\d+)$/;
const isTruth = /^(true|false)$/i;

const isExact = (value: unknown): boolean => !Number.isInteger(value) || Number.isSafeInteger(value);

/** JSON, else a number or a boolean, else text. An integer that a number cannot hold stays text. */
function parsed(text: string): unknown {
  try {
    const value: unknown = JSON.parse(text);
    return isExact(value) ? value : text;
  } catch {
    if (isDecimal.test(text) && isExact(Number(text))) return Number(text);
    return isTruth.test(text) ? text.toLowerCase() === 'true' : text;
  }
}

/** Environment variables are text, whatever they look like. */
const isText = ([, args, group]: readonly string[]): boolean =>
  args === 'ServiceArgs' && (group === 'env' || group === 'envs');

function overridesOf(args: readonly string[]): readonly Override[] {
  const found: Override[] = [];
  const rest = args[Symbol.iterator]();
  for (const argument of rest) {
    const fail = (message: string): never => {
      throw new ConfigError('config.bad_argument', undefined, `Error parsing service arg: ${argument}: ${message}`);
    };
    const [, service, keys, attached] = FLAG.exec(argument) ?? fail('expected --Service.key=value');
    const path: [string, ...string[]] = [service as string, ...(keys as string).split('.')];
    if (path.includes('')) fail('expected a key between two dots');
    const text: unknown = attached ?? rest.next().value;
    if (typeof text !== 'string') fail('expected a value');
    else if (attached === undefined && text.startsWith('-')) fail(`write a value that begins with '-' after '='`);
    else
      found.push({ flag: `--${service}.${keys}`, path, value: isText(path) && path.length > 3 ? text : parsed(text) });
  }
  return found;
}

const startsWith = (path: ConfigPath, start: ConfigPath): boolean =>
  start.length <= path.length && start.every((key, index) => key === path[index]);

/**
 * The values of a command line: `--Service.key=value`, `--Service.key value` and `--Service.a.b=value`.
 *
 * A value is JSON, else a number or a boolean, else text. The variables of `ServiceArgs.env` stay text. A later
 * argument wins.
 *
 * @throws ConfigError `config.bad_argument` for any other argument, for a missing value, and for a value after a space
 *   that begins with `-`
 */
export function parseOverrides(args: readonly string[]): ConfigSource {
  const overrides = overridesOf(args);
  const data = overrides.reduce<Section>(
    (section, { path, value }) =>
      deepMerge(section, path.reduceRight<unknown>((inner, key) => ({ [key]: inner }), value) as Section),
    {},
  );
  const placeOf: ConfigSource['placeOf'] = (path) =>
    overrides.findLast((one) => startsWith(path, one.path) || startsWith(one.path, path))?.flag;
  return { data, placeOf };
}
