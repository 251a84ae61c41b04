import { badArgument } from '../errors.js';
import type { Eviction } from '../kvbm/options.js';
import type { BlockStatistics } from '../kvbm/statistics.js';
import type { BlockTiersStatistics } from '../kvbm/tiers.js';
import type { NixlAgentOptions } from '../nixl/agent-options.js';
import { libraryOption, type NixlLibrary } from '../nixl/library.js';
import {
  boolean,
  integer,
  milliseconds,
  nested,
  type OptionTable,
  oneOf,
  optionTable,
  signal,
  text,
} from '../options.js';
import type { PromptIdentity } from './block-index.js';
import type { OfferEnd } from './offers.js';
import type { SideChannelOptions, SideChannelStatistics } from './side-channel.js';
import { SHAPE_OPTIONS, type VllmStoreShape } from './store-shape.js';

/** The sizes and limits of a store. */
export interface VllmKvStoreOptions {
  /** The blocks of the workers: `shapeOf` or `shapeFor`. */
  readonly shape: VllmStoreShape;
  /** Blocks in host memory, from which workers read. */
  readonly blockCount: number;
  /** Blocks in a file, to which all blocks are copied. @default 0 */
  readonly diskBlocks?: number;
  /** A path that does not exist; the file has no name. Needed with `diskBlocks`. */
  readonly diskPath?: string;
  /** Which block is evicted first. @default 'lineage' */
  readonly eviction?: Extract<Eviction, string>;
  /**
   * The address on which the side channel listens. Every process that reaches it can read the blocks.
   *
   * @default '127.0.0.1'
   */
  readonly host?: string;
  /** 0 for any free port. @default 0 */
  readonly port?: number;
  /** The host that workers connect to. @default host */
  readonly advertisedHost?: string;
  /**
   * Workers have `bidirectional_kv_xfer: true` in `kv_connector_extra_config`: they accept the KV of a part of the
   * prompt. Without it, the store only offers whole prompts.
   *
   * @default false
   */
  readonly bidirectional?: boolean;
  /** How long a worker may take until it has read an offer, or sent a heartbeat. @default 30000 */
  readonly leaseMs?: number;
  /** The most offers at a time. @default 1024 */
  readonly maxOffers?: number;
  /** How long `keep` may take to read the blocks. @default 10000 */
  readonly readTimeoutMs?: number;
  /** How long a worker's side channel may take to answer. @default 5000 */
  readonly connectTimeoutMs?: number;
  /** How long `keep` waits for the KV events that name its blocks. Only with `applyEvent`. @default 0 */
  readonly eventWaitMs?: number;
  /** @default `loadNixl()` */
  readonly library?: NixlLibrary;
}

const STORE_OPTIONS: OptionTable<VllmKvStoreOptions> = optionTable<VllmKvStoreOptions>({
  shape: nested(SHAPE_OPTIONS).about('The blocks of the workers.').required(),
  blockCount: integer(1, 2 ** 24 - 2)
    .about('Blocks in host memory.')
    .required(),
  diskBlocks: integer(0, 2 ** 24 - 2).about('Blocks in a file.'),
  diskPath: text.about('A path that does not exist, for the file.'),
  eviction: oneOf('lineage', 'lineage-fifo', 'lru', 'fifo').about('Which block is evicted first.'),
  host: text.about('The address on which the side channel listens.'),
  port: integer(0, 65535).about('The port of the side channel; 0 for any free port.'),
  advertisedHost: text.about('The host that workers connect to.'),
  bidirectional: boolean.about('Workers accept the KV of a part of the prompt.'),
  leaseMs: milliseconds(1).about('How long a worker may take until it has read an offer.'),
  maxOffers: integer(1).about('The most offers at a time.'),
  readTimeoutMs: milliseconds(1).about('How long it may take to read the blocks of a worker.'),
  connectTimeoutMs: milliseconds(1).about("How long a worker's side channel may take to answer."),
  eventWaitMs: milliseconds(0).about('How long to wait for the KV events that name blocks.'),
  library: libraryOption,
});

