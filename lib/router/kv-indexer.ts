import { packArgs } from '../addon/codec.js';
import { invoke, invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { open } from '../addon/stream.js';
import { checkInteger, checkOneOf, checkOptions } from '../check.js';
import { asBytes, hashWords } from '../words.js';
import { decodeEvents, encodeEvents, type RouterEvent } from './events.js';
import { computeBlockHashes, type HashOptions } from './hashing.js';
import { OverlapScores } from './overlap.js';
import { rankParts } from './radix-tree.js';

const INDEXER_KINDS = ['radix', 'concurrent', 'positional', 'approximate'] as const;
/**
 * How an index is kept. Source: `dynamo-kv-router` `indexer/`.
 * - `radix`: a tree that one thread writes and reads in order
 * - `concurrent`: a compressed tree that several threads write while any thread reads; what routers use
 * - `positional`: blocks by their position, which a match skips through in jumps
 * - `approximate`: no events; what was routed to a worker counts as there until its time is over
 * @useDeclaredType
 */
export type IndexerKind = (typeof INDEXER_KINDS)[number];

/** How an index is made. */
export interface KvIndexerOptions {
  /** Tokens in a block. */
  readonly blockSize: number;
  /** @default 'concurrent' */
  readonly kind?: IndexerKind;
  /** Threads that apply events; not for `radix`. @default 4 */
  readonly threads?: number;
  /** Blocks that `positional` skips at once. @default 8 */
  readonly jumpSize?: number;
  /** How long what was routed counts as there; for `approximate`. @default 120000 */
  readonly ttlMs?: number;
}

/**
 * An index of which worker has which blocks, on threads of its own. Where one thread is enough, `RadixTree` is less.
 *
 * @example
 * await using indexer = new KvIndexer({ blockSize: 16 });
 * await indexer.apply(events);
 * const scores = await indexer.findMatchesForTokens(promptTokens);
 */
export class KvIndexer implements AsyncDisposable {
  #handle: Handle | undefined;
  #closing: Promise<void> | undefined;
  readonly blockSize: number;
  readonly kind: IndexerKind;

  constructor(options: KvIndexerOptions) {
    const path = 'KvIndexer options';
    checkOptions(path, options, ['blockSize', 'kind', 'threads', 'jumpSize', 'ttlMs']);
    const { blockSize, kind = 'concurrent', threads = 4, jumpSize = 8, ttlMs = 120_000 } = options;
    checkInteger(`${path}.blockSize`, blockSize, 1, 0xffff_ffff);
    checkOneOf(`${path}.kind`, kind, INDEXER_KINDS);
    checkInteger(`${path}.threads`, threads, 1, 256);
    checkInteger(`${path}.jumpSize`, jumpSize, 1);
    checkInteger(`${path}.ttlMs`, ttlMs, 1);
    this.blockSize = blockSize;
    this.kind = kind;
    const args =
      kind === 'approximate'
        ? { kind: 'concurrent', blockSize, threads, jumpSize, ttlMs }
        : { kind, blockSize, threads, jumpSize };
    this.#handle = invokeSync(native.indexerCreate, 'KvIndexer', { args: packArgs(args) });
  }

  #open(operation: string): Handle {
    return open(this.#handle, 'the indexer', operation);
  }

  /** Applies events, a worker's in their order. Resolves when matches see them; what an index refuses it logs. */
  async apply(events: readonly RouterEvent[]): Promise<void> {
    const operation = 'indexer.apply';
    const payload = asBytes(encodeEvents(`${operation} events`, events, false));
    await invoke(native.indexerApply, operation, { handle: this.#open(operation), payload });
  }

  /** Who has the first blocks of a prompt. */
  async findMatches(hashes: BigUint64Array | readonly bigint[]): Promise<OverlapScores> {
    const operation = 'indexer.findMatches';
    const payload = asBytes(hashWords(`${operation} hashes`, hashes));
    return new OverlapScores(await invoke(native.indexerMatch, operation, { handle: this.#open(operation), payload }));
  }

  /**
   * As `findMatches`, at once in this thread.
   *
   * @throws DynamoError `DYN_NOT_IMPLEMENTED` for kind `radix`, which answers on its own thread only
   */
  findMatchesSync(hashes: BigUint64Array | readonly bigint[]): OverlapScores {
    const operation = 'indexer.findMatchesSync';
    const payload = asBytes(hashWords(`${operation} hashes`, hashes));
    return new OverlapScores(
      invokeSync(native.indexerMatchHere, operation, { handle: this.#open(operation), payload }),
    );
  }

  /** Who has the beginning of a prompt. */
  findMatchesForTokens(tokens: Uint32Array | readonly number[], options?: HashOptions): Promise<OverlapScores> {
    return this.findMatches(computeBlockHashes(tokens, this.blockSize, options));
  }

  /** Records that a prompt was routed to a worker: with kind `approximate` its blocks count as there. */
  async routed(workerId: bigint, hashes: BigUint64Array | readonly bigint[], dpRank = 0): Promise<void> {
    const operation = 'indexer.routed';
    rankParts(operation, workerId, dpRank);
    const wanted = hashWords(`${operation} hashes`, hashes);
    const all = new BigUint64Array(wanted.length + 1);
    all[0] = workerId;
    all.set(wanted, 1);
    await invoke(native.indexerRouted, operation, { handle: this.#open(operation), payload: asBytes(all), a: dpRank });
  }

  /** Forgets a worker, or one rank of it. */
  async removeWorker(workerId: bigint, dpRank?: number): Promise<void> {
    const operation = 'indexer.removeWorker';
    await invoke(native.indexerRemove, operation, {
      handle: this.#open(operation),
      ...rankParts(operation, workerId, dpRank),
    });
  }

  /** Events that build the same index anew: `other.apply(await indexer.dump())`. */
  async dump(): Promise<RouterEvent[]> {
    return decodeEvents(await invoke(native.indexerDump, 'indexer.dump', { handle: this.#open('indexer.dump') }));
  }

  /** Ends its threads; every later call fails with `ClosedError`. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const handle = this.#handle as Handle;
    this.#handle = undefined;
    await invoke(native.indexerClose, 'indexer.close', { handle });
  }

  /** Closes it at the end of an `await using` block. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
