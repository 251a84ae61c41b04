import { randomUUID } from 'node:crypto';
import { ClosedError, NixlError } from '../errors.js';
import type { RegisteredBlocks } from '../kvbm/blocks.js';
import type { Tokens } from '../kvbm/sequence.js';
import { NixlAgent } from '../nixl/agent.js';
import { tokenWords } from '../words.js';
import { BlockIndex, type KnownBlock, type PromptIdentity } from './block-index.js';
import { VllmError } from './errors.js';
import type { VllmKvEvent } from './kv-events.js';
import type { VllmAgentMetadata } from './metadata.js';
import { noticeFrom } from './notices.js';
import { Offers, type VllmOffer } from './offers.js';
import type { VllmPeer } from './peer.js';
import { SideChannel } from './side-channel.js';
import { StoreMemory } from './store-memory.js';
import {
  IDENTITY_OPTIONS,
  KEEP_OPTIONS,
  type KeepOptions,
  type KeptBlocks,
  type StoredKv,
  storeSettings,
  type VllmKvStoreOptions,
  type VllmKvStoreStatistics,
  WORKER_OPTIONS,
  type WorkerAddress,
} from './store-options.js';
import { StorePeers } from './store-peers.js';
import { logicalBlockBytes, logicalBlockSize, metadataOf, type VllmStoreShape } from './store-shape.js';
import { checkTransferParams, type VllmTransferParams } from './transfer-params.js';

/** The fewest tokens of a partial hit: vLLM computes fewer by itself (`kv_recompute_threshold`). */
const MIN_PARTIAL_TOKENS = 64;
/** Blocks that are known but not stored, for each block of the store. */
const INDEX_FACTOR = 4;

/**
 * A store of KV cache blocks for vLLM workers, in this process. It reads the blocks of a prompt from the worker that
 * computed them, and offers them to any worker later: with the first token from the store, also to one that has just
 * started. Workers read them with NIXL out of the blocks of a `BlockManager`.
 *
 * @example
 * import { askSideChannel, KEEP_BLOCKS, shapeOf, VllmKvStore } from 'dynamo-node/vllm';
 *
 * const shape = shapeOf(await askSideChannel({ host: '127.0.0.1', port: 5600 }));
 * await using store = await VllmKvStore.create({ shape, blockCount: 4096 });
 * const offer = await store.offer(promptTokens);
 * const params = offer?.params ?? KEEP_BLOCKS; // `kv_transfer_params` of the request to a worker
 * await store.keep(promptTokens, options.kv_transfer_params); // those of its answer
 */
