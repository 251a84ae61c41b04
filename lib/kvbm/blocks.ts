import { invoke, native } from '../addon/invoke.js';
import { checkBoolean, checkInteger, wrongType } from '../check.js';
import { Blocks } from './batch.js';
import type { Words } from './batch-calls.js';
import { BlockStateError, blockError, call } from './errors.js';
import { LineageHashes } from './hashes.js';
import type { BlockManager } from './manager.js';
import { readBlock, writeBlock } from './nixl-copy.js';
import { packPair, pair, TokenSequence } from './sequence.js';

/** Blocks that nobody else sees, to be written. */
export class MutableBlocks extends Blocks {
  /**
   * A block's bytes, zero-copy. Detached, of length 0, once the blocks are staged or go back.
   *
   * @throws TypeError where the manager has no memory
   */
  bytes(index: number): Uint8Array {
    return this.viewOf('blocks.bytes', index);
  }

  /** Writes all of a block, also of a manager on a file. The blocks can do nothing else until it is over. */
  async write(index: number, bytes: Uint8Array): Promise<void> {
    const operation = 'blocks.write';
    checkInteger(`${operation} index`, index, 0, this.length - 1);
    if (!(bytes instanceof Uint8Array)) wrongType(`${operation} bytes`, 'a Uint8Array', bytes);
    if (this.manager.storage === 'region') return await writeBlock(operation, this, index, bytes).catch(rethrow);
    const parts = { handle: this.manager.handle(operation), a: this.id(operation), b: index, payload: bytes };
    await invoke(native.blocksWrite, operation, parts).catch(rethrow);
  }

  /**
   * Names the blocks: by full blocks of a sequence, from `first` on, or by names, one a block. Of blocks that were staged by
   * names alone `manager.events()` does not tell: routers need the hashes of their tokens.
   *
   * @throws TypeError where there are not as many names as blocks
   */
  stage(names: TokenSequence | LineageHashes, first = 0): StagedBlocks {
    const operation = 'blocks.stage';
    const { manager } = this;
    const id = this.id(operation);
    if (names instanceof TokenSequence) {
      if (first !== 0) checkInteger(`${operation} first`, first, 0, names.blockCount);
      manager.stage(operation, id, names, pair(first, this.length));
    } else if (names instanceof LineageHashes) {
      call(native.blocksStage, operation, manager.handle(operation), id, 0, null, names.slice(first).bytes);
    } else {
      wrongType(`${operation} names`, 'a TokenSequence or LineageHashes', names);
    }
    this.give('stage');
    return new StagedBlocks(manager, id, ...this.place, this.length);
  }

  /** @internal Names the blocks, and tells of them what names do not: see `RegisteredBlocks.identities`. */
  stageWith(names: LineageHashes, identities: Uint8Array): StagedBlocks {
    const operation = 'blocks.stage';
    const id = this.id(operation);
    call(native.blocksStage, operation, this.manager.handle(operation), id, 0, identities, names.bytes);
    this.give('stage');
    return new StagedBlocks(this.manager, id, ...this.place, this.length);
  }

  /** Names the blocks as registered blocks, of any manager, are named. */
  stageAs(blocks: RegisteredBlocks): StagedBlocks {
    const operation = 'blocks.stageAs';
    checkBlocks(`${operation} blocks`, blocks, RegisteredBlocks);
    const id = this.id(operation);
    const other = blocks.manager.handle(operation);
    call(native.blocksStageAs, operation, this.manager.handle(operation), id, blocks.id(operation), null, null, other);
    this.give('stageAs');
    return new StagedBlocks(this.manager, id, ...this.place, this.length);
  }

  /** Stages and registers the first `count` blocks as the full blocks of a sequence from `first` on; keeps the others. */
  commit(sequence: TokenSequence, first: number, count: number): RegisteredBlocks {
    const operation = 'blocks.commit';
    if (!(sequence instanceof TokenSequence)) wrongType(`${operation} sequence`, 'a TokenSequence', sequence);
    checkInteger(`${operation} first`, first, 0, sequence.blockCount);
    checkInteger(`${operation} count`, count, 1, Math.min(this.length, sequence.blockCount - first));
    const { manager } = this;
    const { words, offset } = manager.room(count);
    const range = packPair(first, count);
    const id = call(
      native.blocksCommit,
      operation,
      manager.handle(operation),
      this.id(operation),
      offset,
      words,
      range,
      sequence.handle(operation),
    );
    manager.used(count);
    this.detach();
    this.become(this.ids.subarray(count));
    return new RegisteredBlocks(manager, id, words, offset, count);
  }

