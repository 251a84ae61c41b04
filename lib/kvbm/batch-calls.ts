import { native } from '../addon/invoke.js';
import type { BoundBlocks, Handle } from '../addon/native.js';
import { call, failureOf } from './errors.js';

export type Words = Uint32Array;

/** Ids are written to chunks of so many words, which the objects that show them share. */
const CHUNK = 4096;

/** Released batches are noted, and given back by the next call that crosses to the native side anyway. */
const MOST_NOTED = 64;

/** What the frame of `BoundBlocks` holds: two numbers, how many batches are noted, and their ids. */
const [A, B, NOTED, IDS] = [0, 1, 2, 3];

/** A manager's calls that are made for every batch: what they hand over lies in memory that both sides know. */
export class Crossing {
  readonly #bound: BoundBlocks;
  readonly #frame = new Float64Array(IDS + MOST_NOTED);
  #words: Words = new Uint32Array();
  #next = 0;
  #noted = 0;
  #flushes = false;
  /** What a flush at the end of a turn failed with. */
  #failed: { readonly error: unknown } | undefined;
  #isOpen = true;

  constructor(handle: Handle) {
    this.#bound = call(native.blocksBind, 'BlockManager', handle);
    this.#grow(0);
  }

  /** The words that `allocate`, `match` and `register` write to. */
  get words(): Words {
    return this.#words;
  }

  /** How many batches are noted, which those do not see who cross elsewhere. */
  get noted(): number {
    return this.#noted;
  }

  /** Room for so many words, at an offset; not used up before `used`. */
  room(count: number): { words: Words; offset: number } {
    return { offset: this.#reserve(count), words: this.#words };
  }

  /** Takes words of the room; where they begin. */
  used(count: number): number {
    const offset = this.#next;
    this.#next += count;
    return offset;
  }

  #reserve(count: number): number {
    if (this.#next + count > this.#words.length) this.#grow(count);
    return this.#next;
  }

  #grow(count: number): void {
    this.#words = new Uint32Array(Math.max(CHUNK, count));
    this.#next = 0;
    this.#bound[0](this.#words, this.#frame);
  }

  /** The batch's id, or 0; the blocks' ids are in the room then. */
  allocate(operation: string, count: number): number {
    const frame = this.#fill(count, this.#reserve(count));
    try {
      this.#bound[1]();
    } catch (error) {
      throw failureOf(error, operation);
    }
    return frame[A] as number;
  }

  /** The batch's id, or 0; how many blocks match and their ids are in the room then. */
  match(operation: string, sequence: Handle, range: number, most: number): number {
    const frame = this.#fill(range, this.#reserve(most + 1));
    try {
      this.#bound[2](sequence);
    } catch (error) {
      throw failureOf(error, operation);
    }
    return frame[A] as number;
  }

  /** Names the blocks of a mutable batch by those of a range of the sequence's. */
  stage(operation: string, batch: number, sequence: Handle, range: number): void {
    this.#fill(batch, range);
    try {
      this.#bound[3](sequence);
    } catch (error) {
      throw failureOf(error, operation);
    }
  }

  /** Registers a staged batch; how many of its blocks were replaced, in which case the ids of all are in the room. */
  register(operation: string, batch: number, count: number): number {
    const frame = this.#fill(batch, this.#reserve(count));
    try {
      this.#bound[4]();
    } catch (error) {
      throw failureOf(error, operation);
    }
    return frame[A] as number;
  }

  #fill(a: number, b: number): Float64Array {
    if (this.#failed !== undefined) {
      const { error } = this.#failed;
      this.#failed = undefined;
      throw error;
    }
    const frame = this.#frame;
    frame[A] = a;
    frame[B] = b;
    frame[NOTED] = this.#noted;
    this.#noted = 0;
    return frame;
  }

  /** Gives a batch back: at once for all that this environment can see, for others by the end of this turn at the latest. */
  release(id: number): void {
    // A manager that is gone gave everything back.
    if (!this.#isOpen) return;
    this.#frame[IDS + this.#noted++] = id;
    if (this.#noted === MOST_NOTED) this.flush();
    else if (!this.#flushes) {
      this.#flushes = true;
      queueMicrotask(() => {
        this.#flushes = false;
        try {
          if (this.#noted > 0) this.flush();
        } catch (error) {
          // Nobody to tell is on the stack: whoever calls next hears of it.
          this.#failed = { error };
        }
      });
    }
  }

  flush(): void {
    this.#fill(0, 0);
    try {
      this.#bound[5]();
    } catch (error) {
      throw failureOf(error, 'blocks.dispose');
    }
  }

  /** Nothing is noted any more. */
  close(): void {
    this.#isOpen = false;
    this.#noted = 0;
  }
}
