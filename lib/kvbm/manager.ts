import { packArgs, unpack } from '../addon/codec.js';
import { invoke, invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { checkViewBytes } from '../addon/views.js';
import { checkBoolean, checkInstance, checkInteger, checkOptions, checkSignal, wrongType } from '../check.js';
import { ClosedError, DynamoError } from '../errors.js';
import { NixlAgent } from '../nixl/agent.js';
import type { MemoryRegion } from '../nixl/memory.js';
import type { Blocks } from './batch.js';
import { Crossing, type Words } from './batch-calls.js';
import { checkBlocks, MutableBlocks, RegisteredBlocks, rethrow, type ScatteredBlocks, scattered } from './blocks.js';
import { BlockLayoutError, BlockStateError, BlocksExhaustedError, call } from './errors.js';
import { type BlockEvent, type BlockEventSource, eventStream, type Tier } from './events.js';
import { bigWords, LineageHashes } from './hashes.js';
import { type BlockLayout, type BlockStorage, blockBytes, checkLayers, type LayerRange, layoutText } from './layout.js';
import { carrierOf, copyThroughNixl } from './nixl-copy.js';
import { type BlockManagerOptions, type Settings, settingsOf } from './options.js';
import { BlockRegistry } from './registry.js';
import { packPair, pair, TokenSequence } from './sequence.js';
import { type BlockStatistics, statisticsOf } from './statistics.js';

const collected = new FinalizationRegistry<string>((what) => {
  process.emitWarning(`${what} was collected without dispose(); what it held is given back now`, 'ResourceWarning');
});

/** Regions that a manager's blocks lie in: a second manager's would be the same bytes. */
const taken = new WeakSet<MemoryRegion>();

/** What a copy takes. */
export interface CopyOptions {
  /** Copies these layers of each block alone; the others stay as they are. @default all */
  readonly layers?: LayerRange;
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
  /** The kind of storage; undefined where the blocks have no bytes. */
  readonly storage: BlockStorage['kind'] | undefined;
  /** @internal Where the blocks lie, for a storage of kind region in the thread that made the manager. */
  readonly region: MemoryRegion | undefined;
  /** Whether `events()` can be read. */
  readonly tellsEvents: boolean;
  #handle: Handle | undefined;
  readonly #crossing: Crossing;
  readonly #regions = new Map<NixlAgent, Promise<MemoryRegion>>();
  /** Objects with views, which must not outlive the manager. */
  readonly #watched = new Set<Blocks>();
  /** Copies that may still touch bytes. */
  #flights = 0;
  #landed: (() => void) | undefined;

  /** @throws TypeError, RangeError; DynamoError `DYN_CONFLICT` where the registry has a manager of the tier, or the region one */
  constructor(options: BlockManagerOptions, attached?: { settings: Settings; handle: Handle; registry: Handle }) {
    const settings = attached?.settings ?? settingsOf(options);
    this.tier = settings.tier;
    this.blockCount = settings.blockCount;
    this.blockSize = settings.blockSize;
    this.registry =
      attached === undefined ? (options.registry ?? new BlockRegistry()) : BlockRegistry.of(attached.registry);
    if (settings.layout === undefined || settings.layout === null) this.layout = undefined;
    else {
      const { pageSize: _, ...layout } = settings.layout;
      this.layout = Object.freeze(layout);
    }
    this.blockBytes = this.layout === undefined ? 0 : blockBytes(this.layout, this.blockSize);
    this.storage = settings.storage?.kind;
    this.region = attached === undefined && options.storage?.kind === 'region' ? options.storage.region : undefined;
    if (this.region !== undefined && taken.has(this.region))
      throw new DynamoError('Conflict', 'BlockManager options.storage.region: another manager has its blocks in it', {
        reason: 'kvbm.region',
        operation: 'BlockManager',
      });
    this.tellsEvents = typeof settings.eventCapacity === 'number';
    this.#handle =
      attached?.handle ??
      invokeSync(native.blocksCreate, 'BlockManager', { args: packArgs(settings), other: this.registry.handle });
    this.#crossing = new Crossing(this.#handle);
    if (this.region !== undefined) taken.add(this.region);
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
    if (!Number.isInteger(count) || count < 1 || count > this.blockCount)
      checkInteger('manager.allocate count', count, 1);
    if (count > this.blockCount) return null;
    if (this.#handle === undefined) this.handle('manager.allocate');
    const crossing = this.#crossing;
    const id = crossing.allocate('manager.allocate', count);
    if (id === 0) return null;
    return new MutableBlocks(this, id, crossing.words, crossing.used(count), count);
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
    const crossing = this.#crossing;
    let id = 0;
    if (names instanceof TokenSequence) {
      if (this.#handle === undefined) this.handle(operation);
      id = crossing.match(operation, names.handle(operation), pair(first, most), most);
    } else {
      const { words, offset } = crossing.room(most + 1);
      id = call(
        native.blocksMatch,
        operation,
        this.handle(operation),
        0,
        offset,
        words,
        names.slice(first, first + most).bytes,
      );
    }
    if (id === 0) return undefined;
    const { words } = crossing;
    const found = words[crossing.used(1)] as number;
    return new RegisteredBlocks(this, id, words, crossing.used(found), found);
  }

  /** @internal Names the blocks of a mutable batch by those of a range of the sequence's. */
  stage(operation: string, batch: number, sequence: TokenSequence, range: number): void {
    if (this.#handle === undefined) this.handle(operation);
    this.#crossing.stage(operation, batch, sequence.handle(operation), range);
  }

  /** @internal Registers a staged batch; how many of its blocks were replaced, in which case the ids of all are in the room. */
  register(operation: string, batch: number, count: number): number {
    if (this.#handle === undefined) this.handle(operation);
    return this.#crossing.register(operation, batch, count);
  }

  /** Holds all that are there, also behind one that is not. */
  matchEach(names: TokenSequence | LineageHashes): ScatteredBlocks {
    const operation = 'manager.matchEach';
    const total = this.#named(operation, names);
    if (total === 0) return scattered(this, 0, new Uint32Array());
    const { words, offset } = this.room(total);
    const handle = this.handle(operation);
    const id =
      names instanceof TokenSequence
        ? call(native.blocksMatchEach, operation, handle, pair(0, total), offset, words, null, names.handle(operation))
        : call(native.blocksMatchEach, operation, handle, 0, offset, words, names.bytes);
    return scattered(this, id, words.slice(offset, offset + total));
  }

  /** As `matchEach`, but a repeated name is found once, and only `touch` counts it as a use. */
  scan(names: LineageHashes, touch = false): ScatteredBlocks {
    const operation = 'manager.scan';
    if (!(names instanceof LineageHashes)) wrongType(`${operation} names`, 'LineageHashes', names);
    if (names.length === 0) return scattered(this, 0, new Uint32Array());
    const { words, offset } = this.room(names.length);
    const id = call(native.blocksScan, operation, this.handle(operation), touch ? 1 : 0, offset, words, names.bytes);
    return scattered(this, id, words.slice(offset, offset + names.length));
  }

  #named(operation: string, names: TokenSequence | LineageHashes): number {
    if (names instanceof TokenSequence) return names.blockCount;
    if (names instanceof LineageHashes) return names.length;
    wrongType(`${operation} names`, 'a TokenSequence or LineageHashes', names);
  }

  /**
   * Copies the bytes of registered blocks, of this or another manager, to mutable ones of this. The blocks of both can be
   * disposed of meanwhile: they go back when the copy is over. Where it fails the blocks to write stay mutable, with whatever
   * was written until then.
   *
   * @throws BlockLayoutError where the layouts differ
   * @throws BlockChecksumError where a block's bytes are not what was stored
   * @throws NixlError where an agent copies, and cannot
   */
  async copy(from: RegisteredBlocks, to: MutableBlocks, options: CopyOptions = {}): Promise<void> {
    const operation = 'manager.copy';
    checkBlocks(`${operation} from`, from, RegisteredBlocks);
    checkBlocks(`${operation} to`, to, MutableBlocks);
    checkOptions(`${operation} options`, options, ['layers', 'signal']);
    const { layers, signal } = options;
    if (signal !== undefined) checkSignal(`${operation} options.signal`, signal);
    const source = from.manager;
    if (to.manager !== this)
      throw new BlockStateError(`${operation}: the blocks to write are of another manager`, operation);
    const [expected, got] = [layoutText(source), layoutText(this)];
    if (expected !== got)
      throw new BlockLayoutError(
        `${operation}: expected the layout ${expected}, as the source has, got ${got}`,
        operation,
      );
    const { layout } = this;
    if (layers !== undefined && layout !== undefined) checkLayers(`${operation} options.layers`, layers, layout);
    const parts = {
      handle: source.handle(operation),
      other: this.handle(operation),
      a: from.id(operation),
      b: to.id(operation),
    };
    if (from.length !== to.length)
      throw new TypeError(`${operation} to: expected ${from.length}, as the source has, got ${to.length} blocks`);
    signal?.throwIfAborted();
    const agent = carrierOf(operation, source, this);
    if (agent !== undefined)
      return await copyThroughNixl(agent, from, to, layers ?? [0, layout?.layers ?? 0], signal).catch(rethrow);
    to.detach();
    const args = layers === undefined ? undefined : packPair(layers[0], layers[1] - layers[0]);
    await invoke(native.blocksCopy, operation, { ...parts, args }, { signal }).catch(rethrow);
  }

  /** Blocks that an allocation could have. */
  get available(): number {
    return call(native.blocksAvailable, 'manager.available', this.handle('manager.available'));
  }

  /** The counts of this moment. */
  statistics(): BlockStatistics {
    return statisticsOf(call(native.blocksStatistics, 'manager.statistics', this.handle('manager.statistics')));
  }

  /** Empties every inactive block: nothing but what is held can be found from then on. */
  drainInactive(): { readonly drained: number; readonly held: number } {
    const [drained, held] = bigWords(
      call(native.blocksDrain, 'manager.drainInactive', this.handle('manager.drainInactive')),
    );
    return { drained: Number(drained), held: Number(held) };
  }

  /**
   * The changes of what the manager holds, by whichever environment. Reading them does not keep the process alive. Needs the
   * option `events`; tiers that tell share one registry, so that a block's description goes with it from tier to tier.
   */
  events(options: { readonly snapshot?: boolean } = {}): AsyncIterableIterator<BlockEvent> & AsyncDisposable {
    checkOptions('manager.events options', options, ['snapshot']);
    const { snapshot = false } = options;
    checkBoolean('manager.events options.snapshot', snapshot);
    const handle = call(native.blocksEvents, 'manager.events', this.handle('manager.events'), snapshot ? 1 : 0);
    return eventStream(handle, this.tier);
  }

  /**
   * Registers the blocks' memory with a NIXL agent, once for each: block `i` begins at byte `i * blockBytes` of the region.
   * It stays registered until the manager is disposed of, and its transfers have ended. For a storage of kind region it is
   * that region, with its agent alone.
   *
   * @throws TypeError where the manager has neither memory nor a region of the agent
   * @throws RangeError where its memory is more than a view may have: 4 GiB in Node.js 20. A storage of kind region has no such limit
   */
  registerWith(agent: NixlAgent): Promise<MemoryRegion> {
    const operation = 'manager.registerWith';
    checkInstance(`${operation} agent`, agent, NixlAgent);
    const handle = this.handle(operation);
    if (this.region !== undefined) {
      if (this.region.agent !== agent)
        throw new TypeError(
          `${operation} agent: expected '${this.region.agent.name}', whose region it is, got '${agent.name}'`,
        );
      return Promise.resolve(this.region);
    }
    let region = this.#regions.get(agent);
    if (region === undefined) {
      checkViewBytes(operation, this.blockCount * this.blockBytes);
      region = agent.register(call(native.blockView, operation, handle, 0, 0));
      this.#regions.set(agent, region);
      region.catch(() => this.#regions.delete(agent));
    }
    return region;
  }

  /** @internal */
  handle(operation: string): Handle {
    if (this.#handle === undefined) throw new ClosedError('the block manager', operation);
    if (this.#crossing.noted > 0) this.#crossing.flush();
    return this.#handle;
  }

  /** @internal Room for so many words, at an offset; not used up before `used`. */
  room(count: number): { words: Words; offset: number } {
    return this.#crossing.room(count);
  }

  /** @internal Takes words of the room; where they begin. */
  used(count: number): number {
    return this.#crossing.used(count);
  }

  /** @internal */
  release(id: number): void {
    this.#crossing.release(id);
  }

  /** @internal */
  watch(blocks: Blocks): void {
    this.#watched.add(blocks);
  }

  /** @internal */
  unwatch(blocks: Blocks): void {
    this.#watched.delete(blocks);
  }

  /** @internal Until the function that it gives is called somebody may touch the blocks' bytes: `dispose` does not end them. */
  fly(): () => void {
    this.#flights += 1;
    return () => {
      this.#flights -= 1;
      if (this.#flights === 0) this.#landed?.();
    };
  }

  /** Gives back all that this environment holds of the manager; what a copy holds when that is over. Idempotent. */
  dispose(): void {
    const handle = this.#handle;
    if (handle === undefined) return;
    collected.unregister(this);
    for (const blocks of [...this.#watched]) blocks.detach();
    this.#handle = undefined;
    this.#crossing.close();
    // The memory goes when the last transfer that may touch it has ended.
    for (const region of this.#regions.values()) void region.then((one) => one.release()).catch(() => {});
    this.#regions.clear();
    const close = (): void => {
      call(native.blocksClose, 'manager.dispose', handle);
      if (this.region !== undefined) taken.delete(this.region);
    };
    if (this.#flights === 0) close();
    else this.#landed = close;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
