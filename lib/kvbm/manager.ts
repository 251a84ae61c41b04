import { checkInteger, checkOptions } from '../addon/check.js';
import { pack, unpack } from '../addon/codec.js';
import { invoke, invokeSync, native } from '../addon/invoke.js';
import type { BoundBlocks, Handle } from '../addon/native.js';
import { ClosedError } from '../errors.js';
import type { NixlAgent } from '../nixl/agent.js';
import type { MemoryRegion } from '../nixl/memory.js';
import { type Blocks, checkBlocks, MutableBlocks, RegisteredBlocks, rethrow, type ScatteredBlocks, scattered } from './blocks.js';
import { BlocksExhaustedError, BlockStateError, call, failureOf } from './errors.js';
import { type BlockEvent, type BlockEventSource, eventStream, type Tier } from './events.js';
import { bigWords, bytesOf, LineageHashes } from './hashes.js';
import { blockBytes, type BlockLayout } from './layout.js';
import { type BlockManagerOptions, type Settings, settingsOf } from './options.js';
import { BlockRegistry } from './registry.js';
import { pair, TokenSequence } from './sequence.js';

/** Counts of a manager; those of events since it was made. Source: `kvbm-logical` `metrics/pool_metrics.rs`. */
export interface BlockStatistics {
  readonly total: number;
  /** Those that an allocation can have: empty and inactive. */
  readonly available: number;
  readonly empty: number;
  readonly inactive: number;
  /** References, not blocks, of the mutable ones and of the registered ones. */
  readonly mutableReferences: number;
  readonly registeredReferences: number;
  /** Objects of this environment that hold blocks, or name them weakly. One that grows tells of a missing `dispose`. */
  readonly batches: number;
  readonly allocations: number;
  readonly allocationsFromEmpty: number;
  readonly evictions: number;
  readonly stagings: number;
  readonly registrations: number;
  readonly duplicates: number;
  readonly deduplications: number;
  readonly matchRequested: number;
  readonly matchFound: number;
  readonly scanRequested: number;
  readonly scanFound: number;
}

const STATISTICS = [
  'total',
  'available',
  'empty',
  'inactive',
  'mutableReferences',
  'registeredReferences',
  'batches',
  'allocations',
  'allocationsFromEmpty',
  'evictions',
  'stagings',
  'registrations',
  'duplicates',
  'deduplications',
  'matchRequested',
  'matchFound',
  'scanRequested',
  'scanFound',
] as const satisfies readonly (keyof BlockStatistics)[];

export type Words = Uint32Array;

/** Ids are written to chunks of so many words, which the objects that show them share. */
const CHUNK = 4096;

/** Released batches are noted, and given back by the next call that crosses to the native side anyway. */
const MOST_NOTED = 64;

const collected = new FinalizationRegistry<string>((what) => {
  process.emitWarning(`${what} was collected without dispose(); what it held is given back now`, 'ResourceWarning');
});

/** What a copy takes. */
export interface CopyOptions {
  /** Rejects the promise; the bytes on their way go on, and hold what they touch. */
  readonly signal?: AbortSignal;
}

/**
 * The blocks of one tier: allocated to be written, registered under the names of their tokens, found again by these, and
 * evicted when room is needed. Every method is synchronous and crosses to the native side once, for many blocks. Source:
 * `kvbm-logical` `BlockManager`.
 *
 * @example
 * using manager = new BlockManager({ tier: 'host', blockCount: 1024, blockSize: 16 });
 * using sequence = new TokenSequence(promptTokens, { blockSize: 16 });
 * using cached = manager.matchPrefix(sequence);
 * const found = cached?.length ?? 0;
 * using fresh = manager.allocateOrThrow(sequence.blockCount - found).stage(sequence, found).register();
 */
