import { checkInstance, checkInstanceId, checkInteger, checkOptions, checkSignal, wrongType } from '../check.js';
import { ClosedError, DynamoError, shown } from '../errors.js';
import { NixlAgent } from '../nixl/agent.js';
import type { BlockList } from '../nixl/blocks.js';
import type { MemoryDescriptor } from '../nixl/memory.js';
import { Client } from '../runtime/client.js';
import { Endpoint } from '../runtime/endpoint.js';
import type { ServedEndpoint } from '../runtime/serve.js';
import type { MutableBlocks, RegisteredBlocks } from './blocks.js';
import { BlockLayoutError } from './errors.js';
import { bigWords, LineageHashes } from './hashes.js';
import { landed, limited } from './in-flight.js';
import { layoutText } from './layout.js';
import { BlockManager } from './manager.js';
import { settleChecksums } from './nixl-copy.js';
import { TokenSequence } from './sequence.js';

/** What a reader asks of an owner. */
export type ShareRequest =
  | { readonly op: 'describe' }
  | { readonly op: 'find'; readonly names: Uint8Array; readonly leaseMs: number }
  | { readonly op: 'release'; readonly lease: number };

/** @inline */
interface Description {
  readonly layout: string;
  readonly blockBytes: number;
  readonly metadata: Uint8Array;
  readonly memory: MemoryDescriptor;
}

/** @inline */
interface Found {
  /** 0 where nothing was found. */
  readonly lease: number;
  readonly ids: readonly number[];
  /** For each block 8 bytes a layer; 0 where the owner keeps none. */
  readonly checksums: Uint8Array;
  readonly identities: Uint8Array;
}

/** @inline */
interface Released {
  /** Whether the blocks were held all the time until now. */
  readonly held: boolean;
}

/** An owner's answer: what it is, the blocks that it lent, or that a lease is over. */
export type ShareResponse = Description | Found | Released;

/** An endpoint that block managers share their blocks through. */
export type ShareEndpoint = Endpoint<ShareRequest, ShareResponse>;

/** How blocks are lent. */
export interface ShareOptions {
  /** The longest that a reader may hold blocks without asking again. @default 10000 */
  readonly mostLeaseMs?: number;
  /** Leases at a time; beyond, readers find nothing. @default 1024 */
  readonly mostLeases?: number;
}

interface Lease {
  readonly blocks: RegisteredBlocks;
  readonly timer: NodeJS.Timeout;
}

/**
 * Lets other processes read a manager's blocks: they find them by name through an endpoint and pull the bytes with NIXL.
 * What is read is held under a lease, so it is not evicted; a lease that its reader does not end expires.
 *
 * @example
 * await using shared = await SharedBlocks.serve(manager, agent, runtime.endpoint('kv.decode.blocks'));
 */
export class SharedBlocks implements AsyncDisposable {
  readonly #leases = new Map<number, Lease>();
  #served: ServedEndpoint | undefined;
  #closed = false;
  #nextLease = 1;

  private constructor(
    readonly manager: BlockManager,
    private readonly agent: NixlAgent,
    private readonly memory: MemoryDescriptor,
    private readonly options: Required<ShareOptions>,
  ) {}

  /** Registers the manager's memory with the agent and serves the endpoint. */
  static async serve(
    manager: BlockManager,
    agent: NixlAgent,
    endpoint: ShareEndpoint,
    options: ShareOptions = {},
  ): Promise<SharedBlocks> {
    const path = 'SharedBlocks.serve options';
    checkInstance('SharedBlocks.serve manager', manager, BlockManager);
    checkInstance('SharedBlocks.serve agent', agent, NixlAgent);
    checkInstance('SharedBlocks.serve endpoint', endpoint, Endpoint);
    checkOptions(path, options, ['mostLeaseMs', 'mostLeases']);
    const { mostLeaseMs = 10_000, mostLeases = 1024 } = options;
    checkInteger(`${path}.mostLeaseMs`, mostLeaseMs, 1, 2 ** 31 - 1);
    checkInteger(`${path}.mostLeases`, mostLeases, 1);
    const region = await manager.registerWith(agent);
    if (region.memory === 'FILE')
      throw new TypeError(
        'SharedBlocks.serve manager: expected blocks in memory, got blocks in a file, which no peer can reach',
      );
    // A region may be longer than its blocks.
    const memory = { ...region.descriptor(), bytes: manager.blockCount * manager.blockBytes };
    const shared = new SharedBlocks(manager, agent, memory, { mostLeaseMs, mostLeases });
    shared.#served = await endpoint.serve((request) => shared.#answer(request));
    return shared;
  }

  /** Leases that readers have now. */
  get leases(): number {
    return this.#leases.size;
  }

