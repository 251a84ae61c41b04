import { checkInstance, wrongType } from '../check.js';
import { badArgument, ClosedError } from '../errors.js';
import { NixlAgent } from '../nixl/agent.js';
import { BlockList } from '../nixl/blocks.js';
import type { MemoryType } from '../nixl/memory.js';
import type { NixlPeer } from '../nixl/peer.js';
import type { TransferResult } from '../nixl/transfer.js';
import { integer, listOf, milliseconds, nested, type OptionTable, optionTable, signal, text } from '../options.js';
import { VllmError } from './errors.js';
import { kernelBlocks, layoutOf, type VllmBlockLayout } from './layouts.js';
import type { VllmAgentMetadata } from './metadata.js';
import { heartbeatOf, readNoticeOf } from './notices.js';
import {
  type AskOptions,
  askSideChannel,
  perfCounter,
  RANK_OPTIONS,
  type SideChannelAnswer,
  type VllmRank,
} from './side-channel.js';
import { checkTransferParams, type VllmTransferParams } from './transfer-params.js';

/** Which worker is connected. */
export interface VllmPeerOptions {
  /** The side channel: `VLLM_NIXL_SIDE_CHANNEL_HOST`. */
  readonly host: string;
  /** `VLLM_NIXL_SIDE_CHANNEL_PORT`, plus the data-parallel rank. */
  readonly port: number;
  /** The engine that must answer. @default any */
  readonly engineId?: string;
  /** The rank whose memory is read. Other ranks than 0 need `ranks`. @default rank 0 */
  readonly rank?: VllmRank;
  /** The ranks that the worker has, as its parameters say. @default one of each kind */
  readonly ranks?: Pick<VllmTransferParams, 'tp_size' | 'pp_size'>;
  /** How long the worker may take to answer. @default 5000 */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

const RANKS: OptionTable<NonNullable<VllmPeerOptions['ranks']>> = optionTable<NonNullable<VllmPeerOptions['ranks']>>({
  tp_size: integer(1, 1024).about('Tensor-parallel ranks.').required(),
  pp_size: integer(1, 1024).about('Pipeline-parallel ranks.'),
});

const PEER_OPTIONS: OptionTable<VllmPeerOptions> = optionTable<VllmPeerOptions>({
  host: text.about('Host of the side channel.').required(),
  port: integer(1, 65535).about('Port of the side channel.').required(),
  engineId: text.about('The engine that must answer.'),
  rank: nested(RANK_OPTIONS).about('The rank whose memory is read.'),
  ranks: nested(RANKS).about('The ranks that the worker has.'),
  timeoutMs: milliseconds(1).about('How long the worker may take to answer.'),
  signal: signal.about('Ends the wait.'),
});

/** Where the blocks of a pull go: one index for each region of each kernel block. */
export interface PullTarget {
  readonly blocks: BlockList;
  /** First all kernel blocks of region 0, then those of region 1, and so on. */
  readonly indices: Int32Array;
}

/** How blocks are pulled. */
export interface VllmPullOptions {
  /** Positions in the list of block ids that are read. @default all of them */
  readonly positions?: readonly number[];
  /** How many readers take blocks of the request. The worker frees them after that many. @default 1 */
  readonly readers?: number;
}

const PULL_OPTIONS: OptionTable<VllmPullOptions> = optionTable<VllmPullOptions>({
  positions: listOf(integer(0), 'positions').about('Positions in the list of block ids that are read.'),
  readers: integer(1, 1024).about('How many readers take blocks of the request.'),
});

/** As often as vLLM sends them. */
const HEARTBEAT_MS = 5000;
/** A heartbeat extends vLLM's lease of 30 s by this time, in seconds. */
const EXTENSION = 20;

/** Heartbeats of one request without a gap. In seconds, see `perfCounter`. */
interface Beats {
  readonly since: number;
  readonly last: number;
}

/**
 * A vLLM worker whose KV memory this process reads. Connect before the prefill: while a worker keeps blocks, its side
 * channel may take seconds to answer.
 *
 * @example
 * import { VllmPeer } from 'dynamo-node/vllm';
 *
 * await using worker = await VllmPeer.connect(agent, { host: '127.0.0.1', port: 5600 });
 * const blocks = await agent.blocks(region, worker.metadata.block_lens[0]);
 * await worker.pull(options.kv_transfer_params, { blocks, indices: Int32Array.of(0, 1) });
 */
export class VllmPeer implements AsyncDisposable {
  readonly #beats = new Set<NodeJS.Timeout>();
  /** By request id. */
  readonly #sent = new Map<string, Beats>();
  #isOpen = true;

