import { addExtension, Packr, RESET_BUFFER_MODE, Unpackr } from 'msgpackr';

import { DynamoError, shown } from '../errors.js';

/** Token ids, hashes, vectors: arrays of numbers to every peer. Only bytes travel as bytes. */
const NUMERIC = [
  Int8Array,
  Uint16Array,
  Int16Array,
  Uint32Array,
  Int32Array,
  Float32Array,
  Float64Array,
  BigUint64Array,
  BigInt64Array,
];

/** Whether it is this module that packs now. */
let packing = false;

/**
 * The codec's extensions hold for every user of it in the process. This one matches nothing while others pack: they may want
 * the same arrays in a form of their own.
 */
const numericHere = {
  [Symbol.hasInstance]: (value: unknown): boolean => packing && NUMERIC.some((Class) => value instanceof Class),
};
addExtension({
  Class: numericHere,
  write: (value: ArrayLike<number | bigint>) => Array.from<number | bigint>(value),
} as unknown as Parameters<typeof addExtension>[0]);

/**
 * MessagePack as Dynamo's peers write and read it: maps with string keys, no extensions of the codec's own. Integers
 * beyond 2^53 are bigint both ways; `undefined` is nil.
 */
const packr = new Packr({
  useRecords: false,
  mapsAsObjects: true,
  variableMapSize: true,
  // A value of the codec that its types do not list.
  int64AsType: 'auto' as 'number',
  encodeUndefinedAsNil: true,
  copyBuffers: true,
});

export function pack(value: unknown): Uint8Array {
  return packed(value, 0);
}

/** A borrowed buffer that a large value made larger than this is given up again. */
const KEPT_BYTES = 32 * 1024 * 1024;

/**
 * Packs for a reader that is done with the bytes before anything else is packed, such as a native call, which copies them.
 * The same memory serves every time: a fresh buffer for each large value costs more than packing it.
 */
export function packBorrowed(value: unknown): Uint8Array {
  const bytes = packed(value, RESET_BUFFER_MODE);
  if (bytes.buffer.byteLength > KEPT_BYTES) packr.useBuffer(Buffer.allocUnsafeSlow(8192));
  return bytes;
}

function packed(value: unknown, mode: number): Buffer {
  packing = true;
  try {
    const bytes = packr.pack(value, mode);
    if (!mayHaveLoneSurrogate(bytes)) return bytes;
    const whole = wellFormed(value);
    return whole === value ? bytes : packr.pack(whole, mode);
  } finally {
    packing = false;
  }
}

/** The codec writes half of a pair of UTF-16 as it is, which is no UTF-8: peers then refuse the string, or take it for bytes. */
function mayHaveLoneSurrogate(bytes: Buffer): boolean {
  for (let at = bytes.indexOf(0xed); at !== -1; at = bytes.indexOf(0xed, at + 1)) {
    if ((bytes[at + 1] as number) >= 0xa0) return true;
  }
  return false;
}

/** The value with U+FFFD in the place of each half, as encoders of text put it; the value itself where it has none. */
function wellFormed(value: unknown): unknown {
  return rewritten(value, (leaf) => (typeof leaf === 'string' ? text(textBytes(leaf)) : leaf));
}

/** A value whose leaves and keys are replaced; the value itself where none of them changes. */
function rewritten(value: unknown, replace: (leaf: unknown) => unknown): unknown {
  if (Array.isArray(value)) {
    const items = value.map((item) => rewritten(item, replace));
    return items.some((item, index) => item !== value[index]) ? items : value;
  }
  if (value instanceof Map)
    return new Map([...value].map(([key, item]) => [rewritten(key, replace), rewritten(item, replace)]));
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return replace(value);
  const entries = Object.entries(value);
  const changed = entries.map(([key, item]) => [replace(key) as string, rewritten(item, replace)] as const);
  return changed.some(([key, item], index) => key !== entries[index]?.[0] || item !== entries[index]?.[1])
    ? Object.fromEntries(changed)
    : value;
}

/**
 * Packs what the native side reads as options and counts. The codec writes a number beyond 32 bits as a fraction, which is no
 * count there: whole ones are integers here.
 */
export function packArgs(value: unknown): Uint8Array {
  return pack(
    rewritten(value, (leaf) =>
      Number.isSafeInteger(leaf) && !fits32Bits(leaf as number) ? BigInt(leaf as number) : leaf,
    ),
  );
}

function fits32Bits(value: number): boolean {
  return value >>> 0 === value || value >> 0 === value;
}

/** Why the codec does not take a value. */
function unpackable(error: unknown): string {
  if (!(error instanceof Error)) return shown(error);
  if (error instanceof RangeError && error.message.includes('call stack'))
    return 'it refers to itself, or is nested too deep';
  if (error.message.includes('too large to fit')) return 'it has a bigint beyond 64 bits';
  return error.message;
}

/** Packs a value of the user's; what cannot be packed is a TypeError that names it. */
export function packValue(operation: string, what: string, value: unknown, packer = pack): Uint8Array {
  try {
    return packer(value);
  } catch (error) {
    throw new TypeError(`${operation}: ${what} cannot be written as MessagePack: ${unpackable(error)}`, {
      cause: error,
    });
  }
}

/** Packs what a handler or an engine gives back, into borrowed bytes: what cannot be packed is its mistake, not its caller's. */
export function packItem(operation: string, what: string, value: unknown, packer = packBorrowed): Uint8Array {
  try {
    return packValue(operation, what, value, packer);
  } catch (error) {
    throw mistake(operation, (error as Error).message);
  }
}

/** The error of a handler or an engine that did not keep to its interface. */
export function mistake(operation: string, message: string): DynamoError {
  return new DynamoError('Internal', message, { reason: 'runtime.unclassified', operation });
}

export function unpack(bytes: Uint8Array): unknown {
  return packr.unpack(bytes);
}

const range = { start: 0, end: 0 };

/** A value that lies among others, read where it lies. */
export function unpackAt(bytes: Uint8Array, start: number, end: number): unknown {
  range.start = start;
  range.end = end;
  return packr.unpack(bytes, range);
}

const framing = new Unpackr({
  useRecords: false,
  mapsAsObjects: true,
  int64AsType: 'auto' as 'number',
  copyBuffers: false,
});

/** Like `unpack`, but its byte arrays are views of `bytes`: for what the native side frames, never for a user's value. */
export function unpackFraming(bytes: Uint8Array): unknown {
  return framing.unpack(bytes);
}

const utf8 = new TextDecoder();
const utf8Encoder = new TextEncoder();

export function text(bytes: Uint8Array | undefined): string {
  return bytes === undefined ? '' : utf8.decode(bytes);
}

export function textBytes(value: string): Uint8Array {
  return utf8Encoder.encode(value);
}
