import { badArgument, shown } from './errors.js';

/** Checks of arguments. Each throws a TypeError or RangeError: `path: expected X, got Y`. */

export function wrongType(path: string, expected: string, value: unknown): never {
  throw badArgument(new TypeError(`${path}: expected ${expected}, got ${shown(value)}`));
}

export function checkObject(path: string, value: unknown): asserts value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) wrongType(path, 'an object', value);
}

/** Checks the names of an object whose names are known only at run time. */
export function checkNames(path: string, value: unknown, known: readonly string[]): void {
  checkObject(path, value);
  const unknown = Object.keys(value).find((name) => !known.includes(name));
  if (unknown !== undefined)
    throw badArgument(new TypeError(`${path}.${unknown}: unknown name; known are ${known.join(', ')}`));
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

/** The URLs of this file in all copies of the package that the process has loaded. */
const copies: string[] = ((globalThis as { [key: symbol]: string[] })[Symbol.for('dynamo-node.copies')] ??= []);
copies.push(String(import.meta.url));

/** What a user does not see in the code: another copy of the package has other classes. Empty with one copy. */
function ofCopies(): string {
  if (copies.length === 1) return '';
  const folders = new Set(copies.map((url) => url.replace(/^file:\/\//, '').replace(/\/[^/]*\/[^/]*$/, '')));
  return (
    `. This process has loaded dynamo-node ${copies.length} times, from ${[...folders].join(' and ')}. ` +
    'It can use one copy only'
  );
}

/** An object of one of this package's classes. */
export function checkInstance(
  path: string,
  value: unknown,
  Class: { readonly name: string; [Symbol.hasInstance](value: unknown): boolean },
): void {
  if (value instanceof Class) return;
  const expected = `an object of ${Class.name}`;
  if (shown(value) !== expected) wrongType(path, expected, value);
  const got = `an object of another class of this name${ofCopies()}`;
  throw badArgument(new TypeError(`${path}: expected ${expected}, got ${got}`));
}

/** A value, or a promise of it. */
export type Awaitable<T> = T | Promise<T>;

export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function';
}

export function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value;
}

/** An object that can be iterated, synchronously or not. A string is none. */
export function isIterable(value: unknown): value is AsyncIterable<unknown> | Iterable<unknown> {
  return typeof value === 'object' && value !== null && (Symbol.asyncIterator in value || Symbol.iterator in value);
}

export function checkFunction(path: string, value: unknown): void {
  if (typeof value !== 'function') wrongType(path, 'a function', value);
}

export const MAX_I32 = 2 ** 31 - 1;

/** The longest time of a timer, in milliseconds. A longer one would fire at once. */
export const MAX_TIMEOUT_MS = MAX_I32;

export const MAX_U32 = 2 ** 32 - 1;
/** The crates reserve memory for one block of tokens. Blocks of engines have at most some thousands. */
export const MAX_BLOCK_TOKENS = 2 ** 20;
/** Each thread takes some 2 MiB of address space. */
export const MAX_THREADS = 256;

export function checkInteger(
  path: string,
  value: unknown,
  min: number,
  max = Number.MAX_SAFE_INTEGER,
): asserts value is number {
  if (typeof value !== 'number') wrongType(path, 'an integer', value);
  if (!Number.isSafeInteger(value) || value < min || value > max) {
    throw badArgument(new RangeError(`${path}: expected an integer from ${min} to ${max}, got ${value}`));
  }
}

export function checkNumber(path: string, value: unknown): asserts value is number {
  if (typeof value !== 'number' || Number.isNaN(value)) wrongType(path, 'a number', value);
}

/** A finite number in a range. */
export function checkRange(path: string, value: unknown, min: number, max = Number.MAX_VALUE): asserts value is number {
  if (typeof value !== 'number') wrongType(path, 'a number', value);
  const range = max === Number.MAX_VALUE ? `a finite number of at least ${min}` : `a number from ${min} to ${max}`;
  if (!(value >= min && value <= max)) throw badArgument(new RangeError(`${path}: expected ${range}, got ${value}`));
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

const MAX_U64 = 2n ** 64n - 1n;

/** An unsigned integer of 64 bits. `expected` names it in the message for another type. */
export function checkU64(path: string, value: unknown, expected = 'a bigint'): asserts value is bigint {
  if (typeof value !== 'bigint') wrongType(path, expected, value);
  if (value < 0n || value > MAX_U64)
    throw badArgument(new RangeError(`${path}: expected a bigint from 0 to 2^64-1, got ${value}`));
}

export function checkInstanceId(path: string, value: unknown): asserts value is bigint {
  checkU64(path, value, 'an instance id (a bigint)');
}

const TOPIC = /^[\w-]+(\.[\w-]+)*$/;

/** A topic becomes part of a NATS subject. There a space ends the subject, and `*` and `>` are wildcards. */
export function checkTopic(path: string, value: unknown): asserts value is string {
  checkString(path, value);
  if (!TOPIC.test(value))
    throw badArgument(
      new RangeError(
        `${path}: expected letters, digits, _ and -, in parts separated by dots, got ${JSON.stringify(value)}`,
      ),
    );
}

const NAME = /^[a-z0-9_-]+$/;

/** Dynamo's rule for the names of namespaces, components and endpoints. The crates declare it but do not apply it. */
export function checkName(path: string, value: unknown): asserts value is string {
  checkString(path, value);
  if (!NAME.test(value)) {
    throw badArgument(new RangeError(`${path}: expected a name of a-z, 0-9, - and _, got ${shown(value)}`));
  }
}

/** Whether a text has control characters of ASCII or Latin-1. A terminal takes some of them for commands. */
export const hasControl = (text: string): boolean => /[\u0000-\u001f\u007f-\u009f]/.test(text);
