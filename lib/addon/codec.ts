import { addExtension, Packr, RESET_BUFFER_MODE, Unpackr } from 'msgpackr';

/** Token ids, hashes, vectors: arrays of numbers to every peer. Only bytes travel as bytes. */
const NUMERIC = [Int8Array, Uint16Array, Int16Array, Uint32Array, Int32Array, Float32Array, Float64Array, BigUint64Array, BigInt64Array];
for (const Class of NUMERIC) {
  addExtension({ Class, write: (value: ArrayLike<number | bigint>) => Array.from<number | bigint>(value) } as Parameters<typeof addExtension>[0]);
}

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
  return packr.pack(value);
}

/** A borrowed buffer that a large value made larger than this is given up again. */
const KEPT_BYTES = 32 * 1024 * 1024;

/**
 * Packs for a reader that is done with the bytes before anything else is packed, such as a native call, which copies them.
 * The same memory serves every time: a fresh buffer for each large value costs more than packing it.
 */
export function packBorrowed(value: unknown): Uint8Array {
  const bytes = packr.pack(value, RESET_BUFFER_MODE);
  if (bytes.buffer.byteLength > KEPT_BYTES) packr.useBuffer(Buffer.allocUnsafeSlow(8192));
  return bytes;
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

const framing = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'auto' as 'number', copyBuffers: false });

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
