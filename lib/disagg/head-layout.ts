import { checkArray, checkInstance, checkInteger } from '../check.js';
import { badArgument } from '../errors.js';
import { type BlockLayout, blockBytes } from '../kvbm/layout.js';

/** The shape of a whole block, with the KV heads of all ranks. */
export interface HeadLayout extends BlockLayout {
  /** Tokens in a block. */
  readonly blockSize: number;
}

/** A run of bytes that both layouts have in one piece. */
export interface HeadRun {
  /** Where it begins in the whole block. */
  readonly wholeOffset: number;
  /** Where it begins in the rank's block. */
  readonly partOffset: number;
  readonly bytes: number;
}

/** The layout of the blocks of one of `ranks` ranks. Each has the same number of heads. @throws RangeError */
export function rankLayout(layout: HeadLayout, ranks: number): HeadLayout {
  return { ...layout, heads: headsOfRank('rankLayout', layout, ranks) };
}

/**
 * The runs of bytes of one rank's block in the whole block, in order. Tensor parallelism of `ranks` gives each rank
 * consecutive heads, so a run is the heads of one rank for one token: `[layer][K and V][token]` of them. With one rank
 * it is the whole block.
 *
 * @throws RangeError
 */
export function headRuns(layout: HeadLayout, ranks: number, rank: number): HeadRun[] {
  const heads = headsOfRank('headRuns', layout, ranks);
  checkInteger('headRuns rank', rank, 0, ranks - 1);
  const whole = wholeBytes(layout);
  if (ranks === 1) return [{ wholeOffset: 0, partOffset: 0, bytes: whole }];
  const rows = layout.layers * (layout.outer ?? 2) * layout.blockSize;
  const rowBytes = whole / rows;
  const bytes = (rowBytes / layout.heads) * heads;
  return Array.from({ length: rows }, (_, row) => ({
    wholeOffset: row * rowBytes + rank * bytes,
    partOffset: row * bytes,
    bytes,
  }));
}

/**
 * Splits a whole block into those of `ranks` ranks, in order: the KV heads of a worker without tensor parallelism for
 * the ranks of one with it. The bytes are copied.
 *
 * @throws TypeError, RangeError
 */
export function splitHeads(block: Uint8Array, layout: HeadLayout, ranks: number): Uint8Array[] {
  const heads = headsOfRank('splitHeads', layout, ranks);
  checkBytes('splitHeads block', block, wholeBytes(layout));
  const bytes = (block.byteLength / layout.heads) * heads;
  return Array.from({ length: ranks }, (_, rank) => {
    const part = new Uint8Array(bytes);
    for (const run of headRuns(layout, ranks, rank))
      part.set(block.subarray(run.wholeOffset, run.wholeOffset + run.bytes), run.partOffset);
    return part;
  });
}

/**
 * Joins the blocks of all ranks, in order, to the whole block: the opposite of `splitHeads`. The bytes are copied.
 *
 * @throws TypeError, RangeError
 */
export function joinHeads(parts: readonly Uint8Array[], layout: HeadLayout): Uint8Array {
  checkArray('joinHeads parts', parts, 'blocks');
  const ranks = parts.length;
  const block = new Uint8Array(wholeBytes(layout));
  const bytes = (block.byteLength / layout.heads) * headsOfRank('joinHeads', layout, ranks);
  parts.forEach((part, rank) => {
    checkBytes(`joinHeads parts[${rank}]`, part, bytes);
    for (const run of headRuns(layout, ranks, rank))
      block.set(part.subarray(run.partOffset, run.partOffset + run.bytes), run.wholeOffset);
  });
  return block;
}

function wholeBytes({ blockSize, ...layout }: HeadLayout): number {
  return blockBytes(layout, blockSize);
}

function headsOfRank(operation: string, { heads }: HeadLayout, ranks: number): number {
  checkInteger(`${operation} ranks`, ranks, 1, heads);
  if (heads % ranks !== 0)
    throw badArgument(new RangeError(`${operation} ranks: expected a divisor of ${heads} KV heads, got ${ranks}`));
  return heads / ranks;
}

function checkBytes(path: string, bytes: Uint8Array, expected: number): void {
  checkInstance(path, bytes, Uint8Array);
  if (bytes.byteLength !== expected)
    throw badArgument(new RangeError(`${path}: expected ${expected} bytes, got ${bytes.byteLength}`));
}