export class BlockManager implements Disposable, BlockEventSource {
  readonly tier: Tier;
  readonly blockCount: number;
  readonly blockSize: number;
  readonly registry: BlockRegistry;
  readonly layout: BlockLayout | undefined;
  /** Bytes of a block; 0 without a layout. */
  readonly blockBytes: number;
  /** Whether `events()` can be read. */
  readonly tellsEvents: boolean;
  #handle: Handle | undefined;
  readonly #bound: BoundBlocks;
  #words: Words = new Uint32Array();
  #payload: Uint8Array = new Uint8Array();
  #next = 0;
  readonly #released = new Float64Array(MOST_NOTED);
  #noted = 0;
  #flushes = false;
  readonly #regions = new Map<NixlAgent, Promise<MemoryRegion>>();
  /** Objects with views, which must not outlive the manager. */
  readonly #watched = new Set<Blocks>();

  /** @throws TypeError, RangeError; DynamoError `DYN_CONFLICT` where the registry has a manager of the tier */
  constructor(options: BlockManagerOptions, attached?: { settings: Settings; handle: Handle; registry: Handle }) {
    const settings = attached?.settings ?? settingsOf(options);
    this.tier = settings.tier;
    this.blockCount = settings.blockCount;
    this.blockSize = settings.blockSize;
    this.registry = attached === undefined ? (options.registry ?? new BlockRegistry()) : BlockRegistry.of(attached.registry);
    if (settings.layout === undefined || settings.layout === null) this.layout = undefined;
    else {
      const { pageSize: _, ...layout } = settings.layout;
      this.layout = Object.freeze(layout);
    }
    this.blockBytes = this.layout === undefined ? 0 : blockBytes(this.layout, this.blockSize);
    this.tellsEvents = typeof settings.eventCapacity === 'number';
    this.#handle = attached?.handle ?? invokeSync(native.blocksCreate, 'BlockManager', { args: pack(settings), other: this.registry.handle });
    this.#bound = call(native.blocksBind, 'BlockManager', this.#handle);
    this.#grow(0);
    collected.register(this, `a block manager of the tier ${this.tier}`, this);
  }

  /**
   * The manager of another environment of this process, by the token that its `share()` gave. It lives until each
   * environment has disposed of it.
   *
   * @throws DynamoError `DYN_NOT_FOUND` where it is gone
   */
  static attach(token: number): BlockManager {
    checkInteger('BlockManager.attach token', token, 1);
    const [bytes, handle, registry] = invokeSync(native.blocksAttach, 'BlockManager.attach', { a: token });
    const settings = unpack(bytes) as Settings;
    return new BlockManager({} as BlockManagerOptions, { settings, handle, registry });
  }

  /** What `attach` takes, in any environment of this process. */
  share(): number {
    return call(native.blocksId, 'manager.share', this.handle('manager.share'));
  }

