import { checkInstance } from '../check.js';
import { DynamoError } from '../errors.js';
import { NixlAgent } from '../nixl/agent.js';
import { integer, milliseconds, type OptionTable, optionTable } from '../options.js';
import { Endpoint } from '../runtime/endpoint.js';
import type { ServedEndpoint } from '../runtime/serve.js';
import type { RegisteredBlocks } from './blocks.js';
import { LineageHashes } from './hashes.js';
import { BlockManager } from './manager.js';
import { describeBlocks, type PeerDescription } from './peer-blocks.js';

/** A request from a reader to an owner. */
export type ShareRequest =
  | { readonly op: 'describe' }
  | { readonly op: 'find'; readonly names: Uint8Array; readonly leaseMs: number }
  | { readonly op: 'release'; readonly lease: number };

/**
 * The answer to `describe`.
 * @inline
 */
export interface ShareDescription extends PeerDescription {}

/**
 * The answer to `find`.
 * @inline
 */
export interface LeasedBlocks {
  /** 0 if no block was found. */
  readonly lease: number;
  readonly ids: readonly number[];
  /** 8 bytes a layer of each block; 0 if the owner keeps none. */
  readonly checksums: Uint8Array;
  readonly identities: Uint8Array;
}

/**
 * The answer to `release`.
 * @inline
 */
export interface ReleasedLease {
  /** Whether the lease was valid until this request. */
  readonly held: boolean;
}

/** An owner's answer: its description, the leased blocks, or the end of a lease. */
export type ShareResponse = ShareDescription | LeasedBlocks | ReleasedLease;

/** An endpoint through which a block manager shares its blocks. */
export type ShareEndpoint = Endpoint<ShareRequest, ShareResponse>;

/** Limits of an owner's leases. */
export interface ShareOptions {
  /** The maximum duration of a lease. @default 10000 */
  readonly maxLeaseMs?: number;
  /** The maximum number of concurrent leases. Beyond it readers find no blocks. @default 1024 */
  readonly maxLeases?: number;
}

const SHARE_OPTIONS: OptionTable<ShareOptions> = optionTable<ShareOptions>({
  maxLeaseMs: milliseconds(1),
  maxLeases: integer(1),
});

interface Lease {
  readonly blocks: RegisteredBlocks;
  readonly timer: NodeJS.Timeout;
}

/**
 * Shares a manager's blocks with other processes. They find blocks by name through an endpoint and read the bytes with
 * NIXL. Blocks are leased while they are read, so they are not evicted. A lease that its reader does not release
 * expires.
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
    private readonly description: Omit<PeerDescription, 'metadata'>,
    private readonly options: Required<ShareOptions>,
  ) {}

  /** Registers the manager's memory with the agent and serves the endpoint. */
  static async serve(
    manager: BlockManager,
    agent: NixlAgent,
    endpoint: ShareEndpoint,
    options: ShareOptions = {},
  ): Promise<SharedBlocks> {
    checkInstance('SharedBlocks.serve manager', manager, BlockManager);
    checkInstance('SharedBlocks.serve agent', agent, NixlAgent);
    checkInstance('SharedBlocks.serve endpoint', endpoint, Endpoint);
    SHARE_OPTIONS.check('SharedBlocks.serve options', options);
    const { maxLeaseMs = 10_000, maxLeases = 1024 } = options;
    const description = await describeBlocks('SharedBlocks.serve manager', manager, agent);
    const shared = new SharedBlocks(manager, agent, description, { maxLeaseMs, maxLeases });
    shared.#served = await endpoint.serve((request) => shared.#answer(request));
    return shared;
  }

  /** Number of present leases. */
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

  async #describe(): Promise<ShareDescription> {
    return { ...this.description, metadata: await this.agent.metadata() };
  }

  #find(names: LineageHashes, leaseMs: number): LeasedBlocks {
    const { maxLeaseMs, maxLeases } = this.options;
    const isFree = !this.#closed && this.#leases.size < maxLeases;
    const blocks = isFree ? this.manager.matchPrefix(names) : undefined;
    if (blocks === undefined) return { lease: 0, ids: [], checksums: new Uint8Array(), identities: new Uint8Array() };
    const lease = this.#nextLease++;
    const timer = setTimeout(() => this.#end(lease), Math.max(1, Math.min(leaseMs, maxLeaseMs)));
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

  /** Leaves discovery and ends every lease. Readers discard what they are reading now. Idempotent. */
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
