import { BlockLayoutError } from '../kvbm/errors.js';
import { layoutText } from '../kvbm/layout.js';
import type { BlockManager } from '../kvbm/manager.js';
import { PeerBlocks } from '../kvbm/peer-blocks.js';
import type { NixlAgent } from '../nixl/agent.js';
import type { Client } from '../runtime/client.js';
import type { Instance, InstanceChange } from '../runtime/instance.js';
import { HandoffError, handoffError } from './errors.js';
import { type OfferDescription, type OfferRequest, type OfferResponse, readDescription } from './protocol.js';

/** A prefill worker whose blocks this process can read. */
export interface PrefillPeer {
  readonly description: OfferDescription;
  readonly blocks: PeerBlocks;
}

interface Connection {
  readonly peer: Promise<PrefillPeer>;
  users: number;
  /** Whether the worker has left: the connection ends after its last user. */
  isRetired: boolean;
}

/** A frontend may route a request to a new worker before discovery shows that worker here. */
const UNSEEN_MS = 1000;
/** The ids of workers that have left. Older ones are waited for again, and fail later. */
const MAX_LEFT = 1024;

/** Connections to the prefill workers, one for each instance, made when discovery finds it. */
export class PrefillPeers {
  readonly #connections = new Map<bigint, Connection>();
  readonly #left = new Set<bigint>();
  readonly #watching: AsyncIterator<unknown>;

  constructor(
    private readonly client: Client<OfferRequest, OfferResponse>,
    private readonly manager: BlockManager,
    private readonly agent: NixlAgent,
    private readonly model: string,
  ) {
    const changes = client.watch();
    this.#watching = changes;
    this.#follow(changes).catch(() => {});
  }

  /** Connects to new workers before a request needs them, and disconnects from those that have left. */
  async #follow(changes: AsyncIterable<InstanceChange>): Promise<void> {
    for await (const change of changes) {
      if (change.type === 'removed') this.#retire(change.instanceId);
      else if (change.type === 'added') this.prepare(change.instance.instanceId);
      else for (const { instanceId } of change.instances) this.prepare(instanceId);
    }
  }

  /**
   * Calls `use` with the prefill worker of an instance. The connection lasts at least until then, and until what
   * `settled` returns after it.
   *
   * @throws HandoffError
   */
  async with<T>(
    operation: string,
    instanceId: bigint,
    use: (peer: PrefillPeer) => Promise<T>,
    settled: () => Promise<void>,
  ): Promise<T> {
    const connection = this.#connection(operation, instanceId);
    connection.users += 1;
    try {
      return await use(await connection.peer);
    } finally {
      void settled().then(() => {
        connection.users -= 1;
        this.#end(connection);
      });
    }
  }

  /** Connects without waiting, so that a later use finds the connection. */
  prepare(instanceId: bigint): void {
    this.#connection('receiver.accept', instanceId).peer.catch(() => {});
  }

  /** Resolves when an instance can be called. After a moment without it, or an error, the call that follows says so. */
  async found(instanceId: bigint): Promise<void> {
    const { client } = this;
    const isIt = (one: Instance): boolean => one.instanceId === instanceId;
    const until = performance.now() + UNSEEN_MS;
    try {
      for (let known = client.instances(), count = 1; !known.some(isIt); count = known.length + 1) {
        const timeoutMs = Math.floor(until - performance.now());
        if (timeoutMs <= 0 || this.#left.has(instanceId)) return;
        known = await client.waitForInstances({ count, timeoutMs });
      }
    } catch {
      // The time is over, or the client is closed.
    }
  }

  /** The descriptions of the connected workers. */
  async descriptions(): Promise<[instanceId: bigint, description: OfferDescription][]> {
    const all = [...this.#connections].map(async ([id, { peer }]) => [id, (await peer).description] as const);
    const settled = await Promise.allSettled(all);
    return settled.flatMap((one) => (one.status === 'fulfilled' ? [[...one.value]] : []));
  }

  #connection(operation: string, instanceId: bigint): Connection {
    let connection = this.#connections.get(instanceId);
    if (connection === undefined) {
      connection = { peer: this.#connect(operation, instanceId), users: 0, isRetired: false };
      this.#connections.set(instanceId, connection);
      const mine = connection;
      // The next use tries again.
      connection.peer.catch(() => {
        if (this.#connections.get(instanceId) === mine) this.#connections.delete(instanceId);
      });
    }
    return connection;
  }

  async #connect(operation: string, instanceId: bigint): Promise<PrefillPeer> {
    const { client, manager, agent, model } = this;
    await this.found(instanceId);
    const answer = await client
      .unary({ op: 'describe' }, { instanceId, timeoutMs: 5000, parent: null })
      .catch((error: unknown) => {
        throw handoffError(operation, `the prefill worker ${instanceId} did not answer`, error);
      });
    const description = readDescription(operation, answer);
    const mismatch = (reason: HandoffError['reason'], what: string, ours: string, theirs: string): HandoffError =>
      new HandoffError(reason, `${what} of the prefill worker: expected ${ours}, got ${theirs}`, operation);
    if (description.model !== model) throw mismatch('disagg.model', 'model', model, description.model);
    const { kind } = agent.library;
    if (description.library !== kind) throw mismatch('disagg.library', 'NIXL library', kind, description.library);
    try {
      return { description, blocks: await PeerBlocks.connect(operation, manager, agent, description) };
    } catch (error) {
      if (error instanceof BlockLayoutError)
        throw mismatch('disagg.layout', 'layout', layoutText(manager), description.layout);
      throw new HandoffError(
        'disagg.handoff',
        "the prefill worker's metadata or memory is not valid",
        operation,
        error,
      );
    }
  }

  #retire(instanceId: bigint): void {
    this.#left.add(instanceId);
    const [oldest] = this.#left;
    if (this.#left.size > MAX_LEFT) this.#left.delete(oldest as bigint);
    const connection = this.#connections.get(instanceId);
    if (connection === undefined) return;
    connection.isRetired = true;
    this.#connections.delete(instanceId);
    this.#end(connection);
  }

  #end(connection: Connection): void {
    if (!connection.isRetired || connection.users > 0) return;
    void connection.peer
      .then(async ({ blocks }) => {
        await blocks.close();
        await blocks.peer.disconnect();
      })
      .catch(() => {});
  }

  async close(): Promise<void> {
    await this.#watching.return?.();
    for (const instanceId of [...this.#connections.keys()]) this.#retire(instanceId);
  }
}
