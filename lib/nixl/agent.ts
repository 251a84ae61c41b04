import { pack, unpack } from '../addon/codec.js';
import { invoke, invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import {
  checkArray,
  checkInteger,
  checkOneOf,
  checkOptions,
  checkString,
  checkStringMap,
  wrongType,
} from '../check.js';
import { ClosedError, DynamoError } from '../errors.js';
import {
  type AllocateOptions,
  addressOf,
  type MetadataOptions,
  type NixlAgentOptions,
  type NixlPlugin,
  type PeerAddress,
  type RegisterOptions,
} from './agent-options.js';
import { BlockList, blocksOf, transferParts } from './blocks.js';
import { loadNixl, NixlLibrary } from './library.js';
import { LIMIT, limited, onlyLimited, type WaitLimit, waited } from './limit.js';
import { MEMORY_TYPES, type MemoryRegion, type MemoryType } from './memory.js';
import { type NotificationOptions, Notifications } from './notifications.js';
import { NixlPeer, type RemoteMemory } from './peer.js';
import { pinned } from './pinned.js';
import { type LocalMemory, planOf, refuseNotification, type TransferOperation, type TransferTarget } from './plan.js';
import { Regions, regionsPayload, unpinAtEnd } from './regions.js';
import type { MemorySource } from './register.js';
import {
  INLINE_BYTES,
  NO_OPTIONS,
  PreparedTransfer,
  type PrepareOptions,
  postingOf,
  resultOf,
  type TransferOptions,
  type TransferResult,
  waitFor,
} from './transfer.js';

const CREATE = ['library', 'backends', 'progressDelayUs', 'listenPort', 'telemetry', 'signal', 'timeoutMs'];

/** What outlives an agent that is collected: its end must still be asked for, and its buffers freed behind it. */
interface Remains {
  readonly name: string;
  readonly handle: Handle;
  /** Of the regions that keep a buffer of the user's. */
  readonly pinning: Set<number>;
}

const collected = new FinalizationRegistry<Remains>(({ name, handle, pinning }) => {
  process.emitWarning(`the NIXL agent '${name}' was collected without close(); it is closed now`, 'ResourceWarning');
  unpinAtEnd(handle, pinning);
});

const release = (made: { release(): Promise<void> }): Promise<void> => made.release();

/**
 * Moves bytes between memories of this machine and of peers, in Node, Python or C++. One thread of its own makes the calls
 * of the library; many transfers may be under way.
 *
 * @example
 * await using agent = await NixlAgent.create('decode-0');
 * const blocks = await agent.allocate(1 << 20);
 * const peer = await agent.connect(metadata);
 * const { durationMs } = await agent.read(blocks, peer.memory(descriptor));
 */
export class NixlAgent implements AsyncDisposable {
  #handle: Handle | undefined;
  #self: NixlPeer | undefined;
  #closing: Promise<{ leaked: boolean }> | undefined;
  readonly #regions = new Regions();

  private constructor(
    readonly name: string,
    readonly library: NixlLibrary,
    handle: Handle,
  ) {
    this.#handle = handle;
    collected.register(this, { name, handle, pinning: this.#regions.pinning }, this);
  }

  /** Makes an agent. Peers know it by its name, which must be its own. */
  static async create(name: string, options: NixlAgentOptions = {}): Promise<NixlAgent> {
    const operation = 'NixlAgent.create';
    const path = `${operation} options`;
    checkString(`${operation} name`, name);
    if (name === '' || name.includes('\0'))
      throw new RangeError(`${operation} name: expected a name, got ${JSON.stringify(name)}`);
    checkOptions(path, options, CREATE);
    const {
      backends = { UCX: {} },
      progressDelayUs = 10_000,
      listenPort,
      telemetry = false,
      library = loadNixl(),
    } = options;
    if (!(library instanceof NixlLibrary)) wrongType(`${path}.library`, 'what loadNixl gave', library);
    checkInteger(`${path}.progressDelayUs`, progressDelayUs, 1000);
    if (listenPort !== undefined) checkInteger(`${path}.listenPort`, listenPort, 1, 65535);
    checkOptions(`${path}.backends`, backends, Object.keys(backends));
    for (const [backend, params] of Object.entries(backends)) checkStringMap(`${path}.backends.${backend}`, params);
    const limit = limited(operation, options);
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

  /** The agent as its own peer: to move bytes within it, such as between memory and a file, or to notify itself. */
  get self(): NixlPeer {
    return this.#self as NixlPeer;
  }

  /** The library's plugins. */
  async plugins(limit: WaitLimit = {}): Promise<NixlPlugin[]> {
    const operation = 'agent.plugins';
    const plugins = unpack(
      await invoke(native.nixlAgentPlugins, operation, { handle: this.open(operation) }, onlyLimited(operation, limit)),
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

  /** Adds a backend; once for each name. Peers need the metadata anew. A limit ends the wait: the backend may come later. */
  async createBackend(
    name: string,
    params: Readonly<Record<string, string>> = {},
    limit: WaitLimit = {},
  ): Promise<void> {
    const operation = 'agent.createBackend';
    checkString(`${operation} name`, name);
    checkStringMap(`${operation} params`, params);
    const options = onlyLimited(operation, limit);
    await invoke(
      native.nixlAgentBackend,
      operation,
      { handle: this.open(operation), args: pack({ name, params }) },
      options,
    );
  }

  /** Zeroed memory, registered. */
  allocate(bytes: number, options: AllocateOptions = {}): Promise<MemoryRegion> {
    return this.#regions.allocate(this, bytes, options);
  }

  /** Registers memory or a file of the caller's. Peers need the metadata anew to reach it. */
  register(source: MemorySource, options: RegisterOptions = {}): Promise<MemoryRegion> {
    return this.#regions.register(this, source, options);
  }

  /** Registers many of one kind in one call of the library, which is twenty times faster than one by one. Files by path are not among them. */
  registerMany(sources: readonly MemorySource[], options: RegisterOptions = {}): Promise<MemoryRegion[]> {
    return this.#regions.registerMany(this, sources, options);
  }

  /**
   * What a peer needs to connect: how this agent is reached and, unless `regions` names some of one kind, all regions that
   * are registered now. Who has it can read and write them: hand it to nobody else.
   */
  async metadata(options: MetadataOptions = {}): Promise<Uint8Array> {
    const operation = 'agent.metadata';
    checkOptions(`${operation} options`, options, ['regions', ...LIMIT]);
    const limit = limited(operation, options);
    const handle = this.open(operation);
    if (options.regions === undefined) return invoke(native.nixlAgentMetadata, operation, { handle }, limit);
    return invoke(
      native.nixlAgentPartialMetadata,
      operation,
      { handle, ...regionsPayload(`${operation} options.regions`, this, options.regions) },
      limit,
    );
  }

  /**
   * Gets to know a peer by its metadata; again with newer metadata it learns of its new regions. For a peer that was started
   * anew under its name it waits up to a second for what is under way with the old one, and gives a peer of a higher
   * generation. Damaged metadata is refused with `nixl.metadata` and changes nothing.
   */
  async connect(metadata: Uint8Array, limit: WaitLimit = {}): Promise<NixlPeer> {
    const operation = 'agent.connect';
    if (!(metadata instanceof Uint8Array)) wrongType(`${operation} metadata`, 'a Uint8Array', metadata);
    const options = onlyLimited(operation, limit);
    return NixlPeer.of(
      this,
      await invoke(native.nixlAgentConnect, operation, { handle: this.open(operation), payload: metadata }, options),
    );
  }

  /**
   * Sends the metadata to a listening peer, or to etcd where there is no address (NIXL_ETCD_ENDPOINTS must have been set
   * when the agent was created). The library does not tell whether it arrived.
   */
  async sendMetadata(to?: PeerAddress, options: MetadataOptions = {}): Promise<void> {
    const operation = 'agent.sendMetadata';
    checkOptions(`${operation} options`, options, ['regions', ...LIMIT]);
    const limit = limited(operation, options);
    const part =
      options.regions === undefined ? {} : regionsPayload(`${operation} options.regions`, this, options.regions);
    const args = pack({ ...addressOf(operation, to), partial: options.regions !== undefined });
    await invoke(native.nixlAgentSendMetadata, operation, { handle: this.open(operation), args, ...part }, limit);
  }

  /** Gets a peer's metadata from where it listens, or from etcd. It waits until it is there: give it a limit. */
  async fetch(name: string, from?: PeerAddress, limit: WaitLimit = {}): Promise<NixlPeer> {
    return this.#fetch('agent.fetch', name, { ...addressOf('agent.fetch', from), accept: false }, limit);
  }

  /**
   * Waits until a peer of this name has sent its metadata to this agent's `listenPort`. One that is known is given at once:
   * disconnect it first to wait for a peer that was started anew, which the library would not take while it knows the old.
   */
  async accept(name: string, limit: WaitLimit = {}): Promise<NixlPeer> {
    return this.#fetch('agent.accept', name, { accept: true }, limit);
  }

  async #fetch(operation: string, name: string, how: object, limit: WaitLimit): Promise<NixlPeer> {
    checkString(`${operation} name`, name);
    const options = onlyLimited(operation, limit);
    return NixlPeer.of(
      this,
      await invoke(
        native.nixlAgentFetch,
        operation,
        { handle: this.open(operation), args: pack({ name, ...how }) },
        options,
      ),
    );
  }

  /** Takes the metadata back from etcd, or from a listening peer. */
  async withdrawMetadata(from?: PeerAddress, limit: WaitLimit = {}): Promise<void> {
    const operation = 'agent.withdrawMetadata';
    const options = onlyLimited(operation, limit);
    await invoke(
      native.nixlAgentWithdrawMetadata,
      operation,
      { handle: this.open(operation), args: pack(addressOf(operation, from)) },
      options,
    );
  }

  /** Fills the local memory from the other. */
  read(
    local: LocalMemory | readonly LocalMemory[],
    remote: TransferTarget | readonly TransferTarget[],
    options: TransferOptions = NO_OPTIONS,
  ): Promise<TransferResult> {
    return this.#transfer('agent.read', 'READ', local, remote, options);
  }

  /** Fills the other memory from the local one. */
  write(
    local: LocalMemory | readonly LocalMemory[],
    remote: TransferTarget | readonly TransferTarget[],
    options: TransferOptions = NO_OPTIONS,
  ): Promise<TransferResult> {
    return this.#transfer('agent.write', 'WRITE', local, remote, options);
  }

  /** `read` or `write`. With lists, run by run; a transfer has one peer and one kind of memory on each side. */
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
      const handle = this.open(operation);
      const { limit, args, notifies, inline } = postingOf(operation, options);
      const { peer, kinds, payload, bytes, runs } = planOf(operation, this, direction, local, remote);
      if (limit.signal?.aborted === true) return Promise.reject(limit.signal.reason);
      if (notifies) refuseNotification(operation, kinds);
      if (inline && bytes <= INLINE_BYTES && runs <= 16) {
        const done = invokeSync(native.nixlTransferRun, operation, { handle, other: peer.handle, a: kinds, payload });
        if (typeof done === 'number') return Promise.resolve(resultOf(bytes, done));
        if (done !== undefined) return waitFor(operation, done, bytes, limit);
      }
      const parts = { handle, other: peer.handle, a: kinds, args, payload };
      return invoke(native.nixlTransferStart, operation, parts, limit).then((nanoseconds) =>
        resultOf(bytes, nanoseconds),
      );
    } catch (error) {
      return rejected(error);
    }
  }

  /** Makes a transfer that can be posted many times. */
  async prepare(
    operation: TransferOperation,
    local: LocalMemory | readonly LocalMemory[],
    remote: TransferTarget | readonly TransferTarget[],
    options: PrepareOptions = NO_OPTIONS,
  ): Promise<PreparedTransfer> {
    const path = 'agent.prepare';
    checkOneOf(`${path} operation`, operation, ['READ', 'WRITE']);
    const handle = this.open(path);
    const { args, limit } = postingOf(path, options);
    const { peer, kinds, payload } = planOf(path, this, operation, local, remote);
    const parts = { handle, other: peer.handle, a: kinds, args, payload };
    return waited(
      limit,
      async () => PreparedTransfer.of(this, await invoke(native.nixlTransferPrepare, path, parts)),
      release,
    );
  }

  /**
   * Looks memory up once, so that thousands of blocks of it can be named by index. Each run is cut into blocks of
   * `blockBytes`, or is one block where that is left out. All of this agent, or all of one peer.
   */
  async blocks(
    memory: LocalMemory | RemoteMemory | readonly LocalMemory[] | readonly RemoteMemory[],
    blockBytes?: number,
    limit: WaitLimit = {},
  ): Promise<BlockList> {
    const operation = 'agent.blocks';
    const options = onlyLimited(operation, limit);
    const handle = this.open(operation);
    const { peer, kinds, payload, sizes, count } = blocksOf(operation, this, memory, blockBytes);
    const parts = { handle, other: peer?.handle, a: kinds, payload };
    return waited(
      options,
      async () => new BlockList(this, peer, sizes, count, await invoke(native.nixlBlocksPrepare, operation, parts)),
      release,
    );
  }

  /**
   * Moves local block `localIndices[i]` from or to remote block `remoteIndices[i]`, thousands in one call.
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
    const { limit, args } = postingOf(path, options);
    const parts = transferParts(path, this, operation, local, localIndices, remote, remoteIndices);
    return resultOf(local.bytesOf(localIndices), await invoke(native.nixlBlocksStart, path, { ...parts, args }, limit));
  }

  /** Makes a transfer of blocks that can be posted many times. */
  async prepareBlocks(
    operation: TransferOperation,
    local: BlockList,
    localIndices: Int32Array,
    remote: BlockList,
    remoteIndices: Int32Array,
    options: PrepareOptions = NO_OPTIONS,
  ): Promise<PreparedTransfer> {
    const path = 'agent.prepareBlocks';
    const { args, limit } = postingOf(path, options);
    const parts = { ...transferParts(path, this, operation, local, localIndices, remote, remoteIndices), args };
    return waited(
      limit,
      async () => PreparedTransfer.of(this, await invoke(native.nixlBlocksTransfer, path, parts)),
      release,
    );
  }

  /** The messages that peers send. One reader at a time: a second fails with `nixl.notifications_read`. */
  notifications(options: NotificationOptions = {}): Notifications {
    this.open('agent.notifications');
    return new Notifications(this, options);
  }

  /** What a backend knows of files or objects by their path or key: its answer for each, or null. POSIX tells size, mode and mtime. */
  async queryMemory(
    memory: MemoryType,
    keys: readonly string[],
    backend: string,
    limit: WaitLimit = {},
  ): Promise<(Readonly<Record<string, string>> | null)[]> {
    const operation = 'agent.queryMemory';
    const options = onlyLimited(operation, limit);
    checkOneOf(`${operation} memory`, memory, MEMORY_TYPES);
    checkString(`${operation} backend`, backend);
    checkArray(`${operation} keys`, keys, 'strings');
    for (const [index, key] of keys.entries()) checkString(`${operation} keys[${index}]`, key);
    const args = pack({ backend, memory: MEMORY_TYPES.indexOf(memory), metas: keys });
    return unpack(
      await invoke(native.nixlAgentQuery, operation, { handle: this.open(operation), args }, options),
    ) as (Record<string, string> | null)[];
  }

  /**
   * Ends the agent. What is under way fails with `DYN_CLOSED` at once; then it waits for the library to be done with the
   * memory, takes back every region, and ends. `leaked` tells that this was not so within the deadline: it goes on in the
   * background, and what it holds stays until then. Idempotent.
   */
  close(options: { /** @default 5000 */ readonly deadlineMs?: number } = {}): Promise<{ leaked: boolean }> {
    checkOptions('agent.close options', options, ['deadlineMs']);
    const { deadlineMs = 5000 } = options;
    checkInteger('agent.close options.deadlineMs', deadlineMs, 1, 2 ** 31 - 1);
    this.#closing ??= this.#close(deadlineMs);
    return this.#closing;
  }

  async #close(deadlineMs: number): Promise<{ leaked: boolean }> {
    const handle = this.open('agent.close');
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
        { deadline: { ms: deadlineMs, error: () => late } },
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

  /** @internal A region that is released is the agent's no more. */
  forget(region: MemoryRegion): void {
    this.#regions.forget(region);
  }

  /** @internal The handle; throws where it is closed. */
  open(operation: string): Handle {
    if (this.#handle === undefined) throw new ClosedError(`the agent '${this.name}'`, operation);
    return this.#handle;
  }
}

/** Wrong arguments are thrown at once, all else rejects. */
function rejected(error: unknown): Promise<never> {
  if (DynamoError.is(error)) return Promise.reject(error);
  throw error;
}
