import { arg, invoke, native } from '../addon/invoke.js';
import { checkBoolean, checkInteger, wrongType } from '../check.js';
import { Blocks, checkBlocks } from './batch.js';
import { blockRange, packedBlockRange } from './block-range.js';
import { checksumsOf } from './checksums.js';
import type { ManagerCore } from './core.js';
import { BlockStateError, call, rethrow } from './errors.js';
import { LineageHashes } from './hashes.js';
import { readBlock, writeBlock } from './nixl-copy.js';
import { TokenSequence } from './sequence.js';

/** Blocks to be written, which only their owner can see. */
export class MutableBlocks extends Blocks {
  /**
   * A block's bytes, zero-copy. The view is detached (length 0) when the blocks are staged or released.
   *
   * @throws TypeError if the manager has no memory
   */
  bytes(index: number): Uint8Array {
    return this.viewOf('blocks.bytes', index);
  }

  /** Writes all bytes of a block, for any storage. Until the promise settles the blocks cannot be used otherwise. */
  async write(index: number, bytes: Uint8Array): Promise<void> {
    const operation = 'blocks.write';
    checkInteger(`${operation} index`, index, 0, this.length - 1);
    if (!(bytes instanceof Uint8Array)) wrongType(`${operation} bytes`, 'a Uint8Array', bytes);
    if (this.core.storage === 'region') return await writeBlock(operation, this, index, bytes).catch(rethrow);
    const parts = {
      handle: this.core.handle(operation),
      a: arg('mutableBatch', this.id(operation)),
      b: arg('blockIndex', index),
      payload: bytes,
    };
    await invoke(native.blocksWrite, operation, parts).catch(rethrow);
  }

  /**
   * Names the blocks, either after full blocks of a sequence from `first` on, or by one name each. `manager.events()`
   * does not report blocks that were staged by names alone, because routers need the hashes of their tokens.
   *
   * @throws TypeError if there are fewer names than blocks
   */
  stage(names: TokenSequence | LineageHashes, first = 0): StagedBlocks {
    const operation = 'blocks.stage';
    const { core } = this;
    const id = this.id(operation);
    if (names instanceof TokenSequence) {
      if (first !== 0) checkInteger(`${operation} first`, first, 0, names.blockCount);
      core.calls.stage(operation, id, names, blockRange(first, this.length));
    } else if (names instanceof LineageHashes) {
      call(native.blocksStage, operation, {
        handle: core.handle(operation),
        a: arg('mutableBatch', id),
        args: names.slice(first).bytes,
      });
    } else {
      wrongType(`${operation} names`, 'a TokenSequence or LineageHashes', names);
    }
    this.end('stage');
    return new StagedBlocks(core, id, ...this.location, this.length);
  }

  /** @internal Names the blocks, with their identities: see `RegisteredBlocks.identities`. */
  stageWith(names: LineageHashes, identities: Uint8Array): StagedBlocks {
    const operation = 'blocks.stage';
    const { core } = this;
    const id = this.id(operation);
    call(native.blocksStage, operation, {
      handle: core.handle(operation),
      a: arg('mutableBatch', id),
      payload: identities,
      args: names.bytes,
    });
    this.end('stage');
    return new StagedBlocks(core, id, ...this.location, this.length);
  }

  /** Gives the blocks the names of registered blocks, of any manager. */
  stageAs(blocks: RegisteredBlocks): StagedBlocks {
    const operation = 'blocks.stageAs';
    checkBlocks(`${operation} blocks`, blocks, RegisteredBlocks);
    const { core } = this;
    const id = this.id(operation);
    const other = blocks.core.handle(operation);
    call(native.blocksStageAs, operation, {
      handle: core.handle(operation),
      a: arg('mutableBatch', id),
      b: arg('registeredBatch', blocks.id(operation)),
      other,
    });
    this.end('stageAs');
    return new StagedBlocks(core, id, ...this.location, this.length);
  }

  /**
   * Stages and registers the first `count` blocks as full blocks of a sequence from `first` on. The others stay here.
   */
  commit(sequence: TokenSequence, first: number, count: number): RegisteredBlocks {
    const operation = 'blocks.commit';
    if (!(sequence instanceof TokenSequence)) wrongType(`${operation} sequence`, 'a TokenSequence', sequence);
    checkInteger(`${operation} first`, first, 0, sequence.blockCount);
    checkInteger(`${operation} count`, count, 1, Math.min(this.length, sequence.blockCount - first));
    const { core } = this;
    const { words, offset } = core.calls.reserve(count);
    const id = call(native.blocksCommit, operation, {
      handle: core.handle(operation),
      a: arg('mutableBatch', this.id(operation)),
      b: arg('offset', offset),
      payload: words,
      args: packedBlockRange(first, count),
      other: sequence.handle(operation),
    });
    core.calls.commit(count);
    this.detach();
    this.setIds(this.ids.subarray(count));
    return new RegisteredBlocks(core, id, words, offset, count);
  }