  private constructor(
    private readonly nixl: NixlPeer,
    private readonly blocks: BlockList,
    /** The address of the side channel. */
    readonly address: { readonly host: string; readonly port: number },
    private readonly answer: SideChannelAnswer,
  ) {}

  /**
   * Shakes hands with a worker, connects the agent to it, and looks up its blocks.
   *
   * @throws VllmError `vllm.unreachable`, `vllm.protocol`, `vllm.engine`, `vllm.layout`
   */
  static async connect(agent: NixlAgent, options: VllmPeerOptions): Promise<VllmPeer> {
    const operation = 'VllmPeer.connect';
    checkInstance(`${operation} agent`, agent, NixlAgent);
    PEER_OPTIONS.check(`${operation} options`, options);
    checkRank(`${operation} options.rank`, options);
    const { host, port, engineId, rank, timeoutMs, signal } = options;
    const question: AskOptions = {
      host,
      port,
      ...(rank && { rank }),
      ...(timeoutMs !== undefined && { timeoutMs }),
      ...(signal && { signal }),
    };
    const answer = await askSideChannel(question);
    const { metadata } = answer;
    if (engineId !== undefined && metadata.engine_id !== engineId)
      throw new VllmError(
        'vllm.engine',
        `${operation}: expected the engine ${engineId} at ${host}:${port}, got ${metadata.engine_id}`,
      );
    const cut = cutOf(metadata);
    const nixl = await agent.connect(metadata.agent_metadata, signal && { signal });
    try {
      const memories = metadata.kv_caches_base_addr.map((address, region) =>
        nixl.memory({
          address,
          bytes: (metadata.num_blocks - 1) * cut.stride + cut.blockBytes,
          memory: (metadata.region_mem_types?.[region] ?? 'DRAM') as MemoryType,
          device: metadata.device_id,
        }),
      );
      const blocks = await agent.blocks(memories, { ...cut, ...(signal && { signal }) });
      return new VllmPeer(nixl, blocks, { host, port }, answer);
    } catch (error) {
      await nixl.disconnect().catch(() => {});
      throw error;
    }
  }

  get engineId(): string {
    return this.metadata.engine_id;
  }

  get metadata(): VllmAgentMetadata {
    return this.answer.metadata;
  }

  get compatibilityHash(): string {
    return this.answer.compatibilityHash;
  }

  /** The layout of its blocks; undefined if this package does not know it. */
  get layout(): VllmBlockLayout | undefined {
    return layoutOf(this.metadata.attn_backend_name, this.metadata.kv_cache_layout);
  }

  /** Tokens in a logical block. */
  get blockSize(): number {
    return this.metadata.block_size * this.metadata.physical_blocks_per_logical_kv_block;
  }

  /** Logical blocks. */
  get blockCount(): number {
    return Math.floor(this.metadata.num_blocks / this.metadata.physical_blocks_per_logical_kv_block);
  }

  /**
   * Reads the blocks of a request that the worker keeps, and then notifies it, so that it frees them. The transfer
   * cannot be cancelled: keep the local memory until the promise settles.
   *
   * @throws VllmError `vllm.params`, `vllm.engine`; `vllm.expired` if the worker may have freed the blocks before the
   * read or during it: their bytes may then be those of another request
   */
  async pull(params: VllmTransferParams, target: PullTarget, options: VllmPullOptions = {}): Promise<TransferResult> {
    const operation = 'peer.pull';
    this.#assertOpen(operation);
    PULL_OPTIONS.check(`${operation} options`, options);
    checkInstance(`${operation} target.blocks`, target.blocks, BlockList);
    const { readers = 1 } = options;
    const checked = checkTransferParams(params, { blockSize: this.blockSize, blockCount: this.blockCount });
    this.#assertEngine(operation, checked);
    this.#assertHeld(operation, checked);
    const [all] = checked.remote_block_ids as [readonly number[]];
    const ids = (options.positions ?? [...all.keys()]).map((position) => all[position] as number);
    if (ids.includes(undefined as unknown as number))
      throw badArgument(new RangeError(`${operation} options.positions: expected 0 to ${all.length - 1}, got more`));
    const remote = this.#indicesOf(ids);
    if (!(target.indices instanceof Int32Array))
      wrongType(`${operation} target.indices`, 'an Int32Array', target.indices);
    const result = await this.blocks.agent.transferBlocks('READ', target.blocks, target.indices, this.blocks, remote, {
      notify: readNoticeOf(checked.remote_request_id, readers),
    });
    this.#assertHeld(operation, checked);
    return result;
  }

  /**
   * Reads one block of the worker, whatever it contains, into a local block: the first read of a connection takes much
   * longer than later ones.
   */
  async warmUp(blocks: BlockList, index: number): Promise<void> {
    this.#assertOpen('peer.warmUp');
    await this.blocks.agent.transferBlocks('READ', blocks, Int32Array.of(index), this.blocks, Int32Array.of(0));
  }

