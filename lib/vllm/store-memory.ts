import type { MutableBlocks, RegisteredBlocks } from '../kvbm/blocks.js';
import { LineageHashes } from '../kvbm/hashes.js';
import { settled, withDeadline } from '../kvbm/in-flight.js';
import { BlockManager } from '../kvbm/manager.js';
import type { Eviction } from '../kvbm/options.js';
import { BlockRegistry } from '../kvbm/registry.js';
import { BlockTiers, type BlockTiersStatistics } from '../kvbm/tiers.js';
import type { NixlAgent } from '../nixl/agent.js';
import type { BlockList } from '../nixl/blocks.js';
import type { MemoryRegion } from '../nixl/memory.js';
import type { KnownBlock } from './block-index.js';
import type { VllmPeer } from './peer.js';
import { logicalBlockSize, type VllmStoreShape } from './store-shape.js';
import type { VllmTransferParams } from './transfer-params.js';

/** Where a store keeps its blocks. */
export interface StoreMemoryOptions {
  readonly blockCount: number;
  readonly diskBlocks: number;
  readonly diskPath: string | undefined;
  readonly eviction: Eviction;
}

export const namesOf = (blocks: readonly KnownBlock[]): LineageHashes =>
  LineageHashes.from(blocks.map(({ name }) => name));

/** The blocks of a store: a manager of host memory that workers read from, and one of a file below it. */
export class StoreMemory {
  readonly #tiers: BlockTiers | undefined;
  readonly #disk: BlockManager | undefined;
  #quarantined = 0;

  private constructor(
    private readonly agent: NixlAgent,
    readonly manager: BlockManager,
    readonly region: MemoryRegion,
    /** Units of the memory: one region of one kernel block each. */
    private readonly units: BlockList,
    private readonly shape: VllmStoreShape,
    disk: BlockManager | undefined,
  ) {
    this.#disk = disk;
    this.#tiers = disk && new BlockTiers(manager, disk);
  }

  static async create(agent: NixlAgent, shape: VllmStoreShape, options: StoreMemoryOptions): Promise<StoreMemory> {
    const { blockCount, diskBlocks, diskPath, eviction } = options;
    const registry = new BlockRegistry();
    // The store moves bytes and does not read them, so a token of a region is one vector of bytes.
    const { regions: layers, blockBytes, kernelBlockSize } = shape;
    const common = {
      registry,
      eviction,
      blockSize: logicalBlockSize(shape),
      duplicates: 'reject',
      layout: { layers, heads: 1, headDim: blockBytes / kernelBlockSize, elementType: 'int8', outer: 1 },
    } as const;
    const manager = new BlockManager({ ...common, tier: 'host', blockCount, storage: { kind: 'memory' } });
    let disk: BlockManager | undefined;
    try {
      if (diskBlocks > 0 && diskPath !== undefined)
        disk = new BlockManager({
          ...common,
          tier: 'disk',
          blockCount: diskBlocks,
          storage: { kind: 'file', path: diskPath },
        });
      const region = await manager.registerWith(agent);
      return new StoreMemory(agent, manager, region, await agent.blocks(region, shape.blockBytes), shape, disk);
    } catch (error) {
      disk?.dispose();
      manager.dispose();
      throw error;
    }
  }

  /** Blocks of a pull that was abandoned, whose bytes may still arrive. */
  get quarantined(): number {
    return this.#quarantined;
  }

  get tiers(): BlockTiersStatistics | undefined {
    return this.#tiers?.statistics();
  }

  /** References to the longest run of blocks that is stored, after it was copied to host memory. */
  async find(blocks: readonly KnownBlock[]): Promise<RegisteredBlocks | undefined> {
    if (blocks.length === 0) return undefined;
    const names = namesOf(blocks);
    return this.#tiers === undefined ? this.manager.matchPrefix(names) : this.#tiers.onboard(names);
  }

  /** Whether each block is stored, in any tier: 1 or 0. */
  presence(blocks: readonly KnownBlock[]): Uint8Array {
    return this.manager.registry.presence(namesOf(blocks));
  }

  /** As many new blocks as there is space for, at most `count`; undefined if there is none. */
  allocate(count: number): MutableBlocks | undefined {
    const possible = Math.min(count, this.manager.available);
    return possible === 0 ? undefined : (this.manager.allocate(possible) ?? undefined);
  }

  /** Makes written blocks findable under their names. */
  store(written: MutableBlocks, blocks: readonly KnownBlock[]): void {
    using registered = written.stage(namesOf(blocks)).register();
    this.#tiers?.enqueue(registered);
  }

  /** Makes the first read of a connection, if a block is free for it. After the time it continues in the background. */
  async warmUp(peer: VllmPeer, timeoutMs: number): Promise<void> {
    const scratch = this.allocate(1);
    if (scratch === undefined) return;
    const [unit] = this.#unitsOf(scratch.ids) as unknown as [number];
    const reading = peer.warmUp(this.units, unit);
    void settled(reading, this.agent).then((known) => known && scratch.dispose());
    await withDeadline(reading, { operation: 'store.connect', timeoutMs });
  }

  /**
   * Reads blocks of a worker into new blocks. After a timeout or an abort the transfer continues, so the new blocks are
   * kept until its end.
   */
  async pull(
    peer: VllmPeer,
    params: VllmTransferParams,
    positions: readonly number[],
    target: MutableBlocks,
    limit: { readonly timeoutMs: number; readonly signal: AbortSignal | undefined },
  ): Promise<void> {
    const indices = this.#unitsOf(target.ids);
    const transfer = peer.pull(params, { blocks: this.units, indices }, { positions });
    let isSettled = false;
    const settling = settled(transfer, this.agent).then((known) => (isSettled = known));
    try {
      await withDeadline(transfer, { operation: 'store.keep', ...limit });
    } catch (error) {
      // The transfer may have failed just now.
      await Promise.resolve();
      if (isSettled) target.dispose();
      else this.#quarantine(target, settling);
      throw error;
    }
  }

  #quarantine(target: MutableBlocks, settling: Promise<boolean>): void {
    const { length } = target;
    this.#quarantined += length;
    void settling.then((known) => {
      if (!known) return;
      this.#quarantined -= length;
      target.dispose();
    });
  }

  /** Units of blocks: those of region 0 of each kernel block, then those of region 1, and so on. */
  #unitsOf(ids: Uint32Array): Int32Array {
    const { regions, kernelBlocks } = this.shape;
    const kernels = ids.length * kernelBlocks;
    return Int32Array.from({ length: regions * kernels }, (_, index) => {
      const [region, kernel] = [Math.floor(index / kernels), index % kernels];
      const block = ids[Math.floor(kernel / kernelBlocks)] as number;
      return (block * kernelBlocks + (kernel % kernelBlocks)) * regions + region;
    });
  }

  async flush(): Promise<void> {
    await this.#tiers?.flush();
  }

  /** Frees the blocks. The agent must be closed before, so that no worker reads them. */
  async close(): Promise<void> {
    await this.#tiers?.close();
    this.#disk?.dispose();
    this.manager.dispose();
  }
}
