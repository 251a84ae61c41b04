import { Closeable } from '../addon/closeable.js';
import { packArgs } from '../addon/codec.js';
import { arg, invoke, invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { MAX_THREADS } from '../check.js';
import { integer, type OptionTable, oneOf, optionTable } from '../options.js';
import { asBytes, hashWords } from '../words.js';
import { decodeEvents, encodeEvents, type RouterEvent } from './events.js';
import { computeBlockHashes, type HashOptions } from './hashing.js';
import { blockSizeRow } from './option-rows.js';
import { OverlapScores } from './overlap.js';
import { rankParts } from './radix-tree.js';

const INDEXER_KINDS = ['radix', 'concurrent', 'positional', 'approximate'] as const;
/**
 * The data structure of an index. Source: `dynamo-kv-router` `indexer/`.
 * - `radix`: a tree that one thread writes and reads in order
 * - `concurrent`: a compressed tree that several threads write while any thread reads. Routers use it.
 * - `positional`: blocks by position, so that a match skips several blocks at once
 * - `approximate`: without events. Blocks of routed prompts are assumed to be cached until they expire.
 * @useDeclaredType
 */
export type IndexerKind = (typeof INDEXER_KINDS)[number];

/** Options of a `KvIndexer`. */
export interface KvIndexerOptions {
  /** Tokens in a block. */
  readonly blockSize: number;
  /** @default 'concurrent' */
  readonly kind?: IndexerKind;
  /** Threads that apply events. Not for `radix`. @default 4 */
  readonly threads?: number;
  /** Blocks that `positional` skips at once. @default 8 */
  readonly jumpSize?: number;
  /** How long blocks of routed prompts are assumed to be cached, for `approximate`. @default 120000 */
  readonly ttlMs?: number;
}

const KV_INDEXER_OPTIONS: OptionTable<KvIndexerOptions> = optionTable<KvIndexerOptions>({
  blockSize: blockSizeRow.required(),
  kind: oneOf(...INDEXER_KINDS).about('The data structure of the index.'),
  threads: integer(1, MAX_THREADS).about('Threads that apply events. Not for `radix`.'),
  jumpSize: integer(1).about('Blocks that `positional` skips at once.'),
  ttlMs: integer(1).about('How long blocks of routed prompts are assumed to be cached, for `approximate`.'),
});

/**
 * An index of the blocks that each worker has. It runs on its own threads. `RadixTree` is simpler if one thread is
 * enough.
 *
 * @example
 * await using indexer = new KvIndexer({ blockSize: 16 });
 * await indexer.apply(events);
 * const scores = await indexer.findMatchesForTokens(promptTokens);
 */
export class KvIndexer extends Closeable<'indexer'> {
  readonly blockSize: number;
  readonly kind: IndexerKind;

  constructor(options: KvIndexerOptions) {
    KV_INDEXER_OPTIONS.check('KvIndexer options', options);
    const { blockSize, kind = 'concurrent', threads = 4, jumpSize = 8, ttlMs = 120_000 } = options;
    const args =
      kind === 'approximate'
        ? { kind: 'concurrent', blockSize, threads, jumpSize, ttlMs }
        : { kind, blockSize, threads, jumpSize };
    super('the indexer', invokeSync(native.indexerCreate, 'KvIndexer', { args: packArgs(args) }));
    this.blockSize = blockSize;
    this.kind = kind;
  }

  /**
   * Applies events. Those of one worker are applied in order. Resolves when matches see them. Rejected events are
   * logged.
   */
  async apply(events: readonly RouterEvent[]): Promise<void> {
    const operation = 'indexer.apply';
    const payload = asBytes(encodeEvents(`${operation} events`, events, false));
    await invoke(native.indexerApply, operation, { handle: this.handle(operation), payload });
  }

  /** Returns how many of the first blocks of a prompt each worker has. */
  async findMatches(hashes: BigUint64Array | readonly bigint[]): Promise<OverlapScores> {
    const operation = 'indexer.findMatches';
    const payload = asBytes(hashWords(`${operation} hashes`, hashes));
    return new OverlapScores(await invoke(native.indexerMatch, operation, { handle: this.handle(operation), payload }));
  }

  /**
   * Like `findMatches`, synchronously in this thread.
   *
   * @throws DynamoError `DYN_NOT_IMPLEMENTED` for kind `radix`, which answers only on its own thread
   */
  findMatchesSync(hashes: BigUint64Array | readonly bigint[]): OverlapScores {
    const operation = 'indexer.findMatchesSync';
    const payload = asBytes(hashWords(`${operation} hashes`, hashes));
    return new OverlapScores(
      invokeSync(native.indexerMatchHere, operation, { handle: this.handle(operation), payload }),
    );
  }

  /** Like `findMatches`, for the tokens of a prompt. */
  findMatchesForTokens(tokens: Uint32Array | readonly number[], options?: HashOptions): Promise<OverlapScores> {
    return this.findMatches(computeBlockHashes(tokens, this.blockSize, options));
  }

  /** Records that a prompt was routed to a worker. Kind `approximate` then assumes that its blocks are cached there. */
  async routed(workerId: bigint, hashes: BigUint64Array | readonly bigint[], dpRank = 0): Promise<void> {
    const operation = 'indexer.routed';
    rankParts(operation, workerId, dpRank);
    const promptHashes = hashWords(`${operation} hashes`, hashes);
    const payload = new BigUint64Array(promptHashes.length + 1);
    payload[0] = workerId;
    payload.set(promptHashes, 1);
    await invoke(native.indexerRouted, operation, {
      handle: this.handle(operation),
      payload,
      a: arg('dpRank', dpRank),
    });
  }

  /** Removes a worker, or one rank of it. */
  async removeWorker(workerId: bigint, dpRank?: number): Promise<void> {
    const operation = 'indexer.removeWorker';
    await invoke(native.indexerRemove, operation, {
      handle: this.handle(operation),
      ...rankParts(operation, workerId, dpRank),
    });
  }

  /** Returns events that rebuild the index: `other.apply(await indexer.dump())`. */
  async dump(): Promise<RouterEvent[]> {
    return decodeEvents(await invoke(native.indexerDump, 'indexer.dump', { handle: this.handle('indexer.dump') }));
  }

  /** Ends its threads. @internal */
  protected override async closeHandle(handle: Handle<'indexer'>): Promise<void> {
    await invoke(native.indexerClose, 'indexer.close', { handle });
  }
}
