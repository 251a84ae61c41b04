import { createHash, randomUUID } from 'node:crypto';
import { type MemoryRegion, NixlAgent } from 'dynamo-node';
import { askSideChannel, SideChannel, type VllmAgentMetadata, type VllmTransferParams } from 'dynamo-node/vllm';
import { onTestFinished } from 'vitest';
import { heartbeatOf, noticeFrom, readNoticeOf } from '../../../lib/vllm/notices.js';
import { type Kind, libraryOf } from '../nixl/library.js';
import { waitFor } from '../wait.js';

export interface WorkerShape {
  readonly layers: number;
  readonly blocks: number;
  /** Tokens in a logical block. */
  readonly blockSize: number;
  /** Bytes of a kernel block in one layer. */
  readonly blockBytes: number;
  /** Kernel blocks in a logical block. */
  readonly kernelBlocks: number;
  /** Bytes from one kernel block to the next. */
  readonly stride: number;
  readonly hash: string;
}

export const SHAPE: WorkerShape = {
  layers: 3,
  blocks: 24,
  blockSize: 8,
  blockBytes: 64,
  kernelBlocks: 1,
  stride: 64,
  hash: 'a'.repeat(64),
};

/** The bytes that a kernel block has: they depend on the layer and on the sequence up to and including the block. */
export function contentOf(shape: WorkerShape, tokens: readonly number[], kernel: number, layer: number): Buffer {
  const end = Math.min(tokens.length, ((kernel + 1) * shape.blockSize) / shape.kernelBlocks);
  const seed = createHash('sha256')
    .update(`${layer} ${kernel} ${tokens.slice(0, end).join()}`)
    .digest();
  return Buffer.from(Uint8Array.from({ length: shape.blockBytes }, (_, index) => seed[index % 32] as number));
}

/**
 * A process in the place of a vLLM worker: memory that is registered with NIXL, and a side channel. It prefills by
 * filling blocks, and decodes by reading those of an owner. It knows nothing of the classes that are tested.
 */
export class StandInWorker {
  readonly engineId = randomUUID();
  /** Requests whose blocks were freed, with the way. */
  readonly freed: string[] = [];
  readonly heartbeats: string[] = [];
  /** Reads that `decode` has begun. */
  reads = 0;
  #requests = 0;
  #free: number[];
  #metadata: VllmAgentMetadata | undefined;

  private constructor(
    readonly shape: WorkerShape,
    readonly agent: NixlAgent,
    readonly region: MemoryRegion,
    readonly channel: SideChannel,
  ) {
    this.#free = Array.from({ length: shape.blocks }, (_, id) => id);
    void this.#readNotices();
  }

  /** @param port 0 for any free port */
  static async start(kind: Kind, changes: Partial<WorkerShape> = {}, port = 0): Promise<StandInWorker> {
    const shape = { ...SHAPE, ...changes };
    const agent = await NixlAgent.create(`worker-${randomUUID()}`, { library: libraryOf(kind) });
    onTestFinished(async () => void (await agent.close()));
    const kernels = shape.blocks * shape.kernelBlocks;
    const region = await agent.allocate(shape.layers * kernels * shape.stride);
    let worker: StandInWorker | undefined;
    const channel = await SideChannel.listen(() => (worker as StandInWorker).handshake, { port });
    onTestFinished(() => channel.close());
    worker = new StandInWorker(shape, agent, region, channel);
    worker.#metadata = worker.#describe(await agent.metadata());
    return worker;
  }

