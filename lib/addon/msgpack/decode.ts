import { isAscii, isUtf8, transcode } from 'node:buffer';

import { MAX_DEPTH } from './encode.js';

/** Why bytes are not a value of the kinds that Dynamo's peers send. */
export class DecodeError extends Error {}

/**
 * The cost that one message may have. It bounds the time for which a message stops the event loop, and the memory that
 * it takes. One unit is about 10 ns and 8 bytes. A constant or an integer of at most 31 bits costs one.
 */
const MAX_COST = 5_000_000;
/** Any other number, which V8 keeps as an object, except in an array of numbers. */
const BOXED_COST = 4;
/** A string, an array or a map. */
const OBJECT_COST = 10;
const BYTES_COST = 30;
/** Text beyond ASCII costs this much more for each byte. */
const TEXT_COST = 0.125;
/** V8 needs this time for text that is not valid UTF-8, and before Node.js 24 for all short text beyond ASCII. */
const SLOW_TEXT_COST = 0.4;
/** A key that is not in the cache. V8 looks it up in its table of strings, and a large map becomes a hash table. */
const NEW_KEY_COST = 60;

/** Up to this length, text and bytes are read in JavaScript, because a call of the runtime costs more. */
const SHORT_TEXT = 16;
const SHORT_BYTES = 32;
const CACHE_SLOTS = 1024;
/** A larger message is not referenced after it was read. */
const KEPT_BYTES = 64 * 1024;

/** From this length on a string over the memory of the message is tried: V8 takes new memory for each large string. */
const LARGE_TEXT = 64 * 1024;
/** From this length on the kind of a text is looked up before it is read. */
const LONG_TEXT = 512;

type TextOver = (bytes: Uint8Array, start: number, end: number) => string | undefined;
let textOver: TextOver | undefined;

/** Sets what makes a string over the bytes of a message, or returns undefined for other bytes. */
export function shareTexts(reader: TextOver | undefined): void {
  textOver = reader;
}

const utf8Slice = (Buffer.prototype as unknown as { utf8Slice(start: number, end: number): string }).utf8Slice;

/** V8 needs five times as long for text beyond ASCII in earlier versions of Node.js. */
const isSlowWithUtf8 = Number.parseInt(process.versions.node, 10) < 24;

/** The state of the reader. Reading runs no code of others, so it is never entered twice. */
const NO_BYTES = new Uint8Array(0);
let source: Uint8Array = NO_BYTES;
let view: DataView = new DataView(source.buffer);
let at = 0;
let end = 0;
let depth = 0;
let budget = 0;
let isBorrowing = false;

