import { types } from 'node:util';

import { shown } from '../../errors.js';

/** The deepest nesting of a value, in either direction. */
export const MAX_DEPTH = 512;

/** Why a value cannot be written, and which field is wrong. */
class EncodeError extends Error {
  constructor(path: string, problem: string, options?: ErrorOptions) {
    super(path === '' ? problem : `${path}: ${problem}`, options);
  }
}

type Getter<Of, Value> = (of: Of) => Value;
/** A getter of the engine. A class or a field of the same name cannot replace it. */
const engineGetter = <Of, Value>(prototype: object, name: string): Getter<Of, Value> =>
  Function.prototype.call.bind(Object.getOwnPropertyDescriptor(prototype, name)?.get as () => Value) as never;
const TYPED_ARRAY = Object.getPrototypeOf(Uint8Array.prototype) as object;
const lengthOf = engineGetter<ArrayBufferView, number>(TYPED_ARRAY, 'length');
const bufferOf = engineGetter<ArrayBufferView, ArrayBuffer>(TYPED_ARRAY, 'buffer');
const viewBufferOf = engineGetter<ArrayBufferView, ArrayBuffer>(DataView.prototype, 'buffer');
const viewOffsetOf = engineGetter<ArrayBufferView, number>(DataView.prototype, 'byteOffset');
const viewLengthOf = engineGetter<ArrayBufferView, number>(DataView.prototype, 'byteLength');
const MAX_ITEMS = 2 ** 32 - 1;

const INITIAL_BYTES = 8192;
/** Memory that a large value made larger than this is dropped after use. */
const KEPT_BYTES = 32 * 1024 * 1024;
/** A shorter string is written in JavaScript, because a call of the runtime costs more. */
const SHORT_TEXT = 32;
/** An error names at most this many fields of a path. */
const PATH_FIELDS = 16;
const NUMBERS_AT_ONCE = 1024;

interface TextBuffer extends Buffer {
  utf8Write(text: string, offset: number): number;
}

/**
 * The state of the writer. A getter or `toJSON` of the value may encode another value in between.
 * `encodeWith` then puts this state aside.
 */
let memory = Buffer.allocUnsafeSlow(INITIAL_BYTES) as TextBuffer;
let view = new DataView(memory.buffer);
let at = 0;
let depth = 0;
/** The deepest level of the value that was written last. */
let deepest = 0;
/** Whether whole numbers beyond 32 bits are written as integers, as the native side's counts must be. */
let isExact = false;
/** The field at each depth, for errors. */
let path: (string | number)[] = [];
let isBusy = false;

function encodeWith<Result>(value: unknown, exact: boolean, use: (bytes: Uint8Array) => Result): Result {
  const outer = isBusy ? { memory, view, at, depth, deepest, isExact, path } : undefined;
  if (outer !== undefined) {
    memory = Buffer.allocUnsafeSlow(INITIAL_BYTES) as TextBuffer;
    view = new DataView(memory.buffer);
    path = [];
  }
  isBusy = true;
  at = 0;
  depth = 0;
  deepest = 0;
  isExact = exact;
  try {
    write(value);
    return use(memory.subarray(0, at));
  } catch (cause) {
    if (cause instanceof EncodeError) throw cause;
    // A getter, `toJSON` or a Proxy of the user.
    throw new EncodeError(pathText(), cause instanceof Error ? cause.message : shown(cause), { cause });
  } finally {
    if (outer !== undefined) ({ memory, view, at, depth, deepest, isExact, path } = outer);
    else {
      isBusy = false;
      if (memory.byteLength > KEPT_BYTES) {
        memory = Buffer.allocUnsafeSlow(INITIAL_BYTES) as TextBuffer;
        view = new DataView(memory.buffer);
      }
    }
  }
}

/** The number of levels of the value that was encoded last. */
export function encodedDepth(): number {
  return deepest;
}

