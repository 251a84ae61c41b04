import { checkInstance, checkInstanceId, wrongType } from '../check.js';
import { ClosedError, DynamoError, shown } from '../errors.js';
import { NixlAgent } from '../nixl/agent.js';
import { milliseconds, type OptionTable, optionTable, signal } from '../options.js';
import { Client } from '../runtime/client.js';
import { words } from '../words.js';
import type { MutableBlocks, RegisteredBlocks } from './blocks.js';
import { settleChecksums } from './checksums.js';
import { LineageHashes } from './hashes.js';
import { withDeadline } from './in-flight.js';
import { BlockManager } from './manager.js';
import { PeerBlocks } from './peer-blocks.js';
import { TokenSequence } from './sequence.js';
import type { LeasedBlocks, ReleasedLease, ShareDescription, ShareRequest, ShareResponse } from './share.js';

/** Limits of a pull. */
export interface PullOptions {
  /** Rejects the pull with the signal's reason. */
  readonly signal?: AbortSignal;
  /** The time limit for finding and reading, also the duration of the requested lease. @default 5000 */
  readonly timeoutMs?: number;
}

const PULL_OPTIONS: OptionTable<PullOptions> = optionTable<PullOptions>({ signal, timeoutMs: milliseconds(1) });

/** Counts of blocks since the start; `quarantined` is the present count. */
export interface RemoteBlocksStatistics {
  readonly pulled: number;
  /** Pulls whose bytes were discarded: the lease expired, the owner was lost, the pull timed out or was aborted. */
  readonly discarded: number;
  /** Blocks that an abandoned transfer may still write to. They are released at its end. */
  readonly quarantined: number;
}

/** The names and identities of blocks that are read now. */
interface BlockNames {
  readonly names: LineageHashes;
  readonly identities: Uint8Array;
}

const IDENTITY_BYTES = 16;

/** Checks the answer of an owner, which may be of another version or no owner at all. */
function checkFound(operation: string, { ids }: LeasedBlocks, maxCount: number): void {
  const isAnswer =
    Array.isArray(ids) &&
    ids.length > 0 &&
    ids.length <= maxCount &&
    ids.every((id) => Number.isInteger(id) && id >= 0);
  if (!isAnswer)
    throw new DynamoError(
      'BackendProtocol',
      `${operation}: expected the ids of 1 to ${maxCount} blocks from the owner, got ${shown(ids)}`,
      { reason: 'kvbm.answer', operation },
    );
}

function leaseLost(message: string): DynamoError {
  return new DynamoError('Unavailable', message, { reason: 'kvbm.lease_lost', operation: 'remote.pull' });
}

/**
 * Another process's blocks, which can be pulled into a local manager. A pull either returns exactly the named blocks or
 * fails. The bytes are accepted only after the owner has confirmed that its lease covered the whole read.
 *
 * @example
 * await using remote = await RemoteBlocks.connect(manager, agent, client, instanceId);
 * using blocks = await remote.pull(sequence);
 */
export class RemoteBlocks implements AsyncDisposable {
  readonly #counts = { pulled: 0, discarded: 0, quarantined: 0 };
  #closed = false;

  private constructor(
    readonly manager: BlockManager,
    readonly instanceId: bigint,
    private readonly client: Client<ShareRequest, ShareResponse>,
    private readonly blocks: PeerBlocks,
  ) {}

  /**
   * Connects to the owner that serves one instance of the endpoint.
   *
   * @throws BlockLayoutError if its layout differs
   */
  static async connect(
    manager: BlockManager,
    agent: NixlAgent,
    client: Client<ShareRequest, ShareResponse>,
    instanceId: bigint,
  ): Promise<RemoteBlocks> {
    checkInstance('RemoteBlocks.connect manager', manager, BlockManager);
    checkInstance('RemoteBlocks.connect agent', agent, NixlAgent);
    checkInstance('RemoteBlocks.connect client', client, Client);
    checkInstanceId('RemoteBlocks.connect instanceId', instanceId);
    const description = (await client.unary({ op: 'describe' }, { instanceId })) as ShareDescription;
    const blocks = await PeerBlocks.connect('RemoteBlocks.connect', manager, agent, description);
    return new RemoteBlocks(manager, instanceId, client, blocks);
  }