export class VllmKvStore implements AsyncDisposable {
  readonly #index: BlockIndex;
  readonly #offers: Offers;
  readonly #peers: StorePeers;
  readonly #counts = {
    queries: 0,
    queriedTokens: 0,
    wholeHits: 0,
    partialHits: 0,
    hitTokens: 0,
    keptBlocks: 0,
    keptBytes: 0,
    readBytes: 0,
    exhausted: 0,
    unplacedEvents: 0,
  };
  #requests = 0;
  #eventWaiters: (() => void)[] = [];
  #closing: Promise<void> | undefined;

  private constructor(
    private readonly agent: NixlAgent,
    private readonly memory: StoreMemory,
    /** What workers learn about the store. */
    readonly metadata: VllmAgentMetadata,
    readonly sideChannel: SideChannel,
    readonly shape: VllmStoreShape,
    private readonly settings: ReturnType<typeof storeSettings>,
  ) {
    this.#index = new BlockIndex(this.blockSize);
    this.#offers = new Offers(settings.leaseMs);
    this.#peers = new StorePeers(agent, shape, settings.connectTimeoutMs);
    this.#readNotices().catch((error: unknown) => {
      if (this.#closing !== undefined) return;
      const message = `the KV store no longer hears its readers, so offers end with their leases: ${String(error)}`;
      process.emitWarning(message, { code: 'DYN_KV_STORE' });
    });
  }

  /** Allocates the memory and starts to listen. Each start has its own engine id and agent name. */
  static async create(options: VllmKvStoreOptions): Promise<VllmKvStore> {
    const settings = storeSettings('VllmKvStore.create options', options);
    const { shape } = options;
    const agent = await NixlAgent.create(`dynamo-node-${randomUUID()}`, settings.agent);
    let memory: StoreMemory | undefined;
    try {
      memory = await StoreMemory.create(agent, shape, settings);
      const { blockCount } = settings;
      const agentMetadata = await agent.metadata();
      const metadata = metadataOf(shape, { address: memory.region.address, blockCount, agentMetadata });
      const handshake = { compatibilityHash: shape.compatibilityHash, metadata };
      const sideChannel = await SideChannel.listen(() => handshake, settings.sideChannel);
      return new VllmKvStore(agent, memory, metadata, sideChannel, shape, settings);
    } catch (error) {
      await agent.close();
      await memory?.close();
      throw error;
    }
  }

  /** Tokens in a block. */
  get blockSize(): number {
    return logicalBlockSize(this.shape);
  }

  get engineId(): string {
    return this.metadata.engine_id;
  }

  async #readNotices(): Promise<void> {
    for await (const { data } of this.agent.notifications({ background: true })) {
      const notice = noticeFrom(data);
      if (notice !== undefined) this.#offers.notice(notice);
    }
  }

  /**
   * Connects to a worker before it prefills, and makes the first read of the connection. While a worker keeps blocks,
   * its side channel may take seconds to answer. `keep` connects by itself otherwise.
   *
   * @throws VllmError `vllm.unreachable`, `vllm.protocol`, `vllm.layout`
   * @throws DynamoError `DYN_DEADLINE_EXCEEDED` if the first read does not end within the store's `readTimeoutMs`
   */
  async connect(worker: WorkerAddress): Promise<VllmPeer> {
    const operation = 'store.connect';
    WORKER_OPTIONS.check(`${operation} worker`, worker);
    this.#assertOpen(operation);
    const peer = await this.#peers.connect(worker);
    await this.memory.warmUp(peer, this.settings.readTimeoutMs);
    return peer;
  }

  /** Adds what a worker's KV event says about the hashes of its blocks. */
  applyEvent(event: VllmKvEvent): void {
    if (!this.#index.apply(event)) this.#counts.unplacedEvents += 1;
    const waiters = this.#eventWaiters;
    this.#eventWaiters = [];
    for (const wake of waiters) wake();
    this.#prune();
  }

  #prune(): void {
    this.#index.prune(INDEX_FACTOR * (this.settings.blockCount + this.settings.diskBlocks) + 1024, (blocks) =>
      this.memory.presence(blocks),
    );
  }

  /**
   * Offers what the store has of a prompt. The result's `params` are the `kv_transfer_params` of the request to a
   * worker. Undefined if the store has nothing that the worker could use, or `maxOffers` are open.
   */
  async offer(tokens: Tokens, identity: PromptIdentity = {}): Promise<VllmOffer | undefined> {
    const operation = 'store.offer';
    this.#assertOpen(operation);
    const prompt = tokenWords(`${operation} tokens`, tokens);
    IDENTITY_OPTIONS.check(`${operation} identity`, identity);
    this.#counts.queries += 1;
    this.#counts.queriedTokens += prompt.length;
    if (prompt.length === 0) return undefined;
    if (this.#offers.size >= this.settings.maxOffers) {
      this.#counts.exhausted += 1;
      return undefined;
    }
    const { blocks, count } = await this.#stored(prompt, identity);
    if (blocks === undefined) return undefined;
    // Other calls went on in the meantime.
    const isFull = this.#offers.size >= this.settings.maxOffers;
    if (isFull || this.#closing !== undefined) {
      blocks.dispose();
      this.#assertOpen(operation);
      this.#counts.exhausted += 1;
      return undefined;
    }
    const isWhole = count === prompt.length;
    if (!isWhole && (!this.settings.bidirectional || count < MIN_PARTIAL_TOKENS)) {
      blocks.dispose();
      return undefined;
    }
    this.#counts[isWhole ? 'wholeHits' : 'partialHits'] += 1;
    this.#counts.hitTokens += count;
    return this.#offered(blocks, isWhole ? 'whole' : 'partial', count);
  }

  #offered(blocks: RegisteredBlocks, kind: VllmOffer['kind'], tokens: number): VllmOffer {
    const requestId = `store-${++this.#requests}`;
    const bytes = blocks.length * logicalBlockBytes(this.shape);
    const params: VllmTransferParams = {
      do_remote_prefill: kind === 'whole',
      do_remote_decode: kind === 'partial',
      remote_block_ids: [[...blocks.ids]],
      remote_engine_id: this.engineId,
      remote_request_id: requestId,
      remote_host: this.settings.advertisedHost,
      remote_port: this.sideChannel.port,
      tp_size: 1,
      remote_num_tokens: tokens,
    };
    const ended = this.#offers.add(requestId, blocks).then((end) => {
      if (end === 'read') this.#counts.readBytes += bytes;
      return end;
    });
    return { params, kind, tokens, bytes, ended, withdraw: () => this.#offers.end(requestId, 'withdrawn') };
  }

  /** The stored blocks of the longest beginning of a prompt, and its tokens. */
  async #stored(
    prompt: Uint32Array,
    identity: PromptIdentity,
  ): Promise<{ blocks: RegisteredBlocks | undefined; count: number }> {
    const known = this.#index.find(prompt, identity);
    const blocks = await this.memory.find(known);
    const found = blocks?.length ?? 0;
    const count = found * this.blockSize;
    const rest = prompt.length - count;
    if (rest === 0 || rest >= this.blockSize) return { blocks, count };
    for (const tail of this.#index.findTail(prompt, known.slice(0, found), identity)) {
      const last = await this.memory.find([tail]);
      if (last === undefined) continue;
      if (blocks === undefined) return { blocks: last, count: prompt.length };
      blocks.join(last);
      return { blocks, count: prompt.length };
    }
    return { blocks, count };
  }

  /**
   * Stores the blocks that a worker keeps for a reader, and lets the worker free them. `params` are the
   * `kv_transfer_params` of its answer; `tokens` are those of the prompt and of the answer. Blocks that the store has
   * already are not read again. If there is too little space, it stores the first blocks only.
   *
   * @throws VllmError `vllm.params`, `vllm.unreachable`, `vllm.engine`, `vllm.layout`, `vllm.unsupported`,
   * `vllm.expired`
   * @throws DynamoError `DYN_DEADLINE_EXCEEDED` if the blocks are not read within `timeoutMs`
   */
  async keep(tokens: Tokens, params: unknown, options: KeepOptions = {}): Promise<KeptBlocks> {
    const operation = 'store.keep';
    this.#assertOpen(operation);
    KEEP_OPTIONS.check(`${operation} options`, options);
    const { blockSize } = this;
    const all = tokenWords(`${operation} tokens`, tokens);
    const checked = checkTransferParams(params, { blockSize });
    if ((checked.tp_size ?? 1) !== 1 || (checked.pp_size ?? 1) !== 1)
      throw new VllmError('vllm.unsupported', `${operation}: expected a worker with one rank, got several`);
    const peer = await this.#peers.of(checked);
    using _lease = peer.holdLease([checked.remote_request_id]);
    const [ids] = checked.remote_block_ids as [readonly number[]];
    const count = Math.min(checked.remote_num_tokens ?? all.length, all.length, ids.length * blockSize);
    const sequence = all.subarray(0, count);
    await this.#awaitEvents(sequence, options);
    const blocks = this.#index.define(sequence, options);
    const present = this.memory.presence(blocks);
    const missing = [...blocks.keys()].filter((position) => present[position] === 0);
    const target = this.memory.allocate(missing.length);
    const positions = missing.slice(0, target?.length ?? 0);
    if (positions.length < missing.length) this.#counts.exhausted += 1;
    if (target === undefined) await peer.release(checked.remote_request_id);
    else {
      const { timeoutMs = this.settings.readTimeoutMs, signal } = options;
      await this.memory.pull(peer, checked, positions, target, { timeoutMs, signal }).catch(async (error: unknown) => {
        if (error instanceof NixlError) await this.#peers.forget(peer);
        throw error;
      });
      this.memory.store(
        target,
        positions.map((position) => blocks[position] as KnownBlock),
      );
    }
    const bytes = positions.length * logicalBlockBytes(this.shape);
    this.#counts.keptBlocks += positions.length;
    this.#counts.keptBytes += bytes;
    this.#prune();
    return { tokens: count, blocks: blocks.length, stored: positions.length, bytes };
  }

  /** Waits until events have named the full blocks of a sequence, or the time is over. */
  async #awaitEvents(sequence: Uint32Array, identity: PromptIdentity): Promise<void> {
    const deadline = performance.now() + this.settings.eventWaitMs;
    const full = Math.floor(sequence.length / this.blockSize);
    for (;;) {
      const leftMs = deadline - performance.now();
      if (leftMs <= 0 || this.#index.find(sequence, identity).length >= full) return;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.#eventWaiters.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  /**
   * Stores blocks that this process has computed. `fill` writes each region of each kernel block that is not stored
   * yet; its bytes are zero or old. Returns false if there is too little space.
   *
   * @param fill receives the bytes, the region, and the tokens of the block: from `first` on, `count` of them
   */
  write(
    tokens: Tokens,
    fill: (
      bytes: Uint8Array,
      part: { readonly region: number; readonly first: number; readonly count: number },
    ) => void,
    identity: PromptIdentity = {},
  ): boolean {
    const operation = 'store.write';
    this.#assertOpen(operation);
    IDENTITY_OPTIONS.check(`${operation} identity`, identity);
    const sequence = tokenWords(`${operation} tokens`, tokens);
    const blocks = this.#index.define(sequence, identity);
    const present = this.memory.presence(blocks);
    const missing = [...blocks.keys()].filter((position) => present[position] === 0);
    if (missing.length === 0) return true;
    const target = this.memory.allocate(missing.length);
    if (target === undefined || target.length < missing.length) {
      target?.dispose();
      return false;
    }
    const { regions, blockBytes, kernelBlockSize, kernelBlocks } = this.shape;
    for (const [index, position] of missing.entries()) {
      const bytes = target.bytes(index);
      for (let unit = 0; unit < kernelBlocks * regions; unit++) {
        const first = position * this.blockSize + Math.floor(unit / regions) * kernelBlockSize;
        const count = Math.min(kernelBlockSize, sequence.length - first);
        if (count > 0)
          fill(bytes.subarray(unit * blockBytes, (unit + 1) * blockBytes), { region: unit % regions, first, count });
      }
    }
    this.memory.store(
      target,
      missing.map((position) => blocks[position] as KnownBlock),
    );
    this.#counts.keptBlocks += missing.length;
    return true;
  }

  /** What the store has of a prompt, for an engine of this process. Undefined if that is nothing. Dispose of it. */
  async read(tokens: Tokens, identity: PromptIdentity = {}): Promise<StoredKv | undefined> {
    const operation = 'store.read';
    this.#assertOpen(operation);
    IDENTITY_OPTIONS.check(`${operation} identity`, identity);
    const { blocks, count } = await this.#stored(tokenWords(`${operation} tokens`, tokens), identity);
    if (blocks === undefined) return undefined;
    const { regions, blockBytes, kernelBlockSize, kernelBlocks } = this.shape;
    return {
      tokens: count,
      part: (token, region) => {
        const kernel = Math.floor(token / kernelBlockSize);
        const unit = (kernel % kernelBlocks) * regions + region;
        return blocks.view(Math.floor(kernel / kernelBlocks)).subarray(unit * blockBytes, (unit + 1) * blockBytes);
      },
      [Symbol.dispose]: () => blocks.dispose(),
    };
  }

  /** Waits until the blocks that were stored until now are also in the file, if there is one. */
  flush(): Promise<void> {
    return this.memory.flush();
  }

  /** Counts since the start, and the present state. */
  statistics(): VllmKvStoreStatistics {
    const { queriedTokens, hitTokens } = this.#counts;
    return {
      ...this.#counts,
      hitRate: queriedTokens === 0 ? 0 : hitTokens / queriedTokens,
      openOffers: this.#offers.size,
      endedOffers: this.#offers.ends,
      knownBlocks: this.#index.size,
      namedBlocks: this.#index.named,
      quarantinedBlocks: this.memory.quarantined,
      blocks: this.memory.manager.statistics(),
      tiers: this.memory.tiers,
      sideChannel: this.sideChannel.statistics(),
    };
  }

  #assertOpen(operation: string): void {
    if (this.#closing !== undefined) throw new ClosedError('the KV store', operation);
  }

  /** Stops listening, disconnects, and frees the memory after the last transfer. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.sideChannel.close();
    await this.#peers.close();
    await this.agent.close();
    this.#offers.close();
    await this.memory.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
