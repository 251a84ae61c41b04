import { arg, invoke, native } from '../addon/invoke.js';
import { checkInstance, checkInteger, wrongType } from '../check.js';
import { badArgument } from '../errors.js';
import { NixlAgent } from '../nixl/agent.js';
import type { MemoryRegion } from '../nixl/memory.js';
import { boolean, type OptionTable, optionTable, signal } from '../options.js';
import { words } from '../words.js';
import { checkBlocks } from './batch.js';
import { blockRange, packedBlockRange } from './block-range.js';
import { MutableBlocks, RegisteredBlocks, type ScatteredBlocks, scattered } from './blocks.js';
import { ManagerCore } from './core.js';
import { BlockLayoutError, BlockStateError, BlocksExhaustedError, call, rethrow } from './errors.js';
import { type BlockEvent, type BlockEventSource, eventStream, type Tier } from './events.js';
import { LineageHashes } from './hashes.js';
import {
  type BlockLayout,
  type BlockStorage,
  checkLayers,
  LAYERS,
  type LayerRange,
  layerCount,
  layoutText,
} from './layout.js';
import { agentBetween, copyThroughNixl } from './nixl-copy.js';
import { type BlockManagerOptions, settingsOf } from './options.js';
import { BlockRegistry } from './registry.js';
import { TokenSequence } from './sequence.js';
import { type BlockStatistics, statisticsOf } from './statistics.js';

/** Options of a copy. */
export interface CopyOptions {
  /** Copies only these layers of each block and leaves the others unchanged. @default all */
  readonly layers?: LayerRange;
  /** Rejects the promise. Transfers in flight continue, and keep their blocks until they end. */
  readonly signal?: AbortSignal;
}

const COPY_OPTIONS: OptionTable<CopyOptions> = optionTable<CopyOptions>({ layers: LAYERS, signal });

/** @inline */
interface EventsOptions {
  readonly snapshot?: boolean;
}

const EVENTS_OPTIONS: OptionTable<EventsOptions> = optionTable<EventsOptions>({ snapshot: boolean });

interface Parts {
  readonly core: ManagerCore;
  readonly registry: BlockRegistry;
}

function createParts(options: BlockManagerOptions): Parts {
  const settings = settingsOf(options);
  const { registry = new BlockRegistry(), storage } = options;
  const region = storage?.kind === 'region' ? storage.region : undefined;
  return { core: ManagerCore.create(settings, registry.handle, region), registry };
}

