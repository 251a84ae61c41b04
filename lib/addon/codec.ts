import { addExtension, Packr } from 'msgpackr';

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

export function unpack(bytes: Uint8Array): unknown {
  return packr.unpack(bytes);
}

const utf8 = new TextDecoder();
const utf8Encoder = new TextEncoder();

export function text(bytes: Uint8Array | undefined): string {
  return bytes === undefined ? '' : utf8.decode(bytes);
}

export function textBytes(value: string): Uint8Array {
  return utf8Encoder.encode(value);
}