  /** Moves the blocks from `at` on to an object of their own. */
  split(at: number): MutableBlocks {
    return new MutableBlocks(this.manager, ...splitOff(this, at, (ids) => this.become(ids)));
  }

  /** Moves another object's blocks behind these. */
  join(more: MutableBlocks): void {
    checkBlocks('blocks.join more', more, MutableBlocks);
    joinTo(this, more, (ids) => this.become(ids));
  }
}

/** Named blocks that nobody can find yet. */
export class StagedBlocks extends Blocks {
  /** The names. */
  hashes(): LineageHashes {
    return hashesOf(this);
  }

  /** Makes the blocks findable and immutable. */
  register(): RegisteredBlocks {
    const operation = 'blocks.register';
    const { manager, length } = this;
    const id = this.id(operation);
    const replaced = manager.register(operation, id, length);
    this.give('register');
    // Unless some were replaced the ids are the same, and the room stays free.
    if (replaced === 0) return new RegisteredBlocks(manager, id, ...this.place, length);
    const { words } = manager.room(length);
    return new RegisteredBlocks(manager, id, words, manager.used(length), length, this.ids);
  }

  /** Takes the names back. */
  reset(): MutableBlocks {
    const operation = 'blocks.reset';
    const id = this.id(operation);
    call(native.blocksUnstage, operation, this.manager.handle(operation), id);
    this.give('reset');
    return new MutableBlocks(this.manager, id, ...this.place, this.length);
  }
}

/** Blocks that can be found by their names, held: they are not evicted while this object has them. */
export class RegisteredBlocks extends Blocks {
  declare private staged: Uint32Array | undefined;

  /** @internal */
  constructor(manager: BlockManager, id: number, words: Words, offset: number, count: number, staged?: Uint32Array) {
    super(manager, id, words, offset, count);
    this.staged = staged;
  }

  /** 1 for each block in whose place one that was there already was taken, by `duplicates: 'reject'`; its bytes were dropped. */
  get deduplicated(): Uint8Array {
    const { staged } = this;
    return Uint8Array.from(this.ids, (id, index) => (staged === undefined || staged[index] === id ? 0 : 1));
  }

  /** The names. */
  hashes(): LineageHashes {
    return hashesOf(this);
  }

  /**
   * A block's bytes, zero-copy, to be read only: others share them. Detached, of length 0, once the blocks go back.
   *
   * @throws TypeError where the manager has no memory
   */
  view(index: number): Uint8Array {
    return this.viewOf('blocks.view', index);
  }

  /**
   * A copy of a block's bytes, from memory or file.
   *
   * @throws BlockChecksumError where they are not what was stored, and the manager keeps checksums
   */
  async read(index: number): Promise<Uint8Array> {
    const operation = 'blocks.read';
    checkInteger(`${operation} index`, index, 0, this.length - 1);
    if (this.manager.storage === 'region') return await readBlock(operation, this, index).catch(rethrow);
    const parts = { handle: this.manager.handle(operation), a: this.id(operation), b: index };
    return await invoke(native.blocksRead, operation, parts).catch(rethrow);
  }

  /** Holds the blocks from `start` up to but without `end` once more. */
  clone(start = 0, end = this.length): RegisteredBlocks {
    const operation = 'blocks.clone';
    checkInteger(`${operation} start`, start, 0, this.length);
    checkInteger(`${operation} end`, end, start, this.length);
    const id = call(
      native.blocksClone,
      operation,
      this.manager.handle(operation),
      this.id(operation),
      pair(start, end - start),
    );
    const [words, offset] = this.place;
    return new RegisteredBlocks(this.manager, id, words, offset + start, end - start);
  }

  /** Moves the blocks from `at` on to an object of their own. */
  split(at: number): RegisteredBlocks {
    return new RegisteredBlocks(this.manager, ...splitOff(this, at, (ids) => this.become(ids)));
  }

  /** Moves another object's blocks behind these. */
  join(more: RegisteredBlocks): void {
    checkBlocks('blocks.join more', more, RegisteredBlocks);
    joinTo(this, more, (ids) => this.become(ids));
  }

  /** Names the blocks without holding them. */
  weak(): WeakBlocks {
    const operation = 'blocks.weak';
    const id = call(native.blocksWeak, operation, this.manager.handle(operation), this.id(operation));
    return new WeakBlocks(this.manager, id, ...this.place, this.length);
  }