  /**
   * Allocates blocks: empty ones first, then inactive ones, whose names are lost.
   *
   * @returns null where there are not as many
   */
  allocate(count: number): MutableBlocks | null {
    if (!Number.isInteger(count) || count < 1 || count > this.blockCount) checkInteger('manager.allocate count', count, 1);
    if (count > this.blockCount) return null;
    if (this.#next + count > this.#words.length) this.#grow(count);
    if (this.#handle === undefined) this.handle('manager.allocate');
    const offset = this.#next;
    const noted = this.#noted;
    this.#noted = 0;
    let id = 0;
    try {
      id = this.#bound[1](count, offset, noted);
    } catch (error) {
      throw failureOf(error, 'manager.allocate');
    }
    if (id === 0) return null;
    this.#next += count;
    return new MutableBlocks(this, id, this.#words, offset, count);
  }

  /** @throws BlocksExhaustedError where there are not as many */
  allocateOrThrow(count: number): MutableBlocks {
    const blocks = this.allocate(count);
    if (blocks === null) throw new BlocksExhaustedError(count, this.available, 'manager.allocateOrThrow');
    return blocks;
  }

  /** Holds the longest run of full blocks that is there, from block `first` on, of at most `count`; undefined where none is. */
  matchPrefix(names: TokenSequence | LineageHashes, first = 0, count?: number): RegisteredBlocks | undefined {
    const operation = 'manager.matchPrefix';
    const total = this.#named(operation, names);
    if (first !== 0) checkInteger(`${operation} first`, first, 0, total);
    const most = count ?? total - first;
    if (count !== undefined) checkInteger(`${operation} count`, count, 0, total - first);
    if (most === 0) return undefined;
    if (this.#next + most >= this.#words.length) this.#grow(most + 1);
    const offset = this.#next;
    const id = names instanceof TokenSequence ? this.#match(names, pair(first, most), offset) : this.#matchNames(names.slice(first, first + most), offset);
    if (id === 0) return undefined;
    const found = this.#words[offset] as number;
    this.#next += found + 1;
    return new RegisteredBlocks(this, id, this.#words, offset + 1, found);
  }

  #match(sequence: TokenSequence, range: number, offset: number): number {
    const operation = 'manager.matchPrefix';
    if (this.#handle === undefined) this.handle(operation);
    const handle = sequence.handle(operation);
    const noted = this.#noted;
    this.#noted = 0;
    try {
      return this.#bound[2](handle, range, offset, noted);
    } catch (error) {
      throw failureOf(error, operation);
    }
  }

  #matchNames(names: LineageHashes, offset: number): number {
    const operation = 'manager.matchPrefix';
    return call(native.blocksMatch, operation, this.handle(operation), 0, offset, this.#payload, names.bytes);
  }

  /** Holds all that are there, also behind one that is not. */
  matchEach(names: TokenSequence | LineageHashes): ScatteredBlocks {
    const operation = 'manager.matchEach';
    const total = this.#named(operation, names);
    if (total === 0) return scattered(this, 0, new Uint32Array());
    const { words, offset, payload } = this.room(total);
    const handle = this.handle(operation);
    const id =
      names instanceof TokenSequence
        ? call(native.blocksMatchEach, operation, handle, pair(0, total), offset, payload, null, names.handle(operation))
        : call(native.blocksMatchEach, operation, handle, 0, offset, payload, names.bytes);
    return scattered(this, id, words.slice(offset, offset + total));
  }

  /** As `matchEach`, but a repeated name is found once, and only `touch` counts it as a use. */
  scan(names: LineageHashes, touch = false): ScatteredBlocks {
    const operation = 'manager.scan';
    if (!(names instanceof LineageHashes)) throw new TypeError(`${operation} names: expected LineageHashes, got ${String(names)}`);
    if (names.length === 0) return scattered(this, 0, new Uint32Array());
    const { words, offset, payload } = this.room(names.length);
    const id = call(native.blocksScan, operation, this.handle(operation), touch ? 1 : 0, offset, payload, names.bytes);
    return scattered(this, id, words.slice(offset, offset + names.length));
  }

  #named(operation: string, names: TokenSequence | LineageHashes): number {
    if (names instanceof TokenSequence) return names.blockCount;
    if (names instanceof LineageHashes) return names.length;
    throw new TypeError(`${operation} names: expected a TokenSequence or LineageHashes, got ${String(names)}`);
  }

  /**
   * Copies the bytes of registered blocks, of this or another manager, to mutable ones of this. The blocks of both can be
   * disposed of meanwhile: they go back when the copy is over.
   *
   * @throws BlockLayoutError where the layouts differ
   * @throws BlockChecksumError where a block's bytes are not what was stored
   */
  async copy(from: RegisteredBlocks, to: MutableBlocks, options: CopyOptions = {}): Promise<void> {
    const operation = 'manager.copy';
    checkBlocks(`${operation} from`, from, RegisteredBlocks);
    checkBlocks(`${operation} to`, to, MutableBlocks);
    checkOptions(`${operation} options`, options, ['signal']);
    if (to.manager !== this) throw new BlockStateError(`${operation}: the blocks to write are of another manager`, operation);
    const parts = { handle: from.manager.handle(operation), other: this.handle(operation), a: from.id(operation), b: to.id(operation) };
    to.detach();
    await invoke(native.blocksCopy, operation, parts, { signal: options.signal }).catch(rethrow);
  }

  /** Blocks that an allocation could have. */
  get available(): number {
    return call(native.blocksAvailable, 'manager.available', this.handle('manager.available'));
  }

  /** The counts of this moment. */
  statistics(): BlockStatistics {
    const words = bigWords(call(native.blocksStatistics, 'manager.statistics', this.handle('manager.statistics')));
    return Object.fromEntries(STATISTICS.map((name, index) => [name, Number(words[index])])) as unknown as BlockStatistics;
  }

  /** Empties every inactive block: nothing but what is held can be found from then on. */
  drainInactive(): { readonly drained: number; readonly held: number } {
    const [drained, held] = bigWords(call(native.blocksDrain, 'manager.drainInactive', this.handle('manager.drainInactive')));
    return { drained: Number(drained), held: Number(held) };
  }

  /**
   * The changes of what the manager holds, by whichever environment. Reading them does not keep the process alive. Needs the
   * option `events`; tiers that tell share one registry, so that a block's description goes with it from tier to tier.
   */
  events(options: { readonly snapshot?: boolean } = {}): AsyncIterableIterator<BlockEvent> & AsyncDisposable {
    checkOptions('manager.events options', options, ['snapshot']);
    const handle = call(native.blocksEvents, 'manager.events', this.handle('manager.events'), options.snapshot === true ? 1 : 0);
    return eventStream(handle, this.tier);
  }

  /**
   * Registers the blocks' memory with a NIXL agent, once for each: block `i` begins at byte `i * blockBytes` of the region.
   * It stays registered until the manager is disposed of, and its transfers have ended.
   *
   * @throws TypeError where the manager has no memory
   */
  registerWith(agent: NixlAgent): Promise<MemoryRegion> {
    const operation = 'manager.registerWith';
    const handle = this.handle(operation);
    let region = this.#regions.get(agent);
    if (region === undefined) {
      region = agent.register(call(native.blockView, operation, handle, 0, 0));
      this.#regions.set(agent, region);
      region.catch(() => this.#regions.delete(agent));
    }
    return region;
  }

  /** @internal */
  handle(operation: string): Handle {
    if (this.#handle === undefined) throw new ClosedError('the block manager', operation);
    if (this.#noted > 0) this.#flush();
    return this.#handle;
  }

  /** @internal Room for so many words, at an offset; not used up before `used`. */
  room(count: number): { words: Words; offset: number; payload: Uint8Array } {
    if (this.#next + count > this.#words.length) this.#grow(count);
    return { words: this.#words, offset: this.#next, payload: this.#payload };
  }

  /** @internal */
  used(count: number): void {
    this.#next += count;
  }

  #grow(count: number): void {
    this.#words = new Uint32Array(Math.max(CHUNK, count));
    this.#payload = bytesOf(this.#words);
    this.#next = 0;
    this.#bound[0](this.#payload, new Uint8Array(this.#released.buffer));
  }

  /** @internal Gives a batch back: at once for all that this environment can see, for others by the end of this turn at the latest. */
  release(id: number): void {
    // A manager that is gone gave everything back.
    if (this.#handle === undefined) return;
    this.#released[this.#noted++] = id;
    if (this.#noted === MOST_NOTED) this.#flush();
    else if (!this.#flushes) {
      this.#flushes = true;
      queueMicrotask(() => {
        this.#flushes = false;
        if (this.#noted > 0) this.#flush();
      });
    }
  }

  #flush(): void {
    const noted = this.#noted;
    this.#noted = 0;
    if (this.#handle === undefined) return;
    try {
      this.#bound[3](noted);
    } catch (error) {
      throw failureOf(error, 'blocks.dispose');
    }
  }

  /** @internal */
  watch(blocks: Blocks): void {
    this.#watched.add(blocks);
  }

  /** @internal */
  unwatch(blocks: Blocks): void {
    this.#watched.delete(blocks);
  }

  /** Gives back all that this environment holds of the manager. Idempotent. */
  dispose(): void {
    const handle = this.#handle;
    if (handle === undefined) return;
    collected.unregister(this);
    for (const blocks of [...this.#watched]) blocks.detach();
    this.#handle = undefined;
    this.#noted = 0;
    // The memory goes when the last transfer that may touch it has ended.
    for (const region of this.#regions.values()) void region.then((one) => one.release()).catch(() => {});
    this.#regions.clear();
    call(native.blocksClose, 'manager.dispose', handle);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
