import { shown } from './errors.js';

/** Checks of arguments: each throws a TypeError or RangeError that names the path, what was expected and what came. */

export function wrongType(path: string, expected: string, value: unknown): never {
  throw new TypeError(`${path}: expected ${expected}, got ${shown(value)}`);
}

export function checkObject(
  path: string,
  value: unknown,
  known?: readonly string[],
): asserts value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) wrongType(path, 'an object', value);
  const unknown = known === undefined ? undefined : Object.keys(value).find((key) => !known.includes(key));
  if (unknown !== undefined) throw new TypeError(`${path}.${unknown}: unknown option; known are ${known?.join(', ')}`);
}

/** Like `checkObject`, for options that have a type already. */
export function checkOptions(path: string, options: object, known: readonly string[]): void {
  checkObject(path, options, known);
}

export function checkString(path: string, value: unknown): asserts value is string {
  if (typeof value !== 'string') wrongType(path, 'a string', value);
}

export function checkBoolean(path: string, value: unknown): asserts value is boolean {
  if (typeof value !== 'boolean') wrongType(path, 'a boolean', value);
}

export function checkArray(path: string, value: unknown, of: string): asserts value is readonly unknown[] {
  if (!Array.isArray(value)) wrongType(path, `an array of ${of}`, value);
}

/** An object of one of this package's classes. */
export function checkInstance(
  path: string,
  value: unknown,
  Class: { readonly name: string; [Symbol.hasInstance](value: unknown): boolean },
): void {
  if (!(value instanceof Class)) wrongType(path, `an object of ${Class.name}`, value);
}

export function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value;
}

export function checkFunction(path: string, value: unknown): void {
  if (typeof value !== 'function') wrongType(path, 'a function', value);
}

/** The longest time that a timer takes, in milliseconds; a longer one would end at once. */
export const MAX_TIMEOUT_MS = 2 ** 31 - 1;

export const MAX_U32 = 2 ** 32 - 1;

export function checkInteger(
  path: string,
  value: unknown,
  least: number,
  most = Number.MAX_SAFE_INTEGER,
): asserts value is number {
  if (typeof value !== 'number') wrongType(path, 'an integer', value);
  if (!Number.isSafeInteger(value) || value < least || value > most) {
    throw new RangeError(`${path}: expected an integer from ${least} to ${most}, got ${value}`);
  }
}

export function checkNumber(path: string, value: unknown): asserts value is number {
  if (typeof value !== 'number' || Number.isNaN(value)) wrongType(path, 'a number', value);
}

/** A finite number of a range. */
export function checkRange(
  path: string,
  value: unknown,
  least: number,
  most = Number.MAX_VALUE,
): asserts value is number {
  if (typeof value !== 'number') wrongType(path, 'a number', value);
  const range = most === Number.MAX_VALUE ? `a finite number from ${least} on` : `a number from ${least} to ${most}`;
  if (!(value >= least && value <= most)) throw new RangeError(`${path}: expected ${range}, got ${value}`);
}

export function checkOneOf<T extends string>(path: string, value: unknown, choices: readonly T[]): asserts value is T {
  if (!choices.includes(value as T)) wrongType(path, `one of ${choices.join(', ')}`, value);
}

export function checkSignal(path: string, value: unknown): asserts value is AbortSignal {
  if (!(value instanceof AbortSignal)) wrongType(path, 'an AbortSignal', value);
}

export function checkStringMap(path: string, value: unknown): asserts value is Record<string, string> {
  checkObject(path, value);
  for (const [key, entry] of Object.entries(value)) checkString(`${path}.${key}`, entry);
}

/** The one option of a `close`: how long to wait, or undefined. */
export function checkClose(path: string, options: { readonly timeoutMs?: number }, least: number): number | undefined {
  checkOptions(`${path} options`, options, ['timeoutMs']);
  const { timeoutMs } = options;
  if (timeoutMs !== undefined) checkInteger(`${path} options.timeoutMs`, timeoutMs, least, MAX_TIMEOUT_MS);
  return timeoutMs;
}

const MAX_U64 = 2n ** 64n - 1n;

export function checkInstanceId(path: string, value: unknown): asserts value is bigint {
  if (typeof value !== 'bigint') wrongType(path, 'an instance id (a bigint)', value);
  if (value < 0n || value > MAX_U64) throw new RangeError(`${path}: expected a bigint from 0 to 2^64-1, got ${value}`);
}

const TOPIC = /^[\w-]+(\.[\w-]+)*$/;

/** A topic becomes a part of a subject of NATS, where a space ends it and `*` and `>` stand for others. */
export function checkTopic(path: string, value: unknown): asserts value is string {
  checkString(path, value);
  if (!TOPIC.test(value))
    throw new RangeError(
      `${path}: expected letters, digits, _ and -, in parts with dots between, got ${JSON.stringify(value)}`,
    );
}

const NAME = /^[a-z0-9_-]+$/;

/** Dynamo's rule for names of namespaces, components and endpoints, which the crates declare but do not apply. */
export function checkName(path: string, value: unknown): asserts value is string {
  checkString(path, value);
  if (!NAME.test(value)) {
    throw new RangeError(`${path}: expected a name of a-z, 0-9, - and _, got ${shown(value)}`);
  }
}