/** The checked options, with their defaults. */
export function storeSettings(path: string, options: VllmKvStoreOptions) {
  STORE_OPTIONS.check(path, options);
  const { host = '127.0.0.1', port = 0, diskBlocks = 0, diskPath, library } = options;
  if ((diskPath === undefined) !== (diskBlocks === 0))
    throw badArgument(new TypeError(`${path}: expected both diskBlocks and diskPath, or none of them`));
  const sideChannel: SideChannelOptions = { host, port };
  const agent: NixlAgentOptions = library === undefined ? {} : { library };
  return {
    agent,
    sideChannel,
    diskBlocks,
    diskPath,
    blockCount: options.blockCount,
    eviction: options.eviction ?? 'lineage',
    advertisedHost: options.advertisedHost ?? host,
    bidirectional: options.bidirectional ?? false,
    leaseMs: options.leaseMs ?? 30_000,
    maxOffers: options.maxOffers ?? 1024,
    readTimeoutMs: options.readTimeoutMs ?? 10_000,
    connectTimeoutMs: options.connectTimeoutMs ?? 5000,
    eventWaitMs: options.eventWaitMs ?? 0,
  };
}

/** The side channel of a worker. */
export interface WorkerAddress {
  readonly host: string;
  readonly port: number;
}

/** @internal */
export const WORKER_OPTIONS: OptionTable<WorkerAddress> = optionTable<WorkerAddress>({
  host: text.about('Host of the side channel.').required(),
  port: integer(1, 65535).about('Port of the side channel.').required(),
});

const IDENTITY_ROWS = {
  salt: text.about('The text of cache_salt.'),
  loraName: text.about('The adapter.'),
};

/** @internal */
export const IDENTITY_OPTIONS: OptionTable<PromptIdentity> = optionTable<PromptIdentity>(IDENTITY_ROWS);

/** How blocks are stored. */
export interface KeepOptions extends PromptIdentity {
  /** How long it may take to read the blocks. @default the store's `readTimeoutMs` */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** @internal */
export const KEEP_OPTIONS: OptionTable<KeepOptions> = optionTable<KeepOptions>({
  ...IDENTITY_ROWS,
  timeoutMs: milliseconds(1).about('How long it may take to read the blocks.'),
  signal: signal.about('Ends the wait.'),
});

/** What `keep` has done. */
export interface KeptBlocks {
  /** Tokens whose KV the worker offered. */
  readonly tokens: number;
  /** Blocks of these tokens. */
  readonly blocks: number;
  /** Blocks that were read: those that the store did not have. */
  readonly stored: number;
  readonly bytes: number;
}

/** KV of a prompt, in the memory of the store. */
export interface StoredKv extends Disposable {
  /** Tokens from the beginning of the prompt. */
  readonly tokens: number;
  /** The bytes of the kernel block with this token, in one region. Only read them, until the object is disposed of. */
  part(token: number, region: number): Uint8Array;
}

/** Counts of a store since its start, and its present state. */
export interface VllmKvStoreStatistics {
  /** Calls of `offer`, and the tokens of their prompts. */
  readonly queries: number;
  readonly queriedTokens: number;
  readonly wholeHits: number;
  readonly partialHits: number;
  /** Tokens that were offered. */
  readonly hitTokens: number;
  /** `hitTokens` / `queriedTokens`. */
  readonly hitRate: number;
  /** Blocks that were stored. */
  readonly keptBlocks: number;
  /** Bytes that were read from workers. */
  readonly keptBytes: number;
  /** Bytes of the offers that were read. A worker does not read what it has cached itself. */
  readonly readBytes: number;
  /** Calls that had too few free blocks, or too many open offers. */
  readonly exhausted: number;
  /** KV events about blocks whose parent is not known. */
  readonly unplacedEvents: number;
  readonly openOffers: number;
  readonly endedOffers: Readonly<Record<OfferEnd, number>>;
  /** Blocks of the index: stored ones, and those of events. */
  readonly knownBlocks: number;
  /** Those of them that have vLLM's own hash, from a KV event. */
  readonly namedBlocks: number;
  /** Blocks of abandoned reads, whose bytes may still arrive. */
  readonly quarantinedBlocks: number;
  readonly blocks: BlockStatistics;
  /** Undefined without a file. */
  readonly tiers: BlockTiersStatistics | undefined;
  readonly sideChannel: SideChannelStatistics;
}
