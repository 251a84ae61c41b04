/** Bits of the position and of the parent's fragment, by the mode in the two highest bits. */
const MODES = [
  { maxPosition: 0xff, positionBits: 8n, parentBits: 54n },
  { maxPosition: 0xffff, positionBits: 16n, parentBits: 46n },
  { maxPosition: 0xff_ffff, positionBits: 24n, parentBits: 38n },
] as const;

/** Blocks of a sequence that names can distinguish. */
export const MAX_POSITION = 0xff_ffff;

/**
 * The name that a `BlockManager` has for a block, from 64-bit hashes of the sequence up to and including the block, and
 * up to its parent. Source: `dynamo-tokens` `PositionalLineageHash::new`.
 */
export function blockName(hash: bigint, parentHash: bigint | undefined, position: number): bigint {
  const mode = MODES.findIndex(({ maxPosition }) => position <= maxPosition);
  const { parentBits } = MODES[mode] as (typeof MODES)[number];
  const parent = (parentHash ?? 0n) & ((1n << parentBits) - 1n);
  return (BigInt(mode) << 126n) | (BigInt(position) << (64n + parentBits)) | (hash << parentBits) | parent;
}
