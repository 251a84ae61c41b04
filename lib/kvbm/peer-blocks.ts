import { badArgument } from '../errors.js';
import type { NixlAgent } from '../nixl/agent.js';
import type { BlockList } from '../nixl/blocks.js';
import type { MemoryDescriptor } from '../nixl/memory.js';
import type { NixlPeer } from '../nixl/peer.js';
import type { TransferResult } from '../nixl/transfer.js';
import { BlockLayoutError } from './errors.js';
import { settled } from './in-flight.js';
import { layoutText } from './layout.js';
import type { BlockManager } from './manager.js';

/** What a process needs to read the blocks of a manager of another process. */
export interface PeerDescription {
  readonly layout: string;
  readonly blockBytes: number;
  readonly metadata: Uint8Array;
  readonly memory: MemoryDescriptor;
}

/** A read in flight. */
export interface BlockRead {
  readonly done: Promise<TransferResult>;
  /** Resolves when no byte is in flight any longer: see `settled`. Never rejects. */
  readonly settled: Promise<boolean>;
}

/**
 * The memory of a manager's blocks, as its peers describe it to each other.
 *
 * @throws TypeError if the blocks lie in a file, which no peer can reach
 */
export async function describeBlocks(
  path: string,
  manager: BlockManager,
  agent: NixlAgent,
): Promise<Omit<PeerDescription, 'metadata'>> {
  const region = await manager.registerWith(agent);
  if (region.memory === 'FILE')
    throw badArgument(
      new TypeError(`${path}: expected blocks in memory, got blocks in a file, which no peer can reach`),
    );
  // A region may be longer than its blocks.
  const memory = { ...region.descriptor(), bytes: manager.blockCount * manager.blockBytes };
  return { layout: layoutText(manager), blockBytes: manager.blockBytes, memory };
}

/** The blocks of a manager of another process, which a NIXL agent reads into the blocks of a local manager. */
export class PeerBlocks {
  private constructor(
    private readonly manager: BlockManager,
    private readonly agent: NixlAgent,
    readonly peer: NixlPeer,
    private readonly local: BlockList,
    private readonly remote: BlockList,
  ) {}

  /**
   * @throws BlockLayoutError if the layouts differ
   * @throws TypeError if the local blocks lie in a file, which no peer can fill
   */
  static async connect(
    operation: string,
    manager: BlockManager,
    agent: NixlAgent,
    description: PeerDescription,
  ): Promise<PeerBlocks> {
    const region = await manager.registerWith(agent);
    if (region.memory === 'FILE')
      throw badArgument(
        new TypeError(`${operation} manager: expected blocks in memory, got blocks in a file, which no peer can fill`),
      );
    const { blockCount, blockBytes } = manager;
    const ours = layoutText(manager);
    if (description.layout !== ours || description.blockBytes !== blockBytes)
      throw new BlockLayoutError(`${operation}: expected the layout ${ours}, got ${description.layout}`, operation);
    const peer = await agent.connect(description.metadata);
    const local = await agent.blocks(region.slice(0, blockCount * blockBytes), blockBytes);
    const remote = await agent.blocks(peer.memory(description.memory), blockBytes);
    return new PeerBlocks(manager, agent, peer, local, remote);
  }

  /** The number of the peer's blocks. */
  get length(): number {
    return this.remote.length;
  }

  /**
   * Reads block `source[i]` of the peer into block `target[i]` of the manager. The read gets no signal and no limit: an
   * abandoned transfer still writes, so its end must be awaited.
   */
  read(target: Uint32Array, source: ArrayLike<number>): BlockRead {
    const endTracking = this.manager.core.track();
    const { agent, local, remote } = this;
    const done = agent.transferBlocks('READ', local, Int32Array.from(target), remote, Int32Array.from(source));
    const end = settled(done, agent).then((known) => {
      if (known) endTracking();
      return known;
    });
    return { done, settled: end };
  }

  /** Releases the native lists. Reads in flight continue. */
  async close(): Promise<void> {
    await this.local.release();
    await this.remote.release();
  }
}
