const SHIFT = 2 ** 24;

/** More blocks than this do not fit in a range. */
export const MAX_RANGE_BLOCKS = SHIFT;

/** A range of blocks in one argument of a native function; both numbers are below 2^24. */
export function blockRange(first: number, count: number): number {
  return first + count * SHIFT;
}

/** The same range as bytes. */
export function packedBlockRange(first: number, count: number): Uint8Array {
  const range = new Uint8Array(8);
  new DataView(range.buffer).setBigUint64(0, BigInt(blockRange(first, count)), true);
  return range;
}