/**
 * The blocks of one tier. Blocks are allocated, written, and registered under the names of their tokens. Lookups find
 * them by these names until they are evicted to make space.
 *
 * `copy` and `registerWith` are asynchronous. Every other method is synchronous, and makes one native call for any
 * number of blocks. Source: `kvbm-logical` `BlockManager`.
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
  /** The kind of storage; undefined if the blocks have no bytes. */
  readonly storage: BlockStorage['kind'] | undefined;
  /** Whether the manager records changes for `events()`. */
  readonly hasEvents: boolean;
  /** @internal */
  readonly core: ManagerCore;

  /**
   * @throws TypeError, RangeError
   * @throws DynamoError `DYN_CONFLICT` if the registry already has a manager of the tier, or the region already has one
   */
  constructor(options: BlockManagerOptions);
  /** @internal */
  constructor(options: undefined, attached: Parts);
  constructor(options?: BlockManagerOptions, { core, registry } = createParts(options as BlockManagerOptions)) {
    this.core = core;
    this.registry = registry;
    this.tier = core.settings.tier;
    this.blockCount = core.blockCount;
    this.blockSize = core.blockSize;
    this.layout = core.layout;
    this.blockBytes = core.blockBytes;
    this.storage = core.storage;
    this.hasEvents = typeof core.settings.eventCapacity === 'number';
  }

  /**
   * A second handle to a manager of another environment of this process. `token` is the result of its `share()`. The
   * manager lives until every environment has disposed of it.
   *
   * @throws DynamoError `DYN_NOT_FOUND` if the manager no longer exists
   */
  static attach(token: number): BlockManager {
    checkInteger('BlockManager.attach token', token, 1);
    const { core, registry } = ManagerCore.attach(token);
    return new BlockManager(undefined, { core, registry: BlockRegistry.of(registry) });
  }

  /** The token for `attach`, valid in any environment of this process. */
  share(): number {
    const token = call(native.blocksId, 'manager.share', { handle: this.core.handle('manager.share') });
    this.core.share();
    return token;
  }

  /**
   * Allocates blocks: empty ones first, then inactive ones, which lose their names.
   *
   * @returns null if there are too few
   */
  allocate(count: number): MutableBlocks | null {
    if (!Number.isInteger(count) || count < 1 || count > this.blockCount)
      checkInteger('manager.allocate count', count, 1);
    if (count > this.blockCount) return null;
    const { core } = this;
    const { calls } = core;
    const id = calls.allocate('manager.allocate', count);
    if (id === 0) return null;
    return new MutableBlocks(core, id, calls.words, calls.commit(count), count);
  }

  /** @throws BlocksExhaustedError if there are too few */
  allocateOrThrow(count: number): MutableBlocks {
    const blocks = this.allocate(count);
    if (blocks === null) throw new BlocksExhaustedError(count, this.available, 'manager.allocateOrThrow');
    return blocks;
  }

  /**
   * References to the longest run of full blocks from block `first` on, at most `count`; undefined if none is found.
   */
  matchPrefix(names: TokenSequence | LineageHashes, first = 0, count?: number): RegisteredBlocks | undefined {
    const operation = 'manager.matchPrefix';
    const total = nameCount(operation, names);
    if (first !== 0) checkInteger(`${operation} first`, first, 0, total);
    const max = count ?? total - first;
    if (count !== undefined) checkInteger(`${operation} count`, count, 0, total - first);
    if (max === 0) return undefined;
    const { core } = this;
    const { calls } = core;
    let id = 0;
    if (names instanceof TokenSequence) {
      id = calls.match(operation, names, blockRange(first, max), max);
    } else {
      const handle = core.handle(operation);
      const { words, offset } = calls.reserve(max + 1);
      id = call(native.blocksMatch, operation, {
        handle,
        b: arg('offset', offset),
        payload: words,
        args: names.slice(first, first + max).bytes,
      });
    }
    if (id === 0) return undefined;
    const { words } = calls;
    const found = words[calls.commit(1)] as number;
    return new RegisteredBlocks(core, id, words, calls.commit(found), found);
  }

  /** References to every block that is found, including those after a missing one. */
  matchEach(names: TokenSequence | LineageHashes): ScatteredBlocks {
    const operation = 'manager.matchEach';
    const total = nameCount(operation, names);
    const { core } = this;
    if (total === 0) return scattered(core, 0, new Uint32Array());
    const { words, offset } = core.calls.reserve(total);
    const handle = core.handle(operation);
    const id =
      names instanceof TokenSequence
        ? call(native.blocksMatchEach, operation, {
            handle,
            a: arg('blockRange', blockRange(0, total)),
            b: arg('offset', offset),
            payload: words,
            other: names.handle(operation),
          })
        : call(native.blocksMatchEach, operation, {
            handle,
            b: arg('offset', offset),
            payload: words,
            args: names.bytes,
          });
    return scattered(core, id, words.slice(offset, offset + total));
  }

  /** Like `matchEach`, but finds a repeated name only once, and counts as a use only with `touch`. */
  scan(names: LineageHashes, touch = false): ScatteredBlocks {
    const operation = 'manager.scan';
    if (!(names instanceof LineageHashes)) wrongType(`${operation} names`, 'LineageHashes', names);
    const { core } = this;
    if (names.length === 0) return scattered(core, 0, new Uint32Array());
    const { words, offset } = core.calls.reserve(names.length);
    const id = call(native.blocksScan, operation, {
      handle: core.handle(operation),
      a: arg('isUse', touch ? 1 : 0),
      b: arg('offset', offset),
      payload: words,
      args: names.bytes,
    });
    return scattered(core, id, words.slice(offset, offset + names.length));
  }

  /**
   * Copies the bytes of registered blocks, of this or another manager, to mutable blocks of this manager. Blocks of
   * both sides can be disposed of during the copy: they are released at its end. If the copy fails, the target blocks
   * stay mutable, with whatever bytes were already written.
   *
   * @throws BlockLayoutError if the layouts differ
   * @throws BlockChecksumError if a block's bytes differ from those that were stored
   * @throws NixlError if a NIXL agent copies the bytes and fails
   */
  async copy(from: RegisteredBlocks, to: MutableBlocks, options: CopyOptions = {}): Promise<void> {
    const operation = 'manager.copy';
    checkBlocks(`${operation} from`, from, RegisteredBlocks);
    checkBlocks(`${operation} to`, to, MutableBlocks);
    COPY_OPTIONS.check(`${operation} options`, options);
    const { layers, signal } = options;
    const { core } = this;
    const source = from.core;
    if (to.core !== core)
      throw new BlockStateError(`${operation}: the target blocks are of another manager`, operation);
    const [expected, got] = [layoutText(source), layoutText(core)];
    if (expected !== got)
      throw new BlockLayoutError(`${operation}: expected the source's layout ${expected}, got ${got}`, operation);
    const { layout } = core;
    if (layers !== undefined && layout !== undefined) checkLayers(`${operation} options.layers`, layers, layout);
    const parts = {
      handle: source.handle(operation),
      other: core.handle(operation),
      a: arg('registeredBatch', from.id(operation)),
      b: arg('mutableBatch', to.id(operation)),
    };
    if (from.length !== to.length)
      throw badArgument(
        new TypeError(`${operation} to: expected ${from.length} blocks, as in the source, got ${to.length}`),
      );
    signal?.throwIfAborted();
    const agent = agentBetween(operation, source, core);
    if (agent !== undefined)
      return await copyThroughNixl(agent, from.clone(), to, layers ?? [0, layerCount(core)], signal).catch(rethrow);
    to.detach();
    const args = layers === undefined ? undefined : packedBlockRange(layers[0], layers[1] - layers[0]);
    await invoke(native.blocksCopy, operation, { ...parts, args }, { signal }).catch(rethrow);
  }

  /** Number of blocks that an allocation can take. */
  get available(): number {
    return call(native.blocksAvailable, 'manager.available', { handle: this.core.handle('manager.available') });
  }

  /** The present counts. */
  statistics(): BlockStatistics {
    return statisticsOf(
      call(native.blocksStatistics, 'manager.statistics', { handle: this.core.handle('manager.statistics') }),
    );
  }

  /** Empties every inactive block. From then on lookups find only blocks with references; `held` counts them. */
  drainInactive(): { readonly drained: number; readonly held: number } {
    const operation = 'manager.drainInactive';
    const [drained, held] = words(call(native.blocksDrain, operation, { handle: this.core.handle(operation) }));
    return { drained: Number(drained), held: Number(held) };
  }

  /**
   * The changes of the manager's contents, made by any environment. Reading them does not keep the process alive. Needs
   * the option `events`. Tiers whose events are read should share one registry, because it passes a block's hashes from
   * tier to tier.
   */
  events(options: EventsOptions = {}): AsyncIterableIterator<BlockEvent> & AsyncDisposable {
    const operation = 'manager.events';
    EVENTS_OPTIONS.check(`${operation} options`, options);
    const { snapshot = false } = options;
    return eventStream(
      call(native.blocksEvents, operation, {
        handle: this.core.handle(operation),
        a: arg('hasSnapshot', snapshot ? 1 : 0),
      }),
      this.tier,
    );
  }

  /**
   * Registers the blocks' memory with a NIXL agent, once for each agent. Block `i` begins at byte `i * blockBytes` of
   * the returned region. The memory stays registered until the manager is disposed of and its transfers have ended. For
   * a storage of kind `region` the result is that region, and only its own agent is accepted.
   *
   * @throws TypeError if the manager has neither memory nor a region of the agent
   * @throws RangeError if its memory is larger than a view may be: 4 GiB in Node.js 20. A storage of kind `region` has
   * no such limit
   */
  registerWith(agent: NixlAgent): Promise<MemoryRegion> {
    checkInstance('manager.registerWith agent', agent, NixlAgent);
    return this.core.registerWith(agent);
  }

  /** Returns all blocks of this environment. Those of a copy in flight follow at its end. Idempotent. */
  dispose(): void {
    this.core.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function nameCount(operation: string, names: TokenSequence | LineageHashes): number {
  if (names instanceof TokenSequence) return names.blockCount;
  if (names instanceof LineageHashes) return names.length;
  wrongType(`${operation} names`, 'a TokenSequence or LineageHashes', names);
}