function decodeWith(bytes: Uint8Array, from: number, to: number, borrowing: boolean): unknown {
  if (bytes !== source) {
    source = bytes;
    view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
  at = from;
  end = to;
  depth = 0;
  // A batch of the native side contains the requests of many peers. None of them may make the batch unreadable.
  budget = borrowing ? Number.POSITIVE_INFINITY : MAX_COST;
  isBorrowing = borrowing;
  try {
    const value = read();
    if (at !== end) throw new DecodeError(`${end - at} bytes follow the value`);
    return value;
  } finally {
    if (bytes.byteLength > KEPT_BYTES) source = NO_BYTES;
  }
}

/** Reads one value. */
export function decode(bytes: Uint8Array, from = 0, to = bytes.byteLength): unknown {
  return decodeWith(bytes, from, to, false);
}

/** As `decode`, but byte arrays are views of `bytes`. */
export function decodeBorrowing(bytes: Uint8Array): unknown {
  return decodeWith(bytes, 0, bytes.byteLength, true);
}

/** The position of the next bytes, all of which exist. */
function take(count: number): number {
  const start = at;
  if (count > end - start) throw new DecodeError('it is cut off');
  at = start + count;
  return start;
}

function spend(cost: number): void {
  budget -= cost;
  if (budget < 0) tooMuch();
}

function tooMuch(): never {
  throw new DecodeError('it has too many values: send large data as bytes, or in several messages');
}

function read(): unknown {
  spend(1);
  const byte = source[take(1)] as number;
  if (byte < 0x80) return byte;
  if (byte < 0x90) return readMap(byte & 0x0f);
  if (byte < 0xa0) return readArray(byte & 0x0f);
  if (byte < 0xc0) return readText(byte & 0x1f);
  if (byte >= 0xe0) return byte - 0x100;
  switch (byte) {
    case 0xc0:
      return null;
    case 0xc2:
      return false;
    case 0xc3:
      return true;
    case 0xc4:
      return readBytes(read8());
    case 0xc5:
      return readBytes(read16());
    case 0xc6:
      return readBytes(read32());
    case 0xca:
      spend(BOXED_COST);
      return view.getFloat32(take(4));
    case 0xcb:
      spend(BOXED_COST);
      return view.getFloat64(take(8));
    case 0xcc:
      return read8();
    case 0xcd:
      return read16();
    case 0xce:
      return spendFor(read32());
    case 0xcf:
      return readUint64();
    case 0xd0:
      return view.getInt8(take(1));
    case 0xd1:
      return view.getInt16(take(2));
    case 0xd2:
      return view.getInt32(take(4));
    case 0xd3:
      return readInt64();
    case 0xd9:
      return readText(read8());
    case 0xda:
      return readText(read16());
    case 0xdb:
      return readText(read32());
    case 0xdc:
      return readArray(read16());
    case 0xdd:
      return readArray(read32());
    case 0xde:
      return readMap(read16());
    case 0xdf:
      return readMap(read32());
    case 0xc1:
      throw new DecodeError('it has the byte 0xc1, which MessagePack never uses');
    default:
      throw new DecodeError('it has a MessagePack extension, which Dynamo never uses');
  }
}

function read8(): number {
  return source[take(1)] as number;
}

function read16(): number {
  return view.getUint16(take(2));
}

function read32(): number {
  return view.getUint32(take(4));
}

function spendFor(integer: number): number {
  if ((integer | 0) !== integer) spend(BOXED_COST);
  return integer;
}

/** A bigint beyond 2^53, where a number would lose digits. */
function readUint64(): number | bigint {
  const start = take(8);
  const high = view.getUint32(start);
  if (high < 0x20_0000) return spendFor(high * 0x1_0000_0000 + view.getUint32(start + 4));
  spend(OBJECT_COST);
  return view.getBigUint64(start);
}

function readInt64(): number | bigint {
  const start = take(8);
  const value = view.getInt32(start) * 0x1_0000_0000 + view.getUint32(start + 4);
  if (Number.isSafeInteger(value)) return spendFor(value);
  spend(OBJECT_COST);
  return view.getBigInt64(start);
}

function readBytes(length: number): Uint8Array {
  spend(BYTES_COST);
  const start = take(length);
  if (isBorrowing) return source.subarray(start, start + length);
  const bytes = Buffer.allocUnsafe(length);
  if (length > SHORT_BYTES) bytes.set(source.subarray(start, start + length));
  else for (let index = 0; index < length; index++) bytes[index] = source[start + index] as number;
  return bytes;
}

function readText(length: number): string {
  spend(OBJECT_COST);
  const start = take(length);
  if (length <= SHORT_TEXT) {
    const text = shortAscii(start, length);
    if (text !== undefined) return text;
  }
  if (length >= LONG_TEXT) return longText(start, length);
  const text = utf8Slice.call(source, start, start + length);
  // What is not UTF-8 becomes U+FFFD. V8 looks for it only in text beyond ASCII.
  const isReplaced = text.includes('\ufffd');
  if (isReplaced || text.length !== length) spendForText(length, isReplaced || isSlowWithUtf8);
  return text;
}

function spendForText(length: number, isSlow: boolean): void {
  spend(Math.floor(length * (isSlow ? SLOW_TEXT_COST : TEXT_COST)));
}

function longText(start: number, length: number): string {
  const end = start + length;
  const shared = length >= LARGE_TEXT ? textOver?.(source, start, end) : undefined;
  if (shared !== undefined) return shared;
  const bytes = source.subarray(start, end);
  if (!isAscii(bytes)) {
    const isValid = isUtf8(bytes);
    spendForText(length, !isValid);
    if (isValid && isSlowWithUtf8) return transcode(bytes, 'utf8', 'utf16le').toString('utf16le');
  }
  return utf8Slice.call(source, start, end);
}

/** One array for each length, used again and again. */
const CODES = Array.from({ length: SHORT_TEXT + 1 }, (_, length) => new Array<number>(length).fill(0));

function shortAscii(start: number, length: number): string | undefined {
  const codes = CODES[length] as number[];
  for (let index = 0; index < length; index++) {
    const byte = source[start + index] as number;
    if (byte >= 0x80) return undefined;
    codes[index] = byte;
  }
  return String.fromCharCode.apply(null, codes);
}

function enter(length: number, bytesEach: number): void {
  spend(OBJECT_COST);
  if (++depth > MAX_DEPTH) throw new DecodeError(`it is nested deeper than ${MAX_DEPTH} levels`);
  if (length * bytesEach > end - at) throw new DecodeError('it is cut off');
  if (length > budget) tooMuch();
}

function readArray(length: number): unknown[] {
  enter(length, 1);
  const items = length > 0 && isWide(next()) ? [] : new Array<unknown>(length);
  let index = 0;
  let byte = next();
  for (; index < length && isSmallInteger(byte); index++) {
    if (byte < 0x80) {
      spend(1);
      items[index] = byte;
      at += 1;
    } else items[index] = read();
    byte = next();
  }
  const array = index < length && isWide(next()) ? readNumbers(items, index, length) : readItems(items, index);
  depth -= 1;
  return array;
}

function readItems(items: unknown[], from: number): unknown[] {
  for (let index = from; index < items.length; index++) items[index] = read();
  return items;
}

/** The first byte of the next value. After the last value it is one that no value has. */
function next(): number {
  return at < end ? (source[at] as number) : 0xc1;
}

/** Whether the next value, which begins with `byte`, is a float or an integer of 32 bits. */
function isWide(byte: number): boolean {
  return byte === 0xca || byte === 0xcb || (byte === 0xce && !isSmallInteger(byte));
}

/** Whether the next value, which begins with `byte`, is an integer of at most 31 bits. */
function isSmallInteger(byte: number): boolean {
  if (byte < 0x80 || byte >= 0xe0 || byte === 0xcc || byte === 0xcd || (byte >= 0xd0 && byte <= 0xd2)) return true;
  return byte === 0xce && at + 1 < end && (source[at + 1] as number) < 0x80;
}

/**
 * Continues an array that has only small integers so far. V8 keeps numbers in an array without an object for each, as
 * long as nothing else is ever stored there. So it is a new array, and another one if a value of another kind follows.
 */
function readNumbers(integers: unknown[], count: number, length: number): unknown[] {
  const numbers = new Array<number>(length);
  for (let index = 0; index < count; index++) numbers[index] = integers[index] as number;
  for (let index = count; index < length; index++) {
    const byte = next();
    if (byte === 0xcb) numbers[index] = view.getFloat64(take(9) + 1);
    else if (byte === 0xca) numbers[index] = view.getFloat32(take(5) + 1);
    else if (byte === 0xce) numbers[index] = view.getUint32(take(5) + 1);
    else if (!isSmallInteger(byte)) return readItems(boxed(numbers, index), index);
    else {
      numbers[index] = read() as number;
      continue;
    }
    spend(2);
  }
  return numbers;
}

/** A copy of the first numbers, in an array for any values. */
function boxed(numbers: number[], count: number): unknown[] {
  spend(count * BOXED_COST);
  const items = new Array<unknown>(numbers.length);
  for (let index = 0; index < count; index++) items[index] = numbers[index];
  return items;
}

function readMap(length: number): Record<string, unknown> {
  enter(length, 2);
  const map: Record<string, unknown> = {};
  for (let index = 0; index < length; index++) {
    const key = readKey();
    const value = read();
    // An assignment would set the prototype.
    if (key === '__proto__')
      Object.defineProperty(map, key, { value, enumerable: true, configurable: true, writable: true });
    else map[key] = value;
  }
  depth -= 1;
  return map;
}

function readKey(): string {
  const byte = at < end ? (source[at] as number) : 0;
  if (byte > 0xa0 && byte < 0xc0) {
    at += 1;
    const length = byte & 0x1f;
    return cachedKey(take(length), length);
  }
  spend(NEW_KEY_COST);
  const key = read();
  if (typeof key === 'string') return key;
  if (typeof key === 'number' || typeof key === 'bigint') return String(key);
  throw new DecodeError('a key of a map is not a string');
}

/** Keys repeat, so the last ASCII key of each hash is kept. */
const keys: string[] = new Array<string>(CACHE_SLOTS).fill('');

function cachedKey(start: number, length: number): string {
  let hash = length;
  for (let index = 0; index < length; index++) hash = (Math.imul(hash, 31) + (source[start + index] as number)) | 0;
  const slot = (hash ^ (hash >>> 10)) & (CACHE_SLOTS - 1);
  const cached = keys[slot] as string;
  if (isSame(cached, start, length)) return cached;
  spend(NEW_KEY_COST);
  const text = utf8Slice.call(source, start, start + length);
  if (text.length === length) keys[slot] = text;
  return text;
}

/** Whether a key of ASCII characters has these bytes. */
function isSame(key: string, start: number, length: number): boolean {
  if (key.length !== length) return false;
  for (let index = 0; index < length; index++) if (key.charCodeAt(index) !== source[start + index]) return false;
  return true;
}
