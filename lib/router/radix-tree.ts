import { unpack } from '../addon/codec.js';
import { invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { open } from '../addon/stream.js';
import { checkBoolean, checkInstanceId, checkInteger, checkOptions } from '../check.js';
import { asBytes, hashWords } from '../words.js';
import { decodeEvents, encodeEvents, type RouterEvent } from './events.js';
import { OverlapScores } from './overlap.js';

/** The payload and the number under which native functions take a worker or one rank of it. */
export function rankParts(
  path: string,
  workerId: bigint,
  dpRank: number | undefined,
): { payload: Uint8Array; a: number } {
  checkInstanceId(`${path} workerId`, workerId);
  if (dpRank !== undefined) checkInteger(`${path} dpRank`, dpRank, 0, 0xffff_fffe);
  return { payload: asBytes(BigUint64Array.of(workerId)), a: dpRank === undefined ? 0 : dpRank + 1 };
}

/**
 * The tree of prefixes behind KV-aware routing, in this thread: which worker has which blocks. Every call is done when it
 * returns. Source: `dynamo-kv-router` `indexer/radix_tree.rs`.
 *
 * @example
 * const tree = new RadixTree();
 * const tokensHashes = computeBlockHashes(tokens, 16);
 * tree.apply([{ kind: 'stored', workerId: 7n, blockHashes: computeSequenceHashes(tokensHashes), tokensHashes }]);
 * tree.findMatches(tokensHashes).get(7n);
 */
export class RadixTree implements Disposable {
  #handle: Handle | undefined = invokeSync(native.radixTreeCreate, 'RadixTree');

  #open(operation: string): Handle {
    return open(this.#handle, 'the radix tree', operation);
  }

  /**
   * Applies events in order. Gives how many the tree refused: a run after a block that its worker does not have, the removal
   * of a block that nobody stored.
   */
  apply(events: readonly RouterEvent[]): number {
    const operation = 'radixTree.apply';
    const payload = asBytes(encodeEvents(`${operation} events`, events, false));
    return invokeSync(native.radixTreeApply, operation, { handle: this.#open(operation), payload });
  }

  /**
   * Who has the first blocks of a prompt. `earlyExit` stops at the first fork of the tree before which one rank alone has the
   * last blocks: its score is then a lower bound, and the highest all the same. Without such a fork the scores are whole.
   */
  findMatches(
    hashes: BigUint64Array | readonly bigint[],
    options: { readonly earlyExit?: boolean } = {},
  ): OverlapScores {
    const operation = 'radixTree.findMatches';
    const payload = asBytes(hashWords(`${operation} hashes`, hashes));
    checkOptions(`${operation} options`, options, ['earlyExit']);
    const { earlyExit = false } = options;
    checkBoolean(`${operation} options.earlyExit`, earlyExit);
    return new OverlapScores(
      invokeSync(native.radixTreeMatch, operation, { handle: this.#open(operation), payload, a: earlyExit ? 1 : 0 }),
    );
  }

  /** Forgets a worker, or one rank of it. */
  removeWorker(workerId: bigint, dpRank?: number): void {
    const operation = 'radixTree.removeWorker';
    invokeSync(native.radixTreeRemove, operation, {
      handle: this.#open(operation),
      ...rankParts(operation, workerId, dpRank),
    });
  }

  /** Events that build the same tree anew. */
  dump(): RouterEvent[] {
    return decodeEvents(invokeSync(native.radixTreeDump, 'radixTree.dump', { handle: this.#open('radixTree.dump') }));
  }

  /** Blocks in the tree, those of each rank counted. */
  get size(): number {
    return this.#state().blocks;
  }

  /** Workers that have a block. */
  get workerIds(): bigint[] {
    return this.#state()
      .workers.map(BigInt)
      .sort((a, b) => (a < b ? -1 : 1));
  }

  #state(): { blocks: number; workers: (number | bigint)[] } {
    const bytes = invokeSync(native.radixTreeState, 'radixTree', { handle: this.#open('radixTree') });
    return unpack(bytes) as { blocks: number; workers: (number | bigint)[] };
  }

  /** Lets go of the tree; every later call throws `ClosedError`. Idempotent. */
  dispose(): void {
    this.#handle = undefined;
  }

  /** Disposes of it at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.dispose();
  }
}
