import { DisposableHandle } from '../addon/closeable.js';
import { unpack } from '../addon/codec.js';
import { arg, invokeSync, native } from '../addon/invoke.js';
import type { Arg } from '../addon/native.js';
import { checkInstanceId, checkInteger, MAX_U32 } from '../check.js';
import { boolean, type OptionTable, optionTable } from '../options.js';
import { asBytes, hashWords } from '../words.js';
import { decodeEvents, encodeEvents, type RouterEvent } from './events.js';
import { OverlapScores } from './overlap.js';

/** Native functions take a worker as payload, and a rank as `a`: 0 for all ranks, else the rank plus 1. */
export function rankParts(
  path: string,
  workerId: bigint,
  dpRank: number | undefined,
): { payload: BigUint64Array; a: Arg<'rankOrAll'> } {
  checkInstanceId(`${path} workerId`, workerId);
  if (dpRank !== undefined) checkInteger(`${path} dpRank`, dpRank, 0, MAX_U32 - 1);
  return { payload: BigUint64Array.of(workerId), a: arg('rankOrAll', dpRank === undefined ? 0 : dpRank + 1) };
}

const MATCH_OPTIONS: OptionTable<{ readonly earlyExit?: boolean }> = optionTable<{ readonly earlyExit?: boolean }>({
  earlyExit: boolean.about('Stop at the first fork after which only one rank has blocks.'),
});

/**
 * The prefix tree of KV-aware routing, in this thread. It records the blocks that each worker has. Every method is
 * synchronous. Source: `dynamo-kv-router` `indexer/radix_tree.rs`.
 *
 * @example
 * const tree = new RadixTree();
 * const tokensHashes = computeBlockHashes(tokens, 16);
 * tree.apply([{ kind: 'stored', workerId: 7n, blockHashes: computeSequenceHashes(tokensHashes), tokensHashes }]);
 * tree.findMatches(tokensHashes).get(7n);
 */
export class RadixTree extends DisposableHandle<'radixTree'> {
  constructor() {
    super('the radix tree', invokeSync(native.radixTreeCreate, 'RadixTree'));
  }

  /**
   * Applies events in order. Returns the number of events that the tree rejected: a run whose parent block its worker
   * does not have, or the removal of an unknown block.
   */
  apply(events: readonly RouterEvent[]): number {
    const operation = 'radixTree.apply';
    const payload = asBytes(encodeEvents(`${operation} events`, events, false));
    return invokeSync(native.radixTreeApply, operation, { handle: this.handle(operation), payload });
  }

  /**
   * Returns how many of the first blocks of a prompt each worker has. `earlyExit` stops at the first fork of the tree
   * at which one rank alone has the last blocks. The score of that rank is then a lower bound, and still the highest
   * score. Without such a fork all scores are exact.
   */
  findMatches(
    hashes: BigUint64Array | readonly bigint[],
    options: { readonly earlyExit?: boolean } = {},
  ): OverlapScores {
    const operation = 'radixTree.findMatches';
    const payload = asBytes(hashWords(`${operation} hashes`, hashes));
    MATCH_OPTIONS.check(`${operation} options`, options);
    return new OverlapScores(
      invokeSync(native.radixTreeMatch, operation, {
        handle: this.handle(operation),
        payload,
        a: arg('isEarlyExit', options.earlyExit === true ? 1 : 0),
      }),
    );
  }

  /** Removes a worker, or one rank of it. */
  removeWorker(workerId: bigint, dpRank?: number): void {
    const operation = 'radixTree.removeWorker';
    invokeSync(native.radixTreeRemove, operation, {
      handle: this.handle(operation),
      ...rankParts(operation, workerId, dpRank),
    });
  }

  /** Returns events that rebuild the tree. */
  dump(): RouterEvent[] {
    return decodeEvents(invokeSync(native.radixTreeDump, 'radixTree.dump', { handle: this.handle('radixTree.dump') }));
  }

  /** Blocks in the tree. A block counts once for each rank that has it. */
  get size(): number {
    return this.#state().blocks;
  }

  /** Workers that have at least one block. */
  get workerIds(): bigint[] {
    return this.#state()
      .workers.map(BigInt)
      .sort((a, b) => (a < b ? -1 : 1));
  }

  #state(): { blocks: number; workers: (number | bigint)[] } {
    const bytes = invokeSync(native.radixTreeState, 'radixTree', { handle: this.handle('radixTree') });
    return unpack(bytes) as { blocks: number; workers: (number | bigint)[] };
  }

  /** The native tree is freed with its handle, by the garbage collector. @internal */
  protected override disposeHandle(): void {}
}