  /** Moves the blocks from `at` on to a new object. */
  split(at: number): MutableBlocks {
    return new MutableBlocks(this.core, ...splitOff(this, at, (ids) => this.setIds(ids)));
  }

  /** Moves another object's blocks to the end of these. */
  join(more: MutableBlocks): void {
    checkBlocks('blocks.join more', more, MutableBlocks);
    joinTo(this, more, (ids) => this.setIds(ids));
  }
}

/** Named blocks that no lookup can find yet. */
export class StagedBlocks extends Blocks {
  /** The names. */
  hashes(): LineageHashes {
    return hashesOf(this);
  }

  /** Makes the blocks findable and immutable. */
  register(): RegisteredBlocks {
    const operation = 'blocks.register';
    const { core, length } = this;
    const { calls } = core;
    const id = this.id(operation);
    const replaced = calls.register(operation, id, length);
    this.end('register');
    // If none was replaced the ids are the same, and the reserved words stay free.
    if (replaced === 0) return new RegisteredBlocks(core, id, ...this.location, length);
    return new RegisteredBlocks(core, id, calls.words, calls.commit(length), length, this.ids);
  }

  /** Removes the names. */
  reset(): MutableBlocks {
    const operation = 'blocks.reset';
    const id = this.id(operation);
    call(native.blocksUnstage, operation, { handle: this.core.handle(operation), a: arg('stagedBatch', id) });
    this.end('reset');
    return new MutableBlocks(this.core, id, ...this.location, this.length);
  }
}

/**
 * References to blocks that can be found by their names. The blocks are not evicted before this object is disposed of.
 */
export class RegisteredBlocks extends Blocks {
  /** The ids before registration, if a block was replaced. */
  declare private stagedIds: Uint32Array | undefined;

  /** @internal */
  constructor(
    core: ManagerCore,
    id: number,
    words: Uint32Array,
    offset: number,
    count: number,
    stagedIds?: Uint32Array,
  ) {
    super(core, id, words, offset, count);
    this.stagedIds = stagedIds;
  }

  /**
   * 1 for each block that `duplicates: 'reject'` replaced by a registered block of the same name. The bytes of the
   * duplicate were dropped.
   */
  get deduplicated(): Uint8Array {
    const { stagedIds } = this;
    return Uint8Array.from(this.ids, (id, index) => (stagedIds === undefined || stagedIds[index] === id ? 0 : 1));
  }

  /** The names. */
  hashes(): LineageHashes {
    return hashesOf(this);
  }

  /**
   * A block's bytes, zero-copy and shared: only read them. The view is detached (length 0) when the blocks are
   * released.
   *
   * @throws TypeError if the manager has no memory
   */
  view(index: number): Uint8Array {
    return this.viewOf('blocks.view', index);
  }

  /**
   * A copy of a block's bytes, for any storage.
   *
   * @throws BlockChecksumError if the manager keeps checksums and the bytes differ from those that were stored
   */
  async read(index: number): Promise<Uint8Array> {
    const operation = 'blocks.read';
    checkInteger(`${operation} index`, index, 0, this.length - 1);
    if (this.core.storage === 'region') {
      using block = this.clone(index, index + 1);
      return await readBlock(operation, block).catch(rethrow);
    }
    const parts = {
      handle: this.core.handle(operation),
      a: arg('registeredBatch', this.id(operation)),
      b: arg('blockIndex', index),
    };
    return await invoke(native.blocksRead, operation, parts).catch(rethrow);
  }

  /** A second reference to the blocks from `start` up to, but without, `end`. */
  clone(start = 0, end = this.length): RegisteredBlocks {
    const operation = 'blocks.clone';
    checkInteger(`${operation} start`, start, 0, this.length);
    checkInteger(`${operation} end`, end, start, this.length);
    const handle = this.core.handle(operation);
    const id = call(native.blocksClone, operation, {
      handle,
      a: arg('registeredBatch', this.id(operation)),
      b: arg('blockRange', blockRange(start, end - start)),
    });
    const [words, offset] = this.location;
    return new RegisteredBlocks(this.core, id, words, offset + start, end - start);
  }

  /** Moves the blocks from `at` on to a new object. */
  split(at: number): RegisteredBlocks {
    return new RegisteredBlocks(this.core, ...splitOff(this, at, (ids) => this.setIds(ids)));
  }

  /** Moves another object's blocks to the end of these. */
  join(more: RegisteredBlocks): void {
    checkBlocks('blocks.join more', more, RegisteredBlocks);
    joinTo(this, more, (ids) => this.setIds(ids));
  }