/** The bytes of a value, in new memory. */
export function encode(value: unknown): Uint8Array {
  return encodeWith(value, false, copy);
}

/** As `encode`, for what the native side reads as counts: whole numbers beyond 32 bits are integers, not floats. */
export function encodeExact(value: unknown): Uint8Array {
  return encodeWith(value, true, copy);
}

/** As `encode`, in memory that the next call overwrites: for a native call, which copies the bytes. */
export function encodeBorrowed(value: unknown): Uint8Array {
  return encodeWith(value, false, (bytes) => bytes);
}

function copy(bytes: Uint8Array): Uint8Array {
  return Buffer.from(bytes);
}

function fail(problem: string): never {
  throw new EncodeError(pathText(), problem);
}

function pathText(): string {
  let text = '';
  for (const field of path.slice(0, Math.min(depth, PATH_FIELDS))) {
    if (typeof field === 'number') text += `[${field}]`;
    else if (/^[A-Za-z_$][\w$]*$/.test(field)) text += text === '' ? field : `.${field}`;
    else text += `[${JSON.stringify(field)}]`;
  }
  return depth > PATH_FIELDS ? `${text}...` : text;
}

function reserve(bytes: number): void {
  const needed = at + bytes;
  if (needed > memory.byteLength) grow(needed);
}

function grow(needed: number): void {
  const grown = Buffer.allocUnsafeSlow(Math.max(needed, memory.byteLength * 2)) as TextBuffer;
  memory.copy(grown, 0, 0, at);
  memory = grown;
  view = new DataView(grown.buffer);
}

function write(value: unknown): void {
  switch (typeof value) {
    case 'string':
      return writeText(value);
    case 'number':
      return writeNumber(value);
    case 'object':
      return value === null ? writeByte(0xc0) : writeObject(value);
    case 'boolean':
      return writeByte(value ? 0xc3 : 0xc2);
    case 'undefined':
      return writeByte(0xc0);
    case 'bigint':
      return writeBigint(value);
    default:
      fail(`a ${typeof value} cannot be sent`);
  }
}

function writeByte(byte: number): void {
  reserve(1);
  memory[at++] = byte;
}

/** A byte, then a number of 8, 16 or 32 bits. */
function write8(byte: number, value: number): void {
  memory[at] = byte;
  memory[at + 1] = value;
  at += 2;
}

function write16(byte: number, value: number): void {
  memory[at] = byte;
  memory[at + 1] = value >>> 8;
  memory[at + 2] = value;
  at += 3;
}

function write32(byte: number, value: number): void {
  memory[at] = byte;
  memory[at + 1] = value >>> 24;
  memory[at + 2] = value >>> 16;
  memory[at + 3] = value >>> 8;
  memory[at + 4] = value;
  at += 5;
}

function writeNumber(value: number): void {
  reserve(9);
  if (value >>> 0 === value) {
    if (value < 0x80) memory[at++] = value;
    else if (value <= 0xff) write8(0xcc, value);
    else if (value <= 0xffff) write16(0xcd, value);
    else write32(0xce, value);
  } else if (value >> 0 === value) {
    if (value >= -0x20) memory[at++] = value;
    else if (value >= -0x80) write8(0xd0, value);
    else if (value >= -0x8000) write16(0xd1, value);
    else write32(0xd2, value);
  } else if (isExact && Number.isSafeInteger(value)) writeBigint(BigInt(value));
  else writeFloat(value);
}

function writeFloat(value: number): void {
  memory[at] = 0xcb;
  view.setFloat64(at + 1, value);
  at += 9;
}

function writeBigint(value: bigint): void {
  if (value >= -0x8000_0000n && value <= 0xffff_ffffn) return writeNumber(Number(value));
  reserve(9);
  if (BigInt.asIntN(64, value) === value) {
    memory[at] = 0xd3;
    view.setBigInt64(at + 1, value);
  } else if (BigInt.asUintN(64, value) === value) {
    memory[at] = 0xcf;
    view.setBigUint64(at + 1, value);
  } else fail('a bigint beyond 64 bits cannot be sent');
  at += 9;
}

