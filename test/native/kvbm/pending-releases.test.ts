import { BlockManager, TokenSequence } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';

const blockSize = 4;
const blockCount = 8;

function disposable<T extends Disposable>(one: T): T {
  onTestFinished(() => one[Symbol.dispose]());
  return one;
}

describe('blocks that were disposed of', () => {
  it.each(['lookup', 'staging'])('return to the manager although the %s after it fails', (kind) => {
    const manager = disposable(new BlockManager({ tier: 'host', blockCount, blockSize }));
    const wrong = disposable(new TokenSequence(new Uint32Array(4 * blockSize), { blockSize: 2 * blockSize }));
    const other = disposable(manager.allocateOrThrow(1));
    manager.allocateOrThrow(4).dispose();
    const call = kind === 'lookup' ? () => manager.matchPrefix(wrong) : () => other.stage(wrong);
    expect(call).toThrow('expected blocks of 4 tokens, got 8');
    expect(manager.available).toBe(blockCount - 1);
  });
});