  /** @internal The checksums, for each block 8 bytes a layer; 0 where the manager keeps none. */
  checksums(): Uint8Array {
    const operation = 'blocks.checksums';
    return (
      call(native.blocksChecksums, operation, this.manager.handle(operation), this.id(operation)) ?? new Uint8Array()
    );
  }

  /** @internal Hash of the tokens and sequence hash of the parent, 8 bytes each a block; nothing where they are not known. */
  identities(): Uint8Array {
    const operation = 'blocks.identities';
    return (
      call(native.blocksIdentities, operation, this.manager.handle(operation), this.id(operation)) ?? new Uint8Array()
    );
  }

  /** Whether the blocks are emptied by their last release (`true`) or stay to be found. @default the manager's `resetOnRelease` */
  resetOnRelease(reset: boolean): void {
    const operation = 'blocks.resetOnRelease';
    checkBoolean(`${operation} reset`, reset);
    call(native.blocksResetOnRelease, operation, this.manager.handle(operation), this.id(operation), reset ? 1 : 0);
  }
}

/** What was found of blocks that were asked for one by one. */
export interface ScatteredBlocks extends Disposable {
  /** Those that were found, in order; undefined where none was. */
  readonly blocks: RegisteredBlocks | undefined;
  /** For each that was asked for its index in `blocks`, or -1. */
  readonly positions: Int32Array;
}

const NO_BLOCK = 0xffff_ffff;

/** The answer to a call that writes an id a name, or `NO_BLOCK`. */
export function scattered(manager: BlockManager, id: number, answer: Uint32Array): ScatteredBlocks {
  const found = answer.filter((word) => word !== NO_BLOCK);
  let next = 0;
  const positions = Int32Array.from(answer, (word) => (word === NO_BLOCK ? -1 : next++));
  const blocks = id === 0 ? undefined : new RegisteredBlocks(manager, id, found, 0, found.length);
  return { blocks, positions, [Symbol.dispose]: () => blocks?.dispose() };
}

/** Names of blocks that may be evicted meanwhile. */
export class WeakBlocks extends Blocks {
  /** The names. */
  hashes(): LineageHashes {
    return hashesOf(this);
  }

  /** Holds those that are still there. */
  upgrade(): ScatteredBlocks {
    const operation = 'blocks.upgrade';
    const { manager, length } = this;
    const { words, offset } = manager.room(length);
    const id = call(native.blocksUpgrade, operation, manager.handle(operation), this.id(operation), offset, words);
    return scattered(manager, id, words.slice(offset, offset + length));
  }
}

function hashesOf(blocks: Blocks): LineageHashes {
  const operation = 'blocks.hashes';
  const bytes = call(native.blocksHashes, operation, blocks.manager.handle(operation), blocks.id(operation));
  return new LineageHashes(bytes ?? new Uint8Array());
}

/** Takes the blocks from `at` on away; gives what an object of theirs is made of. */
function splitOff(
  blocks: Blocks,
  at: number,
  become: (ids: Uint32Array) => void,
): [id: number, words: Uint32Array, offset: number, count: number] {
  const operation = 'blocks.split';
  checkInteger(`${operation} at`, at, 0, blocks.length);
  const id = call(native.blocksSplit, operation, blocks.manager.handle(operation), blocks.id(operation), at);
  const { ids } = blocks;
  blocks.detach(at);
  become(ids.subarray(0, at));
  return [id, ids, at, ids.length - at];
}

function joinTo<B extends Blocks>(blocks: B, more: B, become: (ids: Uint32Array) => void): void {
  const operation = 'blocks.join';
  const { manager } = blocks;
  if (more.manager !== manager) throw new BlockStateError(`${operation}: the blocks are of another manager`, operation);
  call(native.blocksJoin, operation, manager.handle(operation), blocks.id(operation), more.id(operation));
  const ids = new Uint32Array(blocks.length + more.length);
  ids.set(blocks.ids);
  ids.set(more.ids, blocks.length);
  more.give('join');
  become(ids);
}

export function checkBlocks<B extends Blocks>(path: string, blocks: B, Kind: new (...parts: never[]) => B): void {
  if (!(blocks instanceof Kind))
    throw new TypeError(
      `${path}: expected ${Kind.name}, got ${blocks === null ? 'null' : ((blocks as object | undefined)?.constructor?.name ?? typeof blocks)}`,
    );
}

export function rethrow(error: unknown): never {
  throw blockError(error);
}