  #answer(request: ShareRequest): ShareResponse | Promise<ShareResponse> {
    switch (request.op) {
      case 'describe':
        return this.#describe();
      case 'find':
        return this.#find(new LineageHashes(request.names), request.leaseMs);
      case 'release':
        return { held: this.#end(request.lease) };
      default:
        throw new DynamoError(
          'InvalidRequest',
          `shared blocks: expected op describe, find or release, got ${String((request as { op?: unknown }).op)}`,
        );
    }
  }

  async #describe(): Promise<Description> {
    const { manager, memory } = this;
    return {
      layout: layoutText(manager),
      blockBytes: manager.blockBytes,
      metadata: await this.agent.metadata(),
      memory,
    };
  }

  #find(names: LineageHashes, leaseMs: number): Found {
    const isFree = !this.#closed && this.#leases.size < this.options.mostLeases;
    const blocks = isFree ? this.manager.matchPrefix(names) : undefined;
    if (blocks === undefined) return { lease: 0, ids: [], checksums: new Uint8Array(), identities: new Uint8Array() };
    const lease = this.#nextLease++;
    const timer = setTimeout(() => this.#end(lease), Math.max(1, Math.min(leaseMs, this.options.mostLeaseMs)));
    timer.unref();
    this.#leases.set(lease, { blocks, timer });
    return { lease, ids: [...blocks.ids], checksums: blocks.checksums(), identities: blocks.identities() };
  }

  #end(id: number): boolean {
    const lease = this.#leases.get(id);
    if (lease === undefined) return false;
    this.#leases.delete(id);
    clearTimeout(lease.timer);
    lease.blocks.dispose();
    return true;
  }

  /** Leaves discovery and ends every lease: what readers are pulling now they will not use. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    const served = this.#served;
    this.#served = undefined;
    await served?.close();
    for (const lease of [...this.#leases.keys()]) this.#end(lease);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** How long a pull may take. */
export interface PullOptions {
  /** Ends the pull with the signal's reason. */
  readonly signal?: AbortSignal;
  /** How long finding and reading may take, which is also the lease asked for. @default 5000 */
  readonly timeoutMs?: number;
}

/** Counts of blocks, since the beginning; `quarantined` now. */
export interface RemoteBlocksStatistics {
  readonly pulled: number;
  /** Pulls whose bytes were thrown away: the lease was over, the owner is gone, or time was up. */
  readonly discarded: number;
  /** Blocks that a transfer which was given up may still write to; they go back when it ends. */
  readonly quarantined: number;
}

/** What is known of blocks before they are here. */
interface Known {
  readonly names: LineageHashes;
  readonly identities: Uint8Array;
}

const IDENTITY_BYTES = 16;

/** An owner of another version, or one that is none. */
function checkFound(operation: string, { ids }: Found, most: number): void {
  const isAnswer =
    Array.isArray(ids) && ids.length > 0 && ids.length <= most && ids.every((id) => Number.isInteger(id) && id >= 0);
  if (!isAnswer)
    throw new DynamoError(
      'BackendProtocol',
      `${operation}: expected the ids of 1 to ${most} blocks from the owner, got ${shown(ids)}`,
      { reason: 'kvbm.answer', operation },
    );
}

function lost(message: string): DynamoError {
  return new DynamoError('Unavailable', message, { reason: 'kvbm.lease_lost', operation: 'remote.pull' });
}