  /**
   * Copies the longest run of blocks that the owner has, from block `first` on, and registers them in the local
   * manager. Undefined if the owner has none, or the local manager is full. `manager.events()` reports blocks that were
   * pulled by `LineageHashes` only if the owner's manager has the option `events` too.
   *
   * @throws DynamoError `DYN_UNAVAILABLE` if the owner or its lease was lost, `DYN_DEADLINE_EXCEEDED` after `timeoutMs`
   * @throws DynamoError `DYN_BACKEND_PROTOCOL` if the owner's answer does not match the request
   * @throws BlockChecksumError if both managers keep checksums and they differ
   */
  async pull(
    names: TokenSequence | LineageHashes,
    first = 0,
    options: PullOptions = {},
  ): Promise<RegisteredBlocks | undefined> {
    const operation = 'remote.pull';
    PULL_OPTIONS.check(`${operation} options`, options);
    const { signal, timeoutMs = 5000 } = options;
    if (!(names instanceof TokenSequence) && !(names instanceof LineageHashes))
      wrongType(`${operation} names`, 'a TokenSequence or LineageHashes', names);
    this.#assertOpen(operation);
    const wanted = names instanceof TokenSequence ? names.lineageHashes(first) : names.slice(first);
    if (wanted.length === 0) return undefined;
    const identities = names instanceof TokenSequence ? names.identities(first, wanted.length) : undefined;
    const deadline = performance.now() + timeoutMs;
    const call = { instanceId: this.instanceId, timeoutMs, ...(signal === undefined ? {} : { signal }) };
    const found = (await this.client.unary(
      { op: 'find', names: wanted.bytes, leaseMs: timeoutMs },
      call,
    )) as LeasedBlocks;
    if (found.lease === 0) return undefined;
    let target: MutableBlocks | null;
    try {
      this.#assertOpen(operation);
      checkFound(operation, found, wanted.length);
      target = this.manager.allocate(found.ids.length);
    } catch (error) {
      this.#abandon(found.lease);
      throw error;
    }
    if (target === null) {
      await this.#release(found.lease);
      return undefined;
    }
    const { length } = found.ids;
    const blockNames = {
      names: wanted.slice(0, length),
      identities: identities?.subarray(0, length * IDENTITY_BYTES) ?? found.identities,
    };
    return await this.#fill(target, blockNames, found, deadline - performance.now(), signal);
  }

  async #fill(
    target: MutableBlocks,
    { names, identities }: BlockNames,
    found: LeasedBlocks,
    leftMs: number,
    signal: AbortSignal | undefined,
  ): Promise<RegisteredBlocks> {
    const operation = 'remote.pull';
    const { done, settled } = this.blocks.read(target.ids, found.ids);
    let isSettled = false;
    const settling = settled.then((known) => (isSettled = known));
    try {
      await withDeadline(done, { operation, timeoutMs: leftMs, signal });
      if (!(await this.#release(found.lease))) throw leaseLost('the lease expired before the blocks were read');
      settleChecksums(operation, this.manager.core, target.id(operation), words(found.checksums));
      const registered = target.stageWith(names, identities).register();
      this.#counts.pulled += registered.length;
      return registered;
    } catch (error) {
      this.#counts.discarded += 1;
      if (isSettled) target.dispose();
      else this.#quarantine(target, settling);
      this.#abandon(found.lease);
      throw error;
    }
  }

  #quarantine(target: MutableBlocks, settling: Promise<boolean>): void {
    const { length } = target;
    this.#counts.quarantined += length;
    void settling.then((known) => {
      if (!known) return;
      this.#counts.quarantined -= length;
      target.dispose();
    });
  }

  async #release(lease: number): Promise<boolean> {
    const released = (await this.client.unary(
      { op: 'release', lease },
      { instanceId: this.instanceId, timeoutMs: 5000 },
    )) as ReleasedLease;
    return released.held;
  }

  /** Releases a lease without waiting: the owner may be lost. */
  #abandon(lease: number): void {
    void this.#release(lease).catch(() => {});
  }

  #assertOpen(operation: string): void {
    if (this.#closed) throw new ClosedError('the remote blocks', operation);
  }

  /** Counts of pulled and discarded blocks. */
  statistics(): RemoteBlocksStatistics {
    return { ...this.#counts };
  }

  /** Releases the native block lists. Later pulls fail with `ClosedError`. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.blocks.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
