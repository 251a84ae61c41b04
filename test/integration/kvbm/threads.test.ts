import { BlockManager } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';
import { blockThread } from '../../helpers/kvbm/block-threads.js';
import { waitFor } from '../../helpers/wait.js';

function sharedManager(blockCount: number): BlockManager {
  const layout = { layers: 1, heads: 1, headDim: 64, elementType: 'int8', outer: 1 } as const;
  const storage = { kind: 'memory', checksums: true } as const;
  const manager = new BlockManager({ tier: 'host', blockCount, blockSize: 4, layout, storage, events: true });
  onTestFinished(() => manager.dispose());
  return manager;
}

describe('threads that share a manager', () => {
  it('never see a block of another thread, or bytes that do not match the name', async () => {
    const manager = sharedManager(32);
    const threads = Array.from({ length: 4 }, (_, seed) => blockThread({ token: manager.share(), seed, rounds: 1500 }));
    const all = await Promise.all(threads.map(({ done }) => done));
    for (const { checked, stored, wrong } of all) {
      expect(wrong).toEqual([]);
      expect(Math.min(checked, stored)).toBeGreaterThan(50);
    }
    expect(manager.statistics()).toMatchObject({ available: 32, mutableReferences: 0, registeredReferences: 0 });
  });

  it('release their blocks when they are terminated', async () => {
    const manager = sharedManager(16);
    const { worker, done } = blockThread({ token: manager.share(), seed: 1 });
    expect((await done).stored).toBe(4);
    expect(manager.available).toBe(8);
    await worker.terminate();
    await waitFor(
      'the blocks',
      () => manager.statistics(),
      ({ available }) => available === 16,
    );
  });
});