/** A lone surrogate becomes U+FFFD, as in every encoder of UTF-8. */
function writeText(text: string): void {
  const { length } = text;
  reserve(length * 3 + 5);
  if (length < SHORT_TEXT && writeAscii(text, length)) return;
  // The text goes after the header that its length suggests, and moves if its bytes need a longer one.
  const header = textHeader(length);
  const bytes = memory.utf8Write(text, at + header);
  const needed = textHeader(bytes);
  if (needed !== header) memory.copyWithin(at + needed, at + header, at + header + bytes);
  if (needed === 1) memory[at++] = 0xa0 | bytes;
  else if (needed === 2) write8(0xd9, bytes);
  else if (needed === 3) write16(0xda, bytes);
  else write32(0xdb, bytes);
  at += bytes;
}

function textHeader(bytes: number): number {
  return bytes < 0x20 ? 1 : bytes < 0x100 ? 2 : bytes < 0x1_0000 ? 3 : 5;
}

/** Writes a short string if it is all ASCII. */
function writeAscii(text: string, length: number): boolean {
  const start = at + 1;
  for (let index = 0; index < length; index++) {
    const unit = text.charCodeAt(index);
    if (unit >= 0x80) return false;
    memory[start + index] = unit;
  }
  memory[at] = 0xa0 | length;
  at = start + length;
  return true;
}

function writeBytes(bytes: Uint8Array | Uint8ClampedArray): void {
  const length = lengthOf(bytes);
  reserve(length + 5);
  if (length <= 0xff) write8(0xc4, length);
  else if (length <= 0xffff) write16(0xc5, length);
  else write32(0xc6, length);
  memory.set(bytes, at);
  at += length;
}

function writeArrayHeader(length: number): void {
  reserve(5);
  if (length < 0x10) memory[at++] = 0x90 | length;
  else if (length <= 0xffff) write16(0xdc, length);
  else write32(0xdd, length);
}

function writeMapHeader(length: number): void {
  reserve(5);
  if (length < 0x10) memory[at++] = 0x80 | length;
  else if (length <= 0xffff) write16(0xde, length);
  else write32(0xdf, length);
}

function enter(): void {
  if (++depth <= deepest) return;
  if (depth > MAX_DEPTH) fail(`it refers to itself, or is nested deeper than ${MAX_DEPTH} levels`);
  deepest = depth;
}

function writeArray(items: readonly unknown[]): void {
  const { length } = items;
  // That of a Proxy may be anything.
  if (!Number.isInteger(length) || length < 0 || length > MAX_ITEMS)
    fail(`an array of length ${length} cannot be sent`);
  const level = depth;
  enter();
  writeArrayHeader(length);
  for (let index = 0; index < length; index++) {
    const item = items[index];
    const next = typeof item === 'number' ? writeNumbers(items, index, length) : index;
    if (next > index) index = next - 1;
    else {
      path[level] = index;
      write(item);
    }
  }
  depth = level;
}

/** Writes the numbers of an array from `index` on, and returns the index of the first item that it left. */
function writeNumbers(items: ArrayLike<unknown>, index: number, length: number): number {
  const stop = Math.min(length, index + NUMBERS_AT_ONCE);
  reserve((stop - index) * 9);
  const bytes = memory;
  let next = index;
  for (; next < stop; next++) {
    const value = items[next];
    if (typeof value !== 'number') break;
    if (value >>> 0 !== value) {
      if (value >> 0 === value || isExact) writeNumber(value);
      else writeFloat(value);
    } else if (value < 0x80) bytes[at++] = value;
    else if (value <= 0xff) {
      bytes[at] = 0xcc;
      bytes[at + 1] = value;
      at += 2;
    } else if (value <= 0xffff) {
      bytes[at] = 0xcd;
      bytes[at + 1] = value >>> 8;
      bytes[at + 2] = value;
      at += 3;
    } else {
      bytes[at] = 0xce;
      bytes[at + 1] = value >>> 24;
      bytes[at + 2] = value >>> 16;
      bytes[at + 3] = value >>> 8;
      bytes[at + 4] = value;
      at += 5;
    }
  }
  return next;
}

