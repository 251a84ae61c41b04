import { DynamoError, shown } from '../errors.js';
import { DecodeError, decode, decodeBorrowing } from './msgpack/decode.js';
import { encode, encodeBorrowed, encodedDepth, encodeExact } from './msgpack/encode.js';

/** Packs into new memory. */
export const pack: (value: unknown) => Uint8Array = encode;

/**
 * Packs for a reader that uses the bytes only until the next value is packed, such as a native call, which copies them.
 * The memory is reused, because a new buffer for each large value costs more than packing it.
 */
export const packBorrowed: (value: unknown) => Uint8Array = encodeBorrowed;

/** Packs options and counts for the native side: whole numbers beyond 32 bits stay integers there. */
export const packArgs: (value: unknown) => Uint8Array = encodeExact;

/**
 * Packs a value of the user.
 *
 * @throws DynamoError `DYN_INVALID_REQUEST`, which names the field that cannot be packed
 */
export function packValue(operation: string, what: string, value: unknown, packer = pack): Uint8Array {
  try {
    return packer(value);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : shown(cause);
    const message = `${operation}: ${what} cannot be sent: ${why}`;
    throw new DynamoError('InvalidRequest', message, { reason: 'request.invalid', operation, cause });
  }
}

/** The crates read JSON of at most 127 levels. Two are around the data of an answer, and bytes are one more. */
const MAX_JSON_DEPTH = 124;

/** Why the value that was packed last cannot be sent to a peer that reads JSON, which would not answer. */
export function tooDeepForJson(): string | undefined {
  const depth = encodedDepth();
  if (depth <= MAX_JSON_DEPTH) return undefined;
  return `it is nested ${depth} levels deep, and a peer with the codec json reads at most ${MAX_JSON_DEPTH}`;
}

/**
 * Packs the result of a handler or an engine into borrowed bytes. If that fails, the handler is at fault, not its
 * caller.
 */
export function packItem(operation: string, what: string, value: unknown, packer = packBorrowed): Uint8Array {
  try {
    return packValue(operation, what, value, packer);
  } catch (error) {
    throw mistake(operation, (error as Error).message);
  }
}

/** The error of a handler or an engine that violates its interface. */
export function mistake(operation: string, message: string): DynamoError {
  return new DynamoError('Internal', message, { reason: 'runtime.unclassified', operation });
}

/**
 * Reads a value that came from outside.
 *
 * @throws DynamoError `DYN_INVALID_REQUEST` if it is no MessagePack of Dynamo's kinds, or larger or deeper than allowed
 */
export function unpack(bytes: Uint8Array): unknown {
  return unpackAt(bytes, 0, bytes.byteLength);
}

/** Reads one value out of a buffer of several. */
export function unpackAt(bytes: Uint8Array, start: number, end: number): unknown {
  try {
    return decode(bytes, start, end);
  } catch (cause) {
    throw unreadable(cause);
  }
}

/** Like `unpack`, but its byte arrays are views of `bytes`. It is for native framing only, never for a user's value. */
export function unpackFraming(bytes: Uint8Array): unknown {
  return decodeBorrowing(bytes);
}

function unreadable(cause: unknown): unknown {
  if (!(cause instanceof DecodeError)) return cause;
  return new DynamoError('InvalidRequest', `a message cannot be read: ${cause.message}`, { reason: 'request.invalid' });
}

const utf8 = new TextDecoder();
const utf8Encoder = new TextEncoder();

export function textFrom(bytes: Uint8Array | undefined): string {
  return bytes === undefined ? '' : utf8.decode(bytes);
}

export function textBytes(value: string): Uint8Array {
  return utf8Encoder.encode(value);
}
