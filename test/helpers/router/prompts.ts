import { computeBlockHashes, computeSequenceHashes, type KvPublisher, type KvRouter } from 'dynamo-node';
import { BLOCK_SIZE } from '../llm/caching-engine.js';
import { waitFor } from '../wait.js';

const CONNECT_TIMEOUT_MS = 30_000;

interface Prompt {
  readonly tokens: Uint32Array;
  readonly blockHashes: BigUint64Array;
  readonly tokensHashes: BigUint64Array;
}

/** A prompt of 4 blocks. Prompts of different seeds share no block. */
export function promptOf(seed: number): Prompt {
  const tokens = Uint32Array.from({ length: 4 * BLOCK_SIZE }, (_, at) => seed * 1000 + at);
  const tokensHashes = computeBlockHashes(tokens, BLOCK_SIZE);
  return { tokens, tokensHashes, blockHashes: computeSequenceHashes(tokensHashes) };
}

/** Prompts that `waitForConnection` publishes. No test removes them, because they may be stored more than once. */
const CANARIES = [1_000_001, 1_000_002].map(promptOf);
export const CANARY_BLOCKS = new Set(CANARIES.flatMap(({ blockHashes }) => [...blockHashes]));

/**
 * Waits until a router is connected to a publisher. A router misses events that are published earlier. The first prompt
 * may come from the index of the worker, which a router reads once at its start. The second one comes over the
 * connection.
 */
export async function waitForConnection(
  router: KvRouter,
  publisher: KvPublisher,
  worker: bigint | string,
): Promise<void> {
  for (const { tokens, blockHashes, tokensHashes } of CANARIES) {
    await waitFor(
      'an event of a publisher',
      async () => (publisher.stored(blockHashes, tokensHashes), await router.overlapScores({ tokens })),
      (scores) =>
        scores.some(
          ({ workerId, deviceBlocks }) => String(workerId) === String(worker) && deviceBlocks === blockHashes.length,
        ),
      CONNECT_TIMEOUT_MS,
    );
  }
}

/** Waits until a condition holds eight times in a row. A single time may be due to a random choice of the router. */
export async function waitForRow(what: string, condition: () => Promise<boolean>): Promise<void> {
  let row = 0;
  await waitFor(
    what,
    async () => (row = (await condition()) ? row + 1 : 0),
    (times) => times === 8,
    CONNECT_TIMEOUT_MS,
  );
}