  #describe(agentMetadata: Uint8Array): VllmAgentMetadata {
    const { layers, blocks, blockBytes, kernelBlocks, blockSize, stride } = this.shape;
    const kernels = blocks * kernelBlocks;
    return {
      engine_id: this.engineId,
      agent_metadata: agentMetadata,
      kv_caches_base_addr: Array.from(
        { length: layers },
        (_, layer) => this.region.address + BigInt(layer * kernels * stride),
      ),
      device_id: 0,
      num_blocks: kernels,
      block_lens: new Array<number>(layers).fill(blockBytes),
      block_strides: new Array<number>(layers).fill(stride),
      kv_cache_layout: 'LBHNC',
      block_size: blockSize / kernelBlocks,
      ssm_sizes: [0, 0],
      attn_backend_name: 'CPU_ATTN',
      physical_blocks_per_logical_kv_block: kernelBlocks,
    };
  }

  get handshake(): { compatibilityHash: string; metadata: VllmAgentMetadata } {
    return { compatibilityHash: this.shape.hash, metadata: this.#metadata as VllmAgentMetadata };
  }

  get address(): { host: string; port: number } {
    return { host: this.channel.host, port: this.channel.port };
  }

  async #readNotices(): Promise<void> {
    for await (const { data } of this.agent.notifications({ background: true })) {
      const notice = noticeFrom(data);
      if (notice?.kind === 'read') this.freed.push(notice.requestId);
      else if (notice !== undefined) this.heartbeats.push(...notice.requestIds);
    }
  }

  #bytes(layer: number, kernel: number): Buffer {
    const { blocks, kernelBlocks, stride, blockBytes } = this.shape;
    const view = this.region.view as Uint8Array;
    return Buffer.from(view.buffer, view.byteOffset + (layer * blocks * kernelBlocks + kernel) * stride, blockBytes);
  }

  /** Computes the KV of tokens, and keeps it for a reader: the answer's `kv_transfer_params`. */
  prefill(tokens: readonly number[], changes: Partial<VllmTransferParams> = {}): VllmTransferParams {
    const { shape } = this;
    const ids = this.#free.splice(0, Math.ceil(tokens.length / shape.blockSize));
    for (const [index, id] of ids.entries())
      for (let layer = 0; layer < shape.layers; layer++)
        for (let part = 0; part < shape.kernelBlocks; part++)
          contentOf(shape, tokens, index * shape.kernelBlocks + part, layer).copy(
            this.#bytes(layer, id * shape.kernelBlocks + part),
          );
    return {
      do_remote_prefill: true,
      do_remote_decode: false,
      remote_block_ids: [ids],
      remote_engine_id: this.engineId,
      remote_request_id: `cmpl-${++this.#requests}:a-0-abcdef01`,
      remote_host: this.address.host,
      remote_port: this.address.port,
      tp_size: 1,
      remote_num_tokens: tokens.length,
      ...changes,
    };
  }

  /** The memory of an owner, as a worker looks it up after the handshake. */
  async #remote(params: VllmTransferParams) {
    const { metadata, compatibilityHash } = await askSideChannel({
      host: params.remote_host,
      port: params.remote_port,
    });
    if (compatibilityHash !== this.shape.hash) throw new Error('the hashes differ');
    if (metadata.engine_id !== params.remote_engine_id) throw new Error('another engine answers');
    const peer = await this.agent.connect(metadata.agent_metadata);
    const { num_blocks: count } = metadata;
    const memories = metadata.kv_caches_base_addr.map((address, layer) => {
      const [length, stride] = [metadata.block_lens[layer] as number, metadata.block_strides[layer] as number];
      return Array.from({ length: count }, (_, block) =>
        peer.memory({ address: address + BigInt(block * stride), bytes: length }),
      );
    });
    return { peer, memories, metadata };
  }

  /**
   * Reads the last `missing` blocks of the owner, as a worker does that has cached the others, and notifies the owner.
   * Returns whether each byte is the one that it would have computed.
   */
  async decode(params: VllmTransferParams, tokens: readonly number[], missing?: number): Promise<boolean> {
    const { shape } = this;
    const { peer, memories } = await this.#remote(params);
    const [all] = params.remote_block_ids as [readonly number[]];
    const wanted = missing ?? all.length;
    const notice = readNoticeOf(params.remote_request_id, 1);
    if (wanted === 0) {
      await peer.notify(notice);
      return true;
    }
    const mine = this.#free.slice(0, wanted);
    const [locals, remotes] = [[], []] as [ReturnType<MemoryRegion['slice']>[], ReturnType<typeof peer.memory>[]];
    for (const [index, id] of all.slice(all.length - wanted).entries())
      for (let layer = 0; layer < shape.layers; layer++)
        for (let part = 0; part < shape.kernelBlocks; part++) {
          const [own, theirs] = [(mine[index] as number) * shape.kernelBlocks + part, id * shape.kernelBlocks + part];
          const at = (layer * shape.blocks * shape.kernelBlocks + own) * shape.stride;
          locals.push(this.region.slice(at, shape.blockBytes));
          remotes.push((memories[layer] as typeof remotes)[theirs] as (typeof remotes)[number]);
        }
    const reading = this.agent.read(locals, remotes, { notify: notice });
    this.reads += 1;
    await reading;
    return mine.every((own, index) => {
      const block = all.length - wanted + index;
      return Array.from({ length: shape.layers * shape.kernelBlocks }, (_, unit) => {
        const [layer, part] = [Math.floor(unit / shape.kernelBlocks), unit % shape.kernelBlocks];
        const kernel = block * shape.kernelBlocks + part;
        if (kernel * (shape.blockSize / shape.kernelBlocks) >= tokens.length) return true;
        return this.#bytes(layer, own * shape.kernelBlocks + part).equals(contentOf(shape, tokens, kernel, layer));
      }).every(Boolean);
    });
  }

  /** Sends a heartbeat for requests of an owner. */
  async beat(params: VllmTransferParams): Promise<void> {
    const { peer } = await this.#remote(params);
    await peer.notify(heartbeatOf([params.remote_request_id]));
  }

  /** Waits until the blocks of a request were freed. */
  async waitForFree(params: VllmTransferParams): Promise<void> {
    await waitFor('the blocks are freed', () => this.freed.includes(params.remote_request_id));
  }
}