function writeObject(value: object): void {
  if (Array.isArray(value)) return writeArray(value);
  const prototype = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null && writeSpecial(value)) return;
  const fields = Object.keys(value);
  if ((prototype !== Object.prototype || fields.includes('toJSON')) && writeReplacement(value)) return;
  const level = depth;
  enter();
  writeMapHeader(fields.length);
  for (const field of fields) {
    path[level] = field;
    writeText(field);
    write((value as Record<string, unknown>)[field]);
  }
  depth = level;
}

/** Writes what an object's `toJSON` returns, unless that is the object itself. */
function writeReplacement(value: object): boolean {
  const { toJSON } = value as { toJSON?: unknown };
  if (typeof toJSON !== 'function') return false;
  const level = depth;
  const replacement: unknown = toJSON.call(value, level === 0 ? '' : String(path[level - 1]));
  if (replacement === value) return false;
  path[level] = 'toJSON()';
  enter();
  write(replacement);
  depth = level;
  return true;
}

/** Writes what is neither an array nor a record. It checks internal slots, so objects of other realms count too. */
function writeSpecial(value: object): boolean {
  if (ArrayBuffer.isView(value)) writeView(value);
  else if (types.isMap(value)) writeMap(value);
  else if (types.isSet(value)) writeArray([...value]);
  else if (types.isArrayBuffer(value)) writeBytes(new Uint8Array(value));
  else if (types.isBoxedPrimitive(value)) write(value.valueOf());
  else {
    refuse(value);
    return false;
  }
  return true;
}

/** Refuses objects whose content is in no field. As a record they would arrive empty. */
function refuse(value: object): void {
  if (types.isSharedArrayBuffer(value)) fail('a SharedArrayBuffer cannot be sent; copy it into a Uint8Array');
  if (types.isPromise(value)) fail('a Promise cannot be sent; await it first');
  if (types.isGeneratorObject(value)) fail('a generator cannot be sent; collect its items first');
  if (types.isRegExp(value)) fail('a RegExp cannot be sent');
  if (types.isWeakMap(value) || types.isWeakSet(value)) fail('a weak collection cannot be sent');
  if (types.isNativeError(value) && !('toJSON' in value)) fail('an Error cannot be sent; throw it, or send its fields');
}

/** Bytes stay bytes. The elements of every other typed array become numbers. */
function writeView(array: ArrayBufferView): void {
  if (types.isUint8Array(array) || types.isUint8ClampedArray(array)) return writeBytes(array);
  if (types.isDataView(array))
    return writeBytes(new Uint8Array(viewBufferOf(array), viewOffsetOf(array), viewLengthOf(array)));
  const numbers = array as unknown as ArrayLike<number | bigint>;
  const length = lengthOf(array);
  // Detached memory has no elements, but it is not an empty array. This throws for it.
  if (length === 0) new Uint8Array(bufferOf(array));
  writeArrayHeader(length);
  for (let index = 0; index < length; index++) write(numbers[index]);
}

function writeMap(map: ReadonlyMap<unknown, unknown>): void {
  const entries = [...map];
  const level = depth;
  enter();
  writeMapHeader(entries.length);
  for (const [key, value] of entries) {
    path[level] = typeof key === 'string' || typeof key === 'number' ? key : `(${typeof key})`;
    if (typeof key !== 'string' && typeof key !== 'number' && typeof key !== 'bigint')
      fail('a key of a Map must be a string or a number');
    write(key);
    write(value);
  }
  depth = level;
}