  /** Weak references to the blocks, which do not prevent their eviction. */
  weak(): WeakBlocks {
    const operation = 'blocks.weak';
    const id = call(native.blocksWeak, operation, {
      handle: this.core.handle(operation),
      a: arg('registeredBatch', this.id(operation)),
    });
    return new WeakBlocks(this.core, id, ...this.location, this.length);
  }

  /** @internal See `checksumsOf`. */
  checksums(): Uint8Array {
    const operation = 'blocks.checksums';
    return checksumsOf(operation, this.core, this.id(operation));
  }

  /**
   * @internal Two hashes of 8 bytes for each block, which its name does not contain: that of its tokens, and the
   * sequence hash of its parent. Empty if they are not known.
   */
  identities(): Uint8Array {
    const operation = 'blocks.identities';
    return (
      call(native.blocksIdentities, operation, {
        handle: this.core.handle(operation),
        a: arg('registeredBatch', this.id(operation)),
      }) ?? new Uint8Array()
    );
  }

  /**
   * Whether the last release empties the blocks (`true`) or keeps them findable (`false`).
   *
   * @default the manager's `resetOnRelease`
   */
  resetOnRelease(reset: boolean): void {
    const operation = 'blocks.resetOnRelease';
    checkBoolean(`${operation} reset`, reset);
    call(native.blocksResetOnRelease, operation, {
      handle: this.core.handle(operation),
      a: arg('registeredBatch', this.id(operation)),
      b: arg('isResetOnRelease', reset ? 1 : 0),
    });
  }
}

/** The result of a lookup of single blocks. */
export interface ScatteredBlocks extends Disposable {
  /** The blocks that were found, in order; undefined if none was. */
  readonly blocks: RegisteredBlocks | undefined;
  /** For each name its index in `blocks`, or -1. */
  readonly positions: Int32Array;
}

const NO_BLOCK = 0xffff_ffff;

/** The result of a call that writes one word a name: an id, or `NO_BLOCK`. */
export function scattered(core: ManagerCore, id: number, answer: Uint32Array): ScatteredBlocks {
  const found = answer.filter((word) => word !== NO_BLOCK);
  let next = 0;
  const positions = Int32Array.from(answer, (word) => (word === NO_BLOCK ? -1 : next++));
  const blocks = id === 0 ? undefined : new RegisteredBlocks(core, id, found, 0, found.length);
  return { blocks, positions, [Symbol.dispose]: () => blocks?.dispose() };
}

/** Weak references to blocks, which may be evicted. */
export class WeakBlocks extends Blocks {
  /** The names. */
  hashes(): LineageHashes {
    return hashesOf(this);
  }

  /** References to the blocks that were not evicted. */
  upgrade(): ScatteredBlocks {
    const operation = 'blocks.upgrade';
    const { core, length } = this;
    const { words, offset } = core.calls.reserve(length);
    const id = call(native.blocksUpgrade, operation, {
      handle: core.handle(operation),
      a: arg('weakBatch', this.id(operation)),
      b: arg('offset', offset),
      payload: words,
    });
    return scattered(core, id, words.slice(offset, offset + length));
  }
}

function hashesOf(blocks: Blocks): LineageHashes {
  const operation = 'blocks.hashes';
  const bytes = call(native.blocksHashes, operation, {
    handle: blocks.core.handle(operation),
    a: arg('batch', blocks.id(operation)),
  });
  return new LineageHashes(bytes ?? new Uint8Array());
}

/** Removes the blocks from `at` on. Returns the constructor arguments of an object for them. */
function splitOff(
  blocks: Blocks,
  at: number,
  setIds: (ids: Uint32Array) => void,
): [id: number, words: Uint32Array, offset: number, count: number] {
  const operation = 'blocks.split';
  checkInteger(`${operation} at`, at, 0, blocks.length);
  const id = call(native.blocksSplit, operation, {
    handle: blocks.core.handle(operation),
    a: arg('batch', blocks.id(operation)),
    b: arg('blockIndex', at),
  });
  const { ids } = blocks;
  blocks.detach(at);
  setIds(ids.subarray(0, at));
  return [id, ids, at, ids.length - at];
}

function joinTo<B extends Blocks>(blocks: B, more: B, setIds: (ids: Uint32Array) => void): void {
  const operation = 'blocks.join';
  const { core } = blocks;
  if (more.core !== core) throw new BlockStateError(`${operation}: the blocks are of another manager`, operation);
  call(native.blocksJoin, operation, {
    handle: core.handle(operation),
    a: arg('batch', blocks.id(operation)),
    b: arg('appendedBatch', more.id(operation)),
  });
  const ids = new Uint32Array(blocks.length + more.length);
  ids.set(blocks.ids);
  ids.set(more.ids, blocks.length);
  more.end('join');
  setIds(ids);
}
