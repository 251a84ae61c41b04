import { native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { ClosedError } from '../errors.js';
import { call, failureOf } from './errors.js';
import type { TokenSequence } from './sequence.js';

/** The native side writes ids to chunks of this many words. Many batches share one chunk. */
const CHUNK_WORDS = 4096;

/** A release waits for the next call to the native side, or until this many wait. */
const MAX_PENDING_RELEASES = 64;

/** Layout of the frame: two numbers, the number of pending releases, and the ids of their batches. */
const [A, B, RELEASE_COUNT, RELEASES] = [0, 1, 2, 3];

/**
 * The native calls of one manager that run for every batch of blocks. Arguments and results lie in two typed arrays
 * that both sides share, which costs less than passing them.
 */
export class BatchCalls {
  readonly #native: {
    readonly useMemory: (words: Uint32Array, frame: Float64Array) => void;
    readonly allocate: () => void;
    readonly match: (sequence: Handle<'sequence'>) => void;
    readonly stage: (sequence: Handle<'sequence'>) => void;
    readonly register: () => void;
    readonly release: () => void;
  };
  readonly #frame = new Float64Array(RELEASES + MAX_PENDING_RELEASES);
  #words: Uint32Array = new Uint32Array();
  #committed = 0;
  #pendingReleases = 0;
  #flushIsScheduled = false;
  /** The error of a flush that had no caller. */
  #flushFailure: { readonly error: unknown } | undefined;
  #isOpen = true;

  constructor(handle: Handle<'blocks'>) {
    const [useMemory, allocate, match, stage, register, release] = call(native.blocksBind, 'BlockManager', { handle });
    this.#native = { useMemory, allocate, match, stage, register, release };
    this.#startChunk(0);
  }

  /** The words that `allocate`, `match` and `register` write to. */
  get words(): Uint32Array {
    return this.#words;
  }

  /** Releases that native calls outside this class do not see yet. */
  get pendingReleases(): number {
    return this.#pendingReleases;
  }

  /**
   * Returns where the native side may write `count` words. `commit` keeps them; without it the next call reuses them.
   */
  reserve(count: number): { words: Uint32Array; offset: number } {
    return { offset: this.#reserve(count), words: this.#words };
  }

  /** Keeps `count` reserved words. Returns the offset of the first. */
  commit(count: number): number {
    const offset = this.#committed;
    this.#committed += count;
    return offset;
  }

  #reserve(count: number): number {
    if (this.#committed + count > this.#words.length) this.#startChunk(count);
    return this.#committed;
  }

  #startChunk(count: number): void {
    this.#words = new Uint32Array(Math.max(CHUNK_WORDS, count));
    this.#committed = 0;
    this.#native.useMemory(this.#words, this.#frame);
  }

  /**
   * Allocates `count` blocks and writes their ids to the reserved words. Returns the batch's id; 0 if there are too
   * few.
   */
  allocate(operation: string, count: number): number {
    this.#assertOpen(operation);
    const frame = this.#fill(count, this.#reserve(count));
    try {
      this.#native.allocate();
    } catch (error) {
      throw this.#failed(error, operation);
    }
    return frame[A] as number;
  }

  /**
   * Finds the longest run of a range of the sequence's blocks. Writes its length and its ids to the reserved words.
   * Returns the batch's id; 0 if no block was found.
   */
  match(operation: string, sequence: TokenSequence, range: number, maxCount: number): number {
    this.#assertOpen(operation);
    const handle = sequence.handle(operation);
    const frame = this.#fill(range, this.#reserve(maxCount + 1));
    try {
      this.#native.match(handle);
    } catch (error) {
      throw this.#failed(error, operation);
    }
    return frame[A] as number;
  }

  /** Names the blocks of a mutable batch after a range of the sequence's blocks. */
  stage(operation: string, batch: number, sequence: TokenSequence, range: number): void {
    this.#assertOpen(operation);
    const handle = sequence.handle(operation);
    this.#fill(batch, range);
    try {
      this.#native.stage(handle);
    } catch (error) {
      throw this.#failed(error, operation);
    }
  }

  /**
   * Registers a staged batch of `count` blocks. Returns how many of them were replaced by blocks of the same names. If
   * any was, the ids of all are in the reserved words.
   */
  register(operation: string, batch: number, count: number): number {
    this.#assertOpen(operation);
    const frame = this.#fill(batch, this.#reserve(count));
    try {
      this.#native.register();
    } catch (error) {
      throw this.#failed(error, operation);
    }
    return frame[A] as number;
  }

  /** The error of a call, which may have failed before it released what was pending. The next call releases it. */
  #failed(error: unknown, operation: string): unknown {
    this.#pendingReleases = this.#frame[RELEASE_COUNT] as number;
    return failureOf(error, operation);
  }

  #assertOpen(operation: string): void {
    if (!this.#isOpen) throw new ClosedError('the block manager', operation);
  }

  #fill(a: number, b: number): Float64Array {
    if (this.#flushFailure !== undefined) {
      const { error } = this.#flushFailure;
      this.#flushFailure = undefined;
      throw error;
    }
    const frame = this.#frame;
    frame[A] = a;
    frame[B] = b;
    frame[RELEASE_COUNT] = this.#pendingReleases;
    this.#pendingReleases = 0;
    return frame;
  }

  /**
   * Releases a batch. Every later call of this environment sees its blocks as released; other environments see it at
   * the end of this turn of the event loop at the latest.
   */
  release(id: number): void {
    // Closing the manager has released everything.
    if (!this.#isOpen) return;
    this.#frame[RELEASES + this.#pendingReleases++] = id;
    if (this.#pendingReleases === MAX_PENDING_RELEASES) this.flush();
    else if (!this.#flushIsScheduled) {
      this.#flushIsScheduled = true;
      queueMicrotask(() => {
        this.#flushIsScheduled = false;
        try {
          if (this.#pendingReleases > 0) this.flush();
        } catch (error) {
          // A microtask has no caller: the next call throws the error.
          this.#flushFailure = { error };
        }
      });
    }
  }

  /** Makes the native side release what is pending. */
  flush(): void {
    this.#fill(0, 0);
    try {
      this.#native.release();
    } catch (error) {
      throw failureOf(error, 'blocks.dispose');
    }
  }

  close(): void {
    this.#isOpen = false;
    this.#pendingReleases = 0;
  }
}
