import type { NixlAgent } from '../nixl/agent.js';
import { VllmError } from './errors.js';
import type { VllmAgentMetadata } from './metadata.js';
import { VllmPeer } from './peer.js';
import { askSideChannel } from './side-channel.js';
import type { WorkerAddress } from './store-options.js';
import type { VllmStoreShape } from './store-shape.js';
import type { VllmTransferParams } from './transfer-params.js';

/** The workers that a store reads from. */
export class StorePeers {
  /** By engine id, also those that are connecting. */
  readonly #peers = new Map<string, Promise<VllmPeer>>();

  constructor(
    private readonly agent: NixlAgent,
    private readonly shape: VllmStoreShape,
    private readonly timeoutMs: number,
  ) {}

  /**
   * Connects to a worker, or returns its present connection if the same engine still answers at the address.
   *
   * @throws VllmError
   */
  async connect(worker: WorkerAddress): Promise<VllmPeer> {
    const { host, port } = worker;
    for (const connecting of [...this.#peers.values()]) {
      const peer = await connecting.catch(() => undefined);
      if (peer === undefined || peer.address.host !== host || peer.address.port !== port) continue;
      const { metadata } = await askSideChannel({ host, port, timeoutMs: this.timeoutMs });
      if (metadata.engine_id === peer.engineId) return peer;
    }
    const peer = await this.#connect(worker);
    await this.#replace(peer);
    return peer;
  }

  /** The worker that the parameters name. @throws VllmError */
  async of(params: VllmTransferParams): Promise<VllmPeer> {
    const { remote_engine_id: engineId, remote_host: host, remote_port: port } = params;
    const known = this.#peers.get(engineId);
    if (known !== undefined) return known;
    const connecting = this.#connect({ host, port, engineId });
    this.#peers.set(engineId, connecting);
    connecting.catch(() => this.#peers.delete(engineId));
    await this.#replace(await connecting);
    return connecting;
  }

  /** Forgets a worker whose blocks cannot be read. The next parameters that name it connect again. */
  async forget(peer: VllmPeer): Promise<void> {
    this.#peers.delete(peer.engineId);
    await peer.close().catch(() => {});
  }

  /** A worker that restarted has another engine id at the same address: the connection before it ends. */
  async #replace(peer: VllmPeer): Promise<void> {
    for (const [engineId, connecting] of this.#peers) {
      const other = await connecting.catch(() => undefined);
      if (other === undefined || other === peer) continue;
      const isSame = other.address.host === peer.address.host && other.address.port === peer.address.port;
      if (!isSame) continue;
      this.#peers.delete(engineId);
      await other.close().catch(() => {});
    }
    this.#peers.set(peer.engineId, Promise.resolve(peer));
  }

  async #connect(worker: WorkerAddress & { readonly engineId?: string }): Promise<VllmPeer> {
    const peer = await VllmPeer.connect(this.agent, { ...worker, timeoutMs: this.timeoutMs });
    const areEqual = hasShape(peer.metadata, this.shape);
    if (areEqual && peer.compatibilityHash === this.shape.compatibilityHash) return peer;
    await peer.close();
    const what = areEqual ? 'compatibility hash' : 'blocks';
    throw new VllmError(
      'vllm.layout',
      `the worker at ${worker.host}:${worker.port}: expected the ${what} of the store's shape, got another; ` +
        'make a store with the shape of this worker',
    );
  }

  async close(): Promise<void> {
    for (const connecting of this.#peers.values()) await connecting.then((peer) => peer.close()).catch(() => {});
  }
}

/** Whether a worker has the blocks of a shape. A reader with other ones would get wrong words. */
function hasShape(metadata: VllmAgentMetadata, shape: VllmStoreShape): boolean {
  return (
    metadata.block_lens.length === shape.regions &&
    metadata.block_lens[0] === shape.blockBytes &&
    metadata.block_size === shape.kernelBlockSize &&
    metadata.physical_blocks_per_logical_kv_block === shape.kernelBlocks &&
    metadata.attn_backend_name === shape.attentionBackend &&
    metadata.kv_cache_layout === shape.cacheLayout
  );
}
