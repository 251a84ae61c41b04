import { computeBlockHashes, computeSequenceHashes, type KvPublisher, type KvRouter } from '../../../lib/index.js';
import { BLOCK_SIZE } from '../llm/caching-engine.js';
import { waitFor } from '../wait.js';

/** Seeds of prompts that are published until a router hears of them. */
const SEEDS = [1_000_001, 1_000_002];
const HEARD_MS = 30_000;

/** A prompt of so many blocks, unlike that of any other seed. */
export function seeded(
  seed: number,
  blocks = 4,
): { tokens: Uint32Array; names: BigUint64Array; hashes: BigUint64Array } {
  const tokens = Uint32Array.from({ length: blocks * BLOCK_SIZE }, (_, at) => seed * 1000 + at);
  const hashes = computeBlockHashes(tokens, BLOCK_SIZE);
  return { tokens, hashes, names: computeSequenceHashes(hashes) };
}

const canaries = SEEDS.map((seed) => seeded(seed));
/** The names of the blocks that `connected` publishes. */
export const CANARIES = new Set(canaries.flatMap(({ names }) => [...names]));

/**
 * Waits for a router to be connected to a publisher: what is published before that passes it by. A first prompt it may have
 * from the worker's own indexer, by which it begins; a second comes by that connection. Told more than once they count more
 * than once, so they are prompts that no test removes.
 */
export async function connected(router: KvRouter, publisher: KvPublisher, worker: bigint | string): Promise<void> {
  for (const { tokens, names, hashes } of canaries) {
    const heard = async () => (publisher.stored(names, hashes), await router.overlapScores({ tokens }));
    await waitFor(
      'an event of a publisher',
      heard,
      (all) =>
        all.some(({ workerId, deviceBlocks }) => String(workerId) === String(worker) && deviceBlocks === names.length),
      HEARD_MS,
    );
  }
}

/** Waits until it is so eight times in a row: once it may be so by a router's draw. */
export async function inARow(what: string, isSo: () => Promise<boolean>): Promise<void> {
  let row = 0;
  await waitFor(
    what,
    async () => (row = (await isSo()) ? row + 1 : 0),
    (times) => times === 8,
    HEARD_MS,
  );
}