  /** Indices in the list of all blocks: those of region 0, then those of region 1, and so on. */
  #indicesOf(logicalIds: readonly number[]): Int32Array {
    const {
      num_blocks: count,
      kv_caches_base_addr: regions,
      physical_blocks_per_logical_kv_block: ratio,
    } = this.metadata;
    const ids = kernelBlocks(logicalIds, ratio);
    return Int32Array.from(
      { length: regions.length * ids.length },
      (_, index) => Math.floor(index / ids.length) * count + (ids[index % ids.length] as number),
    );
  }

  #assertEngine(operation: string, params: VllmTransferParams): void {
    if (params.remote_engine_id !== this.engineId)
      throw new VllmError(
        'vllm.engine',
        `${operation}: expected parameters of the engine ${this.engineId}, got those of ${params.remote_engine_id}`,
      );
  }

  /** The lease ends at the time that the parameters name, or later if heartbeats began before it and have no gap. */
  #assertHeld(operation: string, params: VllmTransferParams): void {
    const { remote_request_id: id, remote_blocks_expiry_time: expiry } = params;
    if (expiry === undefined || expiry === null) return;
    const named = expiry - this.answer.clockOffsetSeconds;
    const beats = this.#sent.get(id);
    const extended = beats !== undefined && beats.since <= named ? beats.last + EXTENSION : named;
    const late = perfCounter() - Math.max(named, extended);
    if (late > 0)
      throw new VllmError(
        'vllm.expired',
        `${operation}: the lease of ${id} ended ${late.toFixed(1)} s ago, and the worker may have freed the blocks`,
      );
  }

  /** Lets the worker free the blocks of a request that is not read. */
  async release(requestId: string, readers = 1): Promise<void> {
    this.#assertOpen('peer.release');
    await this.nixl.notify(readNoticeOf(requestId, readers));
  }

  /**
   * Extends the lease of requests by two thirds of its duration, from now on and until the returned object is disposed
   * of. vLLM's lease is 30 s, and it sends a heartbeat every 5 s.
   */
  holdLease(requestIds: readonly string[], intervalMs = HEARTBEAT_MS): Disposable {
    this.#assertOpen('peer.holdLease');
    const message = heartbeatOf(requestIds);
    // A worker that died needs no heartbeat, and a pull reports it.
    const beat = (): void => {
      this.#noteBeat(requestIds);
      this.nixl.notify(message).catch(() => {});
    };
    const timer = setInterval(beat, intervalMs);
    timer.unref();
    this.#beats.add(timer);
    beat();
    return {
      [Symbol.dispose]: () => {
        clearInterval(timer);
        this.#beats.delete(timer);
      },
    };
  }

  #noteBeat(requestIds: readonly string[]): void {
    const now = perfCounter();
    for (const [id, { last }] of this.#sent) if (now - last > EXTENSION) this.#sent.delete(id);
    for (const id of requestIds) this.#sent.set(id, { since: this.#sent.get(id)?.since ?? now, last: now });
  }

  #assertOpen(operation: string): void {
    if (!this.#isOpen) throw new ClosedError(`the peer ${this.engineId}`, operation);
  }

  /** Disconnects. Transfers in flight continue. Idempotent. */
  async close(): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    for (const timer of this.#beats) clearInterval(timer);
    await this.blocks.release();
    await this.nixl.disconnect();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Only ranks that the worker has named may be asked for. */
function checkRank(path: string, { rank: { pipeline = 0, tensor = 0 } = {}, ranks }: VllmPeerOptions): void {
  const { tp_size: tensors = 1, pp_size: pipelines = 1 } = ranks ?? {};
  if (tensor >= tensors || pipeline >= pipelines)
    throw badArgument(
      new RangeError(
        `${path}: expected a rank of the ${pipelines} x ${tensors} that the worker says it has, ` +
          `got ${pipeline} and ${tensor}`,
      ),
    );
}

/** The blocks of every region. @throws VllmError `vllm.layout` if they differ */
function cutOf({ block_lens, block_strides, region_num_blocks, num_blocks }: VllmAgentMetadata): {
  blockBytes: number;
  stride: number;
} {
  const [blockBytes, stride] = [block_lens[0] as number, block_strides[0] as number];
  const isUniform =
    block_lens.every((bytes) => bytes === blockBytes) &&
    block_strides.every((bytes) => bytes === stride) &&
    (region_num_blocks ?? []).every((count) => count === num_blocks);
  if (!isUniform || stride < blockBytes)
    throw new VllmError('vllm.layout', 'expected regions with blocks of one size, got several sizes');
  return { blockBytes, stride };
}
