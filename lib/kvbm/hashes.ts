import { checkInteger, wrongType } from '../check.js';
import { badArgument } from '../errors.js';

const BYTES = 16;

/** A copy of `count` words from byte `start` on. `Buffer.slice` would not copy. */
export function wordsAt(bytes: Uint8Array, start: number, count: number): BigUint64Array {
  const words = new BigUint64Array(count);
  new Uint8Array(words.buffer).set(bytes.subarray(start, start + count * 8));
  return words;
}

/**
 * Names of blocks, 16 bytes each and unique over all prefixes. A name holds the position, the hash of the sequence up
 * to and including the block, and a fragment of its parent's hash, big-endian as the crates serialize it.
 *
 * Names come from sequences and managers. Two invented names with the same position and hash are a collision for the
 * crates. Source: `dynamo-tokens` `PositionalLineageHash`.
 *
 * @example
 * const names = sequence.lineageHashes();
 * names.at(0); // 0x…n
 */
export class LineageHashes {
  readonly length: number;

  /** @throws RangeError if the bytes are not whole names */
  constructor(readonly bytes: Uint8Array) {
    if (bytes.byteLength % BYTES !== 0) {
      throw badArgument(new RangeError(`LineageHashes bytes: expected ${BYTES} a hash, got ${bytes.byteLength}`));
    }
    this.length = bytes.byteLength / BYTES;
  }

  /** The names of a list of 128-bit numbers. */
  static from(values: Iterable<bigint>): LineageHashes {
    if (typeof values?.[Symbol.iterator] !== 'function')
      wrongType('LineageHashes.from values', 'an iterable of bigints', values);
    const list = [...values];
    const bytes = new Uint8Array(list.length * BYTES);
    const view = new DataView(bytes.buffer);
    for (const [index, value] of list.entries()) {
      if (typeof value !== 'bigint')
        throw badArgument(new TypeError(`LineageHashes.from [${index}]: expected a bigint, got ${typeof value}`));
      if (value < 0n || value >= 1n << 128n)
        throw badArgument(new RangeError(`LineageHashes.from [${index}]: expected 0 to 2^128-1, got ${value}`));
      view.setBigUint64(index * BYTES, value >> 64n);
      view.setBigUint64(index * BYTES + 8, value & 0xffff_ffff_ffff_ffffn);
    }
    return new LineageHashes(bytes);
  }

  /** One name as a 128-bit number. */
  at(index: number): bigint {
    checkInteger('LineageHashes.at index', index, 0, this.length - 1);
    const view = new DataView(this.bytes.buffer, this.bytes.byteOffset + index * BYTES, BYTES);
    return (view.getBigUint64(0) << 64n) | view.getBigUint64(8);
  }

  /** The names from `start` up to, but without, `end`: a view of the same bytes. */
  slice(start: number, end = this.length): LineageHashes {
    checkInteger('LineageHashes.slice start', start, 0, this.length);
    checkInteger('LineageHashes.slice end', end, start, this.length);
    return new LineageHashes(this.bytes.subarray(start * BYTES, end * BYTES));
  }

  *[Symbol.iterator](): IterableIterator<bigint> {
    for (let index = 0; index < this.length; index++) yield this.at(index);
  }
}
