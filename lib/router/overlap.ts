import { words } from '../words.js';

/**
 * How many blocks of a prompt's beginning each worker has. Only workers with at least one block are listed, unordered.
 */
export class OverlapScores {
  readonly workerIds: BigUint64Array;
  readonly dpRanks: Uint32Array;
  /** Contiguous blocks, from the first block of the prompt. */
  readonly scores: Uint32Array;

  /** @internal Reads the format of `native/core/src/router/words.rs`. */
  constructor(bytes: Uint8Array | undefined) {
    const all = words(bytes);
    const count = all.length / 2;
    const halves = new Uint32Array(all.buffer, all.byteOffset + count * 8, count * 2);
    this.workerIds = all.subarray(0, count);
    this.dpRanks = new Uint32Array(count);
    this.scores = new Uint32Array(count);
    for (let index = 0; index < count; index++) {
      this.dpRanks[index] = halves[2 * index] as number;
      this.scores[index] = halves[2 * index + 1] as number;
    }
  }

  /** Number of rows: ranks that have a block. */
  get length(): number {
    return this.workerIds.length;
  }

  /** Blocks that a worker's rank has. Returns 0 if it is not listed. */
  get(workerId: bigint, dpRank = 0): number {
    for (let index = 0; index < this.length; index++) {
      if (this.workerIds[index] === workerId && this.dpRanks[index] === dpRank) return this.scores[index] as number;
    }
    return 0;
  }

  /** The rows, as objects. */
  *[Symbol.iterator](): IterableIterator<{
    readonly workerId: bigint;
    readonly dpRank: number;
    readonly score: number;
  }> {
    for (let index = 0; index < this.length; index++) {
      yield {
        workerId: this.workerIds[index] as bigint,
        dpRank: this.dpRanks[index] as number,
        score: this.scores[index] as number,
      };
    }
  }
}
