import { randomUUID } from 'node:crypto';
import { pack, unpack } from '../addon/codec.js';
import { invoke, invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { checkArray, checkOneOf, checkString, checkStringMap, wrongType } from '../check.js';
import { ClosedError, DynamoError } from '../errors.js';
import {
  AGENT_OPTIONS,
  type AllocateOptions,
  CLOSE_OPTIONS,
  checkAgentName,
  METADATA_OPTIONS,
  type MetadataOptions,
  type NixlAgentOptions,
  type NixlCloseOptions,
  type NixlPlugin,
  type PeerAddress,
  peerAddress,
  type RegisterOptions,
} from './agent-options.js';
import { BlockList, type BlocksOptions, blocksOf, blocksOptions, transferParts } from './blocks.js';
import { completed, countInline, hasInlineTime, looks, MAX_INLINE_BYTES, MAX_INLINE_RUNS } from './inline.js';
import { loadNixl, type NixlLibrary } from './library.js';
import { checkedLimit, invokeOptions, type WaitLimit, withinLimit } from './limit.js';
import { MEMORY_TYPES, type MemoryRegion, type MemoryType } from './memory.js';
import { NotificationHub } from './notification-hub.js';
import { type NotificationOptions, Notifications } from './notifications.js';
import { NixlPeer, type RemoteMemory } from './peer.js';
import { pinned } from './pinned.js';
import {
  borrowedOf,
  type LocalMemory,
  planOf,
  refuseNotification,
  type TransferOperation,
  type TransferTarget,
} from './plan.js';
import { Regions, regionsPayload, unpinAtEnd } from './regions.js';
import type { MemorySource } from './register.js';
import {
  NO_OPTIONS,
  PREPARE_OPTIONS,
  PreparedTransfer,
  type PrepareOptions,
  postingOf,
  resultOf,
  TRANSFER_OPTIONS,
  type TransferOptions,
  type TransferResult,
  waitForTransfer,
} from './transfer.js';

/** What outlives a garbage-collected agent: the native agent must still be closed, and its buffers freed after that. */
interface Remains {
  readonly name: string;
  readonly handle: Handle<'nixlAgent'>;
  /** Ids of the regions with a buffer of the caller. */
  readonly pinning: Set<number>;
}

const collected = new FinalizationRegistry<Remains>(({ name, handle, pinning }) => {
  process.emitWarning(
    `the NIXL agent '${name}' was garbage-collected without close(); it is closed now`,
    'ResourceWarning',
  );
  unpinAtEnd(handle, pinning);
});

const release = (late: { release(): Promise<void> }): Promise<void> => late.release();

/**
 * Moves bytes between memories of this process and of peers, which may run Node.js, Python or C++. Each agent has a
 * thread that makes the library's calls. Many transfers can be in flight.
 *
 * @example
 * await using agent = await NixlAgent.create();
 * const blocks = await agent.allocate(1 << 20);
 * const peer = await agent.connect(metadata);
 * const { durationMs } = await agent.read(blocks, peer.memory(descriptor));
 */
export class NixlAgent implements AsyncDisposable {
  #handle: Handle<'nixlAgent'> | undefined;
  #self: NixlPeer | undefined;
  #closing: Promise<{ leaked: boolean }> | undefined;
  readonly #regions = new Regions();
  readonly #notifications = new NotificationHub(this);

  private constructor(
    readonly name: string,
    readonly library: NixlLibrary,
    handle: Handle<'nixlAgent'>,
  ) {
    this.#handle = handle;
    collected.register(this, { name, handle, pinning: this.#regions.pinning }, this);
  }

  /**
   * Creates an agent. Peers identify it by its name, which must be unique among them, not empty and without control
   * characters. Without a name it is a random UUID.
   */
  static create(options?: NixlAgentOptions): Promise<NixlAgent>;
  static create(name: string, options?: NixlAgentOptions): Promise<NixlAgent>;
  static async create(first: string | NixlAgentOptions = {}, second: NixlAgentOptions = {}): Promise<NixlAgent> {
    const operation = 'NixlAgent.create';
    const [name, options] = typeof first === 'object' ? [randomUUID(), first] : [first, second];
    checkAgentName(`${operation} name`, name);
    AGENT_OPTIONS.check(`${operation} options`, options);
    const {
      backends = { UCX: {} },
      progressDelayUs = 10_000,
      listenPort,
      telemetry = false,
      library = loadNixl(),
    } = options;
    const limit = invokeOptions(operation, options);
    const args = pack({ name, progressDelayUs, listenPort, telemetry });
    const handle = await invoke(native.nixlAgentCreate, operation, { handle: library.handle, args }, limit);
    const agent = new NixlAgent(name, library, handle);
    try {
      for (const [backend, params] of Object.entries(backends)) {
        await invoke(native.nixlAgentBackend, operation, { handle, args: pack({ name: backend, params }) }, limit);
      }
      agent.#self = NixlPeer.of(agent, await invoke(native.nixlAgentSelf, operation, { handle }));
      return agent;
    } catch (error) {
      await agent.close();
      throw error;
    }
  }

  get isOpen(): boolean {
    return this.#handle !== undefined;
  }

  /** The agent as its own peer: moves bytes within the agent, for example between memory and a file. */
  get self(): NixlPeer {
    return this.#self as NixlPeer;
  }

  /** The library's plugins. */
  async plugins(limit: WaitLimit = {}): Promise<NixlPlugin[]> {
    const operation = 'agent.plugins';
    const options = checkedLimit(operation, limit);
    const plugins = unpack(
      await invoke(native.nixlAgentPlugins, operation, { handle: this.handle(operation) }, options),
    ) as {
      name: string;
      loads: boolean;
      memories?: number[];
      params?: Record<string, string>;
    }[];
    return plugins.map(({ name, loads, memories = [], params = {} }) => ({
      name,
      loads,
      memories: memories.map((memory) => MEMORY_TYPES[memory]).filter((memory) => memory !== undefined),
      params,
    }));
  }

  /**
   * Adds a backend, once for each name. Peers need the new metadata after that. A limit ends the wait: the backend may
   * still be created later.
   */
  async createBackend(
    name: string,
    params: Readonly<Record<string, string>> = {},
    limit: WaitLimit = {},
  ): Promise<void> {
    const operation = 'agent.createBackend';
    checkString(`${operation} name`, name);
    checkStringMap(`${operation} params`, params);
    const options = checkedLimit(operation, limit);
    await invoke(
      native.nixlAgentBackend,
      operation,
      { handle: this.handle(operation), args: pack({ name, params }) },
      options,
    );
  }

  /** Allocates and registers zeroed memory. */
  allocate(bytes: number, options: AllocateOptions = {}): Promise<MemoryRegion> {
    return this.#regions.allocate(this, bytes, options);
  }

  /** Registers memory or a file of the caller. Peers need the new metadata to reach it. */
  register(source: MemorySource, options: RegisterOptions = {}): Promise<MemoryRegion> {
    return this.#regions.register(this, source, options);
  }

  /**
   * Registers many sources of one kind of memory in one call of the library, which is twenty times faster than one by
   * one. Does not accept files by path.
   */
  registerMany(sources: readonly MemorySource[], options: RegisterOptions = {}): Promise<MemoryRegion[]> {
    return this.#regions.registerMany(this, sources, options);
  }

  /**
   * What a peer needs to connect: the agent's connection, and the regions that are registered now or those of
   * `regions`. Any peer that has the metadata can read and write these regions: send it to trusted peers only.
   */
  async metadata(options: MetadataOptions = {}): Promise<Uint8Array> {
    const operation = 'agent.metadata';
    METADATA_OPTIONS.check(`${operation} options`, options);
    const limit = invokeOptions(operation, options);
    const handle = this.handle(operation);
    this.#regions.sweep();
    if (options.regions === undefined) return invoke(native.nixlAgentMetadata, operation, { handle }, limit);
    return invoke(
      native.nixlAgentPartialMetadata,
      operation,
      { handle, ...regionsPayload(`${operation} options.regions`, this, options.regions) },
      limit,
    );
  }

  /**
   * Adds a peer by its metadata. Newer metadata of a known peer adds its new regions.
   *
   * If the peer has restarted under its name, this waits up to a second for transfers in flight with the old one. It
   * then returns a peer of a higher generation. Damaged metadata is rejected with `nixl.metadata` and changes nothing.
   */
  async connect(metadata: Uint8Array, limit: WaitLimit = {}): Promise<NixlPeer> {
    const operation = 'agent.connect';
    if (!(metadata instanceof Uint8Array)) wrongType(`${operation} metadata`, 'a Uint8Array', metadata);
    const options = checkedLimit(operation, limit);
    return NixlPeer.of(
      this,
      await invoke(native.nixlAgentConnect, operation, { handle: this.handle(operation), payload: metadata }, options),
    );
  }

  /**
   * Sends the metadata to a peer that listens, or to etcd if there is no address. For etcd, NIXL_ETCD_ENDPOINTS must be
   * set before the agent is created. The library does not report whether the metadata arrived.
   */
  async sendMetadata(to?: PeerAddress, options: MetadataOptions = {}): Promise<void> {
    const operation = 'agent.sendMetadata';
    METADATA_OPTIONS.check(`${operation} options`, options);
    const limit = invokeOptions(operation, options);
    this.#regions.sweep();
    const part =
      options.regions === undefined ? {} : regionsPayload(`${operation} options.regions`, this, options.regions);
    const args = pack({ ...peerAddress(operation, to), partial: options.regions !== undefined });
    await invoke(native.nixlAgentSendMetadata, operation, { handle: this.handle(operation), args, ...part }, limit);
  }

  /**
   * Fetches the metadata of a peer that listens, or from etcd if there is no address. Waits until the metadata is
   * available: set a `timeoutMs`.
   */
  async fetch(name: string, from?: PeerAddress, limit: WaitLimit = {}): Promise<NixlPeer> {
    return this.#fetch('agent.fetch', name, { ...peerAddress('agent.fetch', from), accept: false }, limit);
  }

  /**
   * Waits until a peer of this name has sent its metadata to this agent's `listenPort`. Returns a known peer at once.
   * To wait for a restarted peer, disconnect the old one first: the library does not accept both.
   */
  async accept(name: string, limit: WaitLimit = {}): Promise<NixlPeer> {
    return this.#fetch('agent.accept', name, { accept: true }, limit);
  }

  async #fetch(operation: string, name: string, source: object, limit: WaitLimit): Promise<NixlPeer> {
    checkAgentName(`${operation} name`, name);
    const options = checkedLimit(operation, limit);
    return NixlPeer.of(
      this,
      await invoke(
        native.nixlAgentFetch,
        operation,
        { handle: this.handle(operation), args: pack({ name, ...source }) },
        options,
      ),
    );
  }

  /** Removes the metadata from etcd, or from a peer that listens. */
  async withdrawMetadata(from?: PeerAddress, limit: WaitLimit = {}): Promise<void> {
    const operation = 'agent.withdrawMetadata';
    const options = checkedLimit(operation, limit);
    await invoke(
      native.nixlAgentWithdrawMetadata,
      operation,
      { handle: this.handle(operation), args: pack(peerAddress(operation, from)) },
      options,
    );
  }

  /** Fills the local memory from the remote memory. */
  read(
    local: LocalMemory | readonly LocalMemory[],
    remote: TransferTarget | readonly TransferTarget[],
    options: TransferOptions = NO_OPTIONS,
  ): Promise<TransferResult> {
    return this.#transfer('agent.read', 'READ', local, remote, options);
  }

  /** Fills the remote memory from the local memory. */
  write(
    local: LocalMemory | readonly LocalMemory[],
    remote: TransferTarget | readonly TransferTarget[],
    options: TransferOptions = NO_OPTIONS,
  ): Promise<TransferResult> {
    return this.#transfer('agent.write', 'WRITE', local, remote, options);
  }

  /**
   * `read` or `write`, by name. Lists are paired item by item. A transfer has one peer, and one kind of memory on each
   * side.
   */
  transfer(
    operation: TransferOperation,
    local: LocalMemory | readonly LocalMemory[],
    remote: TransferTarget | readonly TransferTarget[],
    options: TransferOptions = NO_OPTIONS,
  ): Promise<TransferResult> {
    checkOneOf('agent.transfer operation', operation, ['READ', 'WRITE']);
    return this.#transfer('agent.transfer', operation, local, remote, options);
  }

  #transfer(
    operation: string,
    direction: TransferOperation,
    local: LocalMemory | readonly LocalMemory[],
    remote: TransferTarget | readonly TransferTarget[],
    options: TransferOptions,
  ): Promise<TransferResult> {
    try {
      const handle = this.handle(operation);
      const { limit, args, notifies, inline } = postingOf(operation, options, TRANSFER_OPTIONS);
      const { peer, kinds, payload, bytes, runs } = planOf(operation, this, direction, local, remote);
      if (limit.signal?.aborted === true) return Promise.reject(limit.signal.reason);
      if (notifies) refuseNotification(operation, kinds);
      if (inline && bytes <= MAX_INLINE_BYTES && runs <= MAX_INLINE_RUNS && hasInlineTime()) {
        const small = { handle, other: peer.handle, args, a: kinds, b: looks(), payload };
        const done = invokeSync(native.nixlTransferRun, operation, small);
        if (typeof done === 'number') {
          countInline(done);
          return completed(resultOf(bytes, done));
        }
        if (done !== undefined) {
          countInline();
          return waitForTransfer(operation, done, bytes, limit);
        }
      }
      const parts = { handle, other: peer.handle, a: kinds, args, payload };
      return invoke(native.nixlTransferStart, operation, parts, limit).then((nanoseconds) =>
        resultOf(bytes, nanoseconds),
      );
    } catch (error) {
      return rejected(error);
    }
  }

  /** Prepares a transfer that can be posted many times. */
  async prepare(
    operation: TransferOperation,
    local: LocalMemory | readonly LocalMemory[],
    remote: TransferTarget | readonly TransferTarget[],
    options: PrepareOptions = NO_OPTIONS,
  ): Promise<PreparedTransfer> {
    const path = 'agent.prepare';
    checkOneOf(`${path} operation`, operation, ['READ', 'WRITE']);
    const handle = this.handle(path);
    const { args, limit } = postingOf(path, options, PREPARE_OPTIONS);
    const { peer, kinds, payload } = planOf(path, this, operation, local, remote);
    const borrowed = borrowedOf(local, remote);
    const parts = { handle, other: peer.handle, a: kinds, args, payload };
    return withinLimit(
      limit,
      async () => PreparedTransfer.of(this, await invoke(native.nixlTransferPrepare, path, parts), borrowed),
      release,
    );
  }

  /**
   * Looks up memory once, so that transfers can name thousands of its blocks by index. Each item is cut into blocks of
   * `blockBytes`, which may lie `stride` bytes apart; a number as options is `blockBytes`. The blocks are numbered
   * through all items. All memory belongs to this agent, or to one peer. At most 4,194,304 blocks.
   *
   * @example
   * // The second of four heads of each block.
   * const head = await agent.blocks(region, { blockBytes: 4096, stride: 4 * 4096, offset: 4096 });
   */
  async blocks(
    memory: LocalMemory | RemoteMemory | readonly LocalMemory[] | readonly RemoteMemory[],
    options: number | BlocksOptions = {},
  ): Promise<BlockList> {
    const operation = 'agent.blocks';
    const given = blocksOptions(operation, options);
    const handle = this.handle(operation);
    const { peer, memory: a, payload, sizes, count } = blocksOf(operation, this, memory, given);
    const borrowed = borrowedOf(memory);
    const parts = { handle, other: peer?.handle, a, payload };
    return withinLimit(
      invokeOptions(operation, given),
      async () =>
        new BlockList(this, peer, sizes, count, await invoke(native.nixlBlocksPrepare, operation, parts), borrowed),
      release,
    );
  }

  /**
   * Moves local block `localIndices[i]` from or to remote block `remoteIndices[i]`. One call can move thousands of
   * blocks.
   *
   * @example
   * const mine = await agent.blocks(region, 64 * 1024);
   * const theirs = await agent.blocks(peer.memory(descriptor), 64 * 1024);
   * await agent.transferBlocks('READ', mine, Int32Array.of(0, 1, 2), theirs, Int32Array.of(7, 3, 9));
   */
  async transferBlocks(
    operation: TransferOperation,
    local: BlockList,
    localIndices: Int32Array,
    remote: BlockList,
    remoteIndices: Int32Array,
    options: TransferOptions = NO_OPTIONS,
  ): Promise<TransferResult> {
    const path = 'agent.transferBlocks';
    const { limit, args } = postingOf(path, options, TRANSFER_OPTIONS);
    const parts = transferParts(path, this, operation, local, localIndices, remote, remoteIndices);
    return resultOf(local.bytesOf(localIndices), await invoke(native.nixlBlocksStart, path, { ...parts, args }, limit));
  }

  /** Prepares a transfer of blocks that can be posted many times. */
  async prepareBlocks(
    operation: TransferOperation,
    local: BlockList,
    localIndices: Int32Array,
    remote: BlockList,
    remoteIndices: Int32Array,
    options: PrepareOptions = NO_OPTIONS,
  ): Promise<PreparedTransfer> {
    const path = 'agent.prepareBlocks';
    const { args, limit } = postingOf(path, options, PREPARE_OPTIONS);
    const parts = { ...transferParts(path, this, operation, local, localIndices, remote, remoteIndices), args };
    const borrowed = [...local.borrowed, ...remote.borrowed];
    return withinLimit(
      limit,
      async () => PreparedTransfer.of(this, await invoke(native.nixlBlocksTransfer, path, parts), borrowed),
      release,
    );
  }

  /**
   * The messages that peers send. Each goes to every open reader whose filter accepts it. The others go to the reader
   * without a filter; a second such reader fails with `nixl.notifications_read`.
   *
   * Messages stay in the library while no read waits. Of those that no filter accepts, the last 1024 (at most 16 MiB)
   * wait for a reader without a filter, or for a later filter that accepts them.
   *
   * @example
   * await using heartbeats = agent.notifications({ prefix: 'HB:' });
   * for await (const { from } of heartbeats) console.log(`${from} lives`);
   */
  notifications(options: NotificationOptions = {}): Notifications {
    this.handle('agent.notifications');
    return new Notifications(this.#notifications, options);
  }

  /**
   * Queries a backend about files or objects by their path or key. Returns its answer for each key, or null. POSIX
   * returns size, mode and mtime.
   */
  async queryMemory(
    memory: MemoryType,
    keys: readonly string[],
    backend: string,
    limit: WaitLimit = {},
  ): Promise<(Readonly<Record<string, string>> | null)[]> {
    const operation = 'agent.queryMemory';
    const options = checkedLimit(operation, limit);
    checkOneOf(`${operation} memory`, memory, MEMORY_TYPES);
    checkString(`${operation} backend`, backend);
    checkArray(`${operation} keys`, keys, 'strings');
    for (const [index, key] of keys.entries()) checkString(`${operation} keys[${index}]`, key);
    const args = pack({ backend, memory: MEMORY_TYPES.indexOf(memory), metas: keys });
    return unpack(
      await invoke(native.nixlAgentQuery, operation, { handle: this.handle(operation), args }, options),
    ) as (Record<string, string> | null)[];
  }

  /**
   * Closes the agent. Calls in flight fail with `DYN_CLOSED` at once. Then the close waits until the library no longer
   * uses the memory, releases every region, and ends the agent.
   *
   * If that takes longer than `timeoutMs`, `leaked` is true: the close continues in the background, and the memory
   * stays allocated until then. Idempotent.
   */
  close(options: NixlCloseOptions = {}): Promise<{ leaked: boolean }> {
    CLOSE_OPTIONS.check('agent.close options', options);
    this.#closing ??= this.#close(options.timeoutMs ?? 5000);
    return this.#closing;
  }

  async #close(timeoutMs: number): Promise<{ leaked: boolean }> {
    const handle = this.handle('agent.close');
    this.#handle = undefined;
    collected.unregister(this);
    const { pinning } = this.#regions;
    this.#regions.end();
    const late = new Error('late');
    try {
      await invoke(
        native.nixlAgentClose,
        'agent.close',
        { handle },
        { deadline: { ms: timeoutMs, error: () => late } },
      );
      for (const id of pinning) pinned.delete(id);
      return { leaked: false };
    } catch (error) {
      if (error !== late) throw error;
      unpinAtEnd(handle, pinning);
      return { leaked: true };
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** @internal Called when a region is released. */
  forget(region: MemoryRegion): void {
    this.#regions.forget(region);
  }

  /** @internal The handle. @throws ClosedError after the close */
  handle(operation: string): Handle<'nixlAgent'> {
    if (this.#handle === undefined) throw new ClosedError(`the agent '${this.name}'`, operation);
    return this.#handle;
  }
}

/** Wrong arguments throw at once. Every other failure rejects. */
function rejected(error: unknown): Promise<never> {
  if (DynamoError.is(error)) return Promise.reject(error);
  throw error;
}
