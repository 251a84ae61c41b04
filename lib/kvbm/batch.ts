import { arg, native } from '../addon/invoke.js';
import { checkInteger } from '../check.js';
import { badArgument, ClosedError } from '../errors.js';
import type { ManagerCore } from './core.js';
import { BlockStateError, call } from './errors.js';

/** The state of a batch that a copy uses: its blocks come back after the copy. */
const LEASED = 'a copy';

/** Blocks that nothing else can use until `release`. */
export interface BatchLease {
  /** The batch's id. */
  readonly id: number;
  release(): void;
}

/**
 * Many blocks of one manager in one native batch. `dispose` releases the blocks; a method that changes their state
 * moves them to the object that it returns. Either way this object ends, and its views are detached.
 *
 * Every call of a manager makes one, and setting a private name costs as much as the native part of the call. That is
 * why the fields are plain ones, set by the constructor.
 */
export abstract class Blocks implements Disposable {
  /** @internal */
  declare readonly core: ManagerCore;
  /** 0 if the blocks are released, moved or leased. */
  declare private batch: number;
  /** The ids lie in these words, from `offset` on. */
  declare private words: Uint32Array;
  declare private offset: number;
  declare private count: number;
  declare private copiedIds: Uint32Array | undefined;
  declare private views: (ArrayBuffer | undefined)[] | undefined;
  /** The operation that moved the blocks, `dispose`, or `LEASED`. */
  declare private takenBy: string | undefined;
  /** Whether a garbage collection of this object returns its blocks. */
  declare private watched: boolean;
  /** @internal See `ForgottenBatches`. */
  declare older: Blocks | undefined;

  /** @internal */
  constructor(core: ManagerCore, id: number, words: Uint32Array, offset: number, count: number) {
    this.core = core;
    this.batch = id;
    this.words = words;
    this.offset = offset;
    this.count = count;
    this.copiedIds = undefined;
    this.views = undefined;
    this.takenBy = undefined;
    this.watched = false;
    this.older = undefined;
    core.forgotten.add(this);
  }

  /** Number of blocks. */
  get length(): number {
    return this.count;
  }

  /** The blocks' ids in the manager, in order. */
  get ids(): Uint32Array {
    // A copy: the caller could transfer the buffer, and the native side writes to it.
    return (this.copiedIds ??= this.words.slice(this.offset, this.offset + this.count));
  }

  /** Whether the blocks were disposed of or moved. */
  get disposed(): boolean {
    return this.batch === 0 && this.takenBy !== LEASED;
  }

  /** @internal The batch's id. @throws ClosedError, BlockStateError if the blocks are no longer here */
  id(operation: string): number {
    if (this.batch === 0) this.#throwTaken(operation);
    if (this.views !== undefined && this.#hasLostView()) this.#throwLost(operation);
    return this.batch;
  }

  /** Whether the memory of a view was moved to another buffer, for example by a BYOB reader or by `transfer()`. */
  #hasLostView(): boolean {
    // A block has at least one byte, and views that this object detaches are removed.
    return this.views?.some((view) => view?.byteLength === 0) ?? false;
  }

  #throwLost(operation: string): never {
    const message =
      `${operation}: the memory of a view of these blocks was transferred to another buffer; ` +
      'copy the bytes instead, and dispose of the blocks';
    throw new BlockStateError(message, operation);
  }

  #throwTaken(operation: string): never {
    if (this.takenBy === undefined || this.takenBy === 'dispose')
      throw new ClosedError('the batch of blocks', operation);
    const what = this.takenBy === LEASED ? 'are leased to' : 'were moved by';
    throw new BlockStateError(`${operation}: the blocks ${what} ${this.takenBy}`, operation);
  }

  /** @internal Ends this object: the native side has moved its blocks. */
  end(by: string): void {
    this.batch = 0;
    this.takenBy = by;
    if (this.views !== undefined) this.detach();
    if (this.watched) {
      this.watched = false;
      this.core.forgotten.unwatch(this);
    } else this.core.forgotten.ended(this);
  }

  /** @internal */
  get isHeld(): boolean {
    return this.batch !== 0;
  }

  /** @internal Returns the blocks when this object is garbage collected. */
  watch(): void {
    if (!this.isHeld || this.watched) return;
    this.watched = true;
    this.core.forgotten.watch(this, this.batch);
  }

  /** @internal Takes the blocks for a copy. A `dispose` during the lease takes effect at its end. */
  lease(operation: string): BatchLease {
    const id = this.id(operation);
    this.end(LEASED);
    const release = (): void => {
      if (this.takenBy !== LEASED) return this.core.calls.release(id);
      this.batch = id;
      this.takenBy = undefined;
      // It may still be among the young ones, to which a batch is added once.
      this.watch();
    };
    return { id, release };
  }

  /** @internal Where the ids lie. */
  get location(): [words: Uint32Array, offset: number] {
    return [this.words, this.offset];
  }

  /** @internal Replaces the ids after blocks were added, or removed at the end. */
  protected setIds(ids: Uint32Array): void {
    this.copiedIds = ids;
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
      view = call(native.blockView, operation, {
        handle: this.core.handle(operation),
        a: arg('batch', id),
        b: arg('blockIndex', index),
      });
      this.views[index] = view;
      this.core.addViewOwner(this);
    }
    return new Uint8Array(view);
  }

  /** @internal Detaches the views of the blocks from index `from` on. */
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
      this.core.removeViewOwner(this);
    }
  }

  /** Releases the blocks. Idempotent; does nothing if the blocks were moved. */
  dispose(): void {
    const id = this.batch;
    if (id !== 0) {
      const isLost = this.views !== undefined && this.#hasLostView();
      this.end('dispose');
      // Another buffer still reads and writes the blocks, so no one else may have them.
      if (isLost) this.core.withhold(this.count);
      else this.core.calls.release(id);
    } else if (this.takenBy === LEASED) {
      this.takenBy = 'dispose';
    }
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

export function checkBlocks<B extends Blocks>(path: string, blocks: B, Kind: new (...parts: never[]) => B): void {
  if (blocks instanceof Kind) return;
  const given = blocks as object | null | undefined;
  const got = given === null ? 'null' : (given?.constructor?.name ?? typeof given);
  throw badArgument(new TypeError(`${path}: expected ${Kind.name}, got ${got}`));
}
