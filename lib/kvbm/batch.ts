import { native } from '../addon/invoke.js';
import { checkInteger } from '../check.js';
import { ClosedError } from '../errors.js';
import type { Words } from './batch-calls.js';
import { BlockStateError, call } from './errors.js';
import type { BlockManager } from './manager.js';

/** Instead of what took the blocks, while they will come back. */
const LENT = 'a copy';

/** Blocks that cannot be used until `giveBack`. */
export interface LentBatch {
  readonly id: number;
  giveBack(): void;
}

/**
 * Many blocks of one manager under one native batch. What a batch holds is released by `dispose`, or given on to the object
 * that a method returns; either way the batch itself is over, and its views are detached.
 *
 * One is made for every call of a manager, and setting a private name costs as much as the native side's part of the call:
 * the fields are plain ones that the constructor sets.
 */
export abstract class Blocks implements Disposable {
  declare readonly manager: BlockManager;
  /** 0 once the blocks are gone, or lent. */
  declare private batch: number;
  declare private words: Words;
  declare private offset: number;
  declare private count: number;
  declare private known: Uint32Array | undefined;
  declare private views: (ArrayBuffer | undefined)[] | undefined;
  declare private taken: string | undefined;

  /** @internal */
  constructor(manager: BlockManager, id: number, words: Words, offset: number, count: number) {
    this.manager = manager;
    this.batch = id;
    this.words = words;
    this.offset = offset;
    this.count = count;
    this.known = undefined;
    this.views = undefined;
    this.taken = undefined;
  }

  /** How many blocks. */
  get length(): number {
    return this.count;
  }

  /** The blocks' ids in the manager, in order. */
  get ids(): Uint32Array {
    // A copy: the native side writes to the words, so nobody else may have their buffer, who could transfer it.
    return (this.known ??= this.words.slice(this.offset, this.offset + this.count));
  }

  /** Whether the blocks are gone: disposed, or given on. */
  get disposed(): boolean {
    return this.batch === 0 && this.taken !== LENT;
  }

  /** @internal The batch's id, for a call that leaves the blocks here. */
  id(operation: string): number {
    if (this.batch === 0) this.#refuse(operation);
    return this.batch;
  }

  #refuse(operation: string): never {
    if (this.taken === undefined || this.taken === 'dispose') throw new ClosedError('the batch of blocks', operation);
    const what = this.taken === LENT ? 'are lent to' : 'were given on by';
    throw new BlockStateError(`${operation}: the blocks ${what} ${this.taken}`, operation);
  }

  /** @internal Ends this object after the native side has given its blocks on. */
  give(by: string): void {
    this.batch = 0;
    this.taken = by;
    if (this.views !== undefined) this.detach();
  }

  /** @internal Takes the blocks for a copy: a `dispose` meanwhile takes effect when they are given back. */
  lend(operation: string): LentBatch {
    const id = this.id(operation);
    this.give(LENT);
    const giveBack = (): void => {
      if (this.taken !== LENT) return this.manager.release(id);
      this.batch = id;
      this.taken = undefined;
    };
    return { id, giveBack };
  }

  /** @internal */
  get place(): [Words, number] {
    return [this.words, this.offset];
  }

  /** @internal Other ids from now on: blocks were added, or taken away at the end. */
  protected become(ids: Uint32Array): void {
    this.known = ids;
    this.words = ids;
    this.offset = 0;
    this.count = ids.length;
  }

  /** @internal */
  protected viewOf(operation: string, index: number): Uint8Array {
    checkInteger(`${operation} index`, index, 0, this.count - 1);
    const id = this.id(operation);
    this.views ??= [];
    let view = this.views[index];
    if (view === undefined) {
      view = call(native.blockView, operation, this.manager.handle(operation), id, index);
      this.views[index] = view;
      this.manager.watch(this);
    }
    return new Uint8Array(view);
  }

  /** @internal Detaches the views from index `from` on. */
  detach(from = 0): void {
    const { views } = this;
    if (views === undefined) return;
    for (let index = from; index < views.length; index++) {
      const view = views[index];
      if (view !== undefined) native.bufferDetach(view);
    }
    views.length = Math.min(views.length, from);
    if (from === 0) {
      this.views = undefined;
      this.manager.unwatch(this);
    }
  }

  /** Gives the blocks back. Idempotent; a no-op for blocks that were given on. */
  dispose(): void {
    const id = this.batch;
    if (id !== 0) {
      this.give('dispose');
      this.manager.release(id);
    } else if (this.taken === LENT) {
      this.taken = 'dispose';
    }
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
