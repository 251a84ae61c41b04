import { computeBlockHashes, computeSequenceHashes, KvIndexer } from 'dynamo-node';
import { routerEventOf, type VllmKvEvent } from 'dynamo-node/vllm';
import { describe, expect, it } from 'vitest';

const BLOCK_SIZE = 4;
const WORKER = 7n;
const tokens = Array.from({ length: 3 * BLOCK_SIZE }, (_, index) => 11 + index);

/** Blocks `first` to `end` of the tokens, with names of the worker's own. */
const stored = (first: number, end: number, extraKeys: readonly unknown[] = []): VllmKvEvent => ({
  kind: 'stored',
  blockHashes: Array.from({ length: end - first }, (_, index) => 1000n + BigInt(first + index)),
  parentHash: first === 0 ? undefined : 999n + BigInt(first),
  tokens: tokens.slice(first * BLOCK_SIZE, end * BLOCK_SIZE),
  blockSize: BLOCK_SIZE,
  extraKeys,
});

async function matches(indexer: KvIndexer): Promise<number> {
  const scores = await indexer.findMatchesForTokens(tokens);
  return scores.get(WORKER);
}

async function apply(indexer: KvIndexer, event: VllmKvEvent): Promise<void> {
  const change = routerEventOf(event, BLOCK_SIZE);
  expect(change).toBeDefined();
  if (change !== undefined) await indexer.apply([{ ...change, workerId: WORKER }]);
}

describe('routerEventOf', () => {
  it('lets an index find the blocks of a vLLM worker by their tokens, until they are removed', async () => {
    await using indexer = new KvIndexer({ blockSize: BLOCK_SIZE });
    await apply(indexer, stored(0, 2));
    expect(await matches(indexer)).toBe(2);
    await apply(indexer, stored(2, 3));
    expect(await matches(indexer)).toBe(3);
    await apply(indexer, { kind: 'removed', blockHashes: [1002n] });
    expect(await matches(indexer)).toBe(2);
    await apply(indexer, { kind: 'cleared' });
    expect(await matches(indexer)).toBe(0);
  });

  it('keeps the names of the worker, and hashes the tokens of each block', () => {
    expect(routerEventOf(stored(1, 3), BLOCK_SIZE)).toEqual({
      kind: 'stored',
      blockHashes: [1001n, 1002n],
      tokensHashes: computeBlockHashes(tokens, BLOCK_SIZE).slice(1),
      parentHash: 1000n,
    });
    expect(computeSequenceHashes(computeBlockHashes(tokens, BLOCK_SIZE))[1]).not.toBe(1001n);
  });

  it('has no place for blocks of an adapter or a salt, which a prompt without them would match', () => {
    expect(routerEventOf(stored(0, 2, [['salt'], null]), BLOCK_SIZE)).toBeUndefined();
    expect(routerEventOf(stored(0, 2, [null, null]), BLOCK_SIZE)).toBeDefined();
  });

  it('rejects a worker of another block size', () => {
    expect(() => routerEventOf(stored(0, 1), 16)).toThrow(
      expect.objectContaining({
        reason: 'vllm.layout',
        message: expect.stringContaining('expected 16 tokens, got 4'),
      }),
    );
  });

  it('rejects what is no event', () => {
    expect(() => routerEventOf(undefined as never, BLOCK_SIZE)).toThrow(TypeError);
    expect(() => routerEventOf(stored(0, 1), 0)).toThrow(RangeError);
  });
});