/**
 * Another process's blocks, to be pulled into a manager here. What a pull gives are the bytes that the names stand for, or
 * it is an error: they count only once the owner has said that it held them until they were read.
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
    private readonly agent: NixlAgent,
    private readonly client: Client<ShareRequest, ShareResponse>,
    private readonly mine: BlockList,
    private readonly theirs: BlockList,
  ) {}

  /**
   * Gets to know the owner behind one instance of the endpoint.
   *
   * @throws BlockLayoutError where its layout is another
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
    const region = await manager.registerWith(agent);
    const description = (await client.unary({ op: 'describe' }, { instanceId })) as Description;
    if (region.memory === 'FILE')
      throw new TypeError(
        'RemoteBlocks.connect manager: expected blocks in memory, got blocks in a file, which no peer can fill',
      );
    const ours = layoutText(manager);
    if (description.layout !== ours || description.blockBytes !== manager.blockBytes) {
      throw new BlockLayoutError(
        `RemoteBlocks.connect: expected the layout ${ours}, got ${description.layout}`,
        'RemoteBlocks.connect',
      );
    }
    const peer = await agent.connect(description.metadata);
    const mine = await agent.blocks(region.slice(0, manager.blockCount * manager.blockBytes), manager.blockBytes);
    const theirs = await agent.blocks(peer.memory(description.memory), manager.blockBytes);
    return new RemoteBlocks(manager, instanceId, agent, client, mine, theirs);
  }

  /**
   * Copies the longest run of blocks that the owner has, from block `first` on, and registers them here. Undefined where it
   * has none, or there is no room here. Of blocks that were pulled by names alone `manager.events()` tells where the owner's
   * manager has the option `events` too.
   *
   * @throws DynamoError `DYN_UNAVAILABLE` where the owner or its lease was lost, `DYN_DEADLINE_EXCEEDED` where time was up
   * @throws DynamoError `DYN_BACKEND_PROTOCOL` where the owner's answer is none to what was asked
   * @throws BlockChecksumError where both keep checksums and they differ
   */
  async pull(
    names: TokenSequence | LineageHashes,
    first = 0,
    options: PullOptions = {},
  ): Promise<RegisteredBlocks | undefined> {
    const operation = 'remote.pull';
    checkOptions(`${operation} options`, options, ['signal', 'timeoutMs']);
    const { signal, timeoutMs = 5000 } = options;
    if (signal !== undefined) checkSignal(`${operation} options.signal`, signal);
    checkInteger(`${operation} options.timeoutMs`, timeoutMs, 1, 2 ** 31 - 1);
    if (!(names instanceof TokenSequence) && !(names instanceof LineageHashes))
      wrongType(`${operation} names`, 'a TokenSequence or LineageHashes', names);
    this.#open(operation);
    const wanted = names instanceof TokenSequence ? names.lineageHashes(first) : names.slice(first);
    if (wanted.length === 0) return undefined;
    const identities = names instanceof TokenSequence ? names.identities(first, wanted.length) : undefined;
    const until = performance.now() + timeoutMs;
    const call = { instanceId: this.instanceId, timeoutMs, ...(signal === undefined ? {} : { signal }) };
    const found = (await this.client.unary({ op: 'find', names: wanted.bytes, leaseMs: timeoutMs }, call)) as Found;
    if (found.lease === 0) return undefined;
    let target: MutableBlocks | null;
    try {
      this.#open(operation);
      checkFound(operation, found, wanted.length);
      target = this.manager.allocate(found.ids.length);
    } catch (error) {
      this.#giveUp(found.lease);
      throw error;
    }
    if (target === null) {
      await this.#release(found.lease);
      return undefined;
    }
    const { length } = found.ids;
    const known = {
      names: wanted.slice(0, length),
      identities: identities?.subarray(0, length * IDENTITY_BYTES) ?? found.identities,
    };
    return await this.#fill(target, known, found, until - performance.now(), signal);
  }

  async #fill(
    target: MutableBlocks,
    { names, identities }: Known,
    found: Found,
    leftMs: number,
    signal: AbortSignal | undefined,
  ): Promise<RegisteredBlocks> {
    const operation = 'remote.pull';
    const land = this.manager.fly();
    // Neither signal nor limit goes to the transfer: a transfer that is given up still writes, so its end must be seen.
    const reading = this.agent.transferBlocks(
      'READ',
      this.mine,
      Int32Array.from(target.ids),
      this.theirs,
      Int32Array.from(found.ids),
    );
    let isOver = false;
    const over = landed(reading, this.agent).then((known) => {
      isOver = known;
      if (known) land();
      return known;
    });
    try {
      await limited(reading, { operation, ms: leftMs, signal });
      if (!(await this.#release(found.lease))) throw lost('the lease was over before the blocks were read');
      settleChecksums(operation, this.manager, target.id(operation), bigWords(found.checksums));
      const registered = target.stageWith(names, identities).register();
      this.#counts.pulled += registered.length;
      return registered;
    } catch (error) {
      this.#counts.discarded += 1;
      if (isOver) target.dispose();
      else this.#quarantine(target, over);
      this.#giveUp(found.lease);
      throw error;
    }
  }

  #quarantine(target: MutableBlocks, over: Promise<boolean>): void {
    const { length } = target;
    this.#counts.quarantined += length;
    void over.then((known) => {
      if (!known) return;
      this.#counts.quarantined -= length;
      target.dispose();
    });
  }

  async #release(lease: number): Promise<boolean> {
    const released = (await this.client.unary(
      { op: 'release', lease },
      { instanceId: this.instanceId, timeoutMs: 5000 },
    )) as Released;
    return released.held;
  }

  /** Nobody waits for the owner, who may be gone. */
  #giveUp(lease: number): void {
    void this.#release(lease).catch(() => {});
  }

  #open(operation: string): void {
    if (this.#closed) throw new ClosedError('the remote blocks', operation);
  }

  /** What was pulled so far. */
  statistics(): RemoteBlocksStatistics {
    return { ...this.#counts };
  }

  /** Forgets the owner. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.mine.release();
    await this.theirs.release();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
