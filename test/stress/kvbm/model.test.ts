import { BlockManager, TokenSequence } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';
import { BlockModel } from '../../helpers/kvbm/block-model.js';
import { blockThread } from '../../helpers/kvbm/block-threads.js';
import { tryManager } from '../../helpers/kvbm/block-trial.js';

const STEPS = 1_000_000;
const THREADS = 24;

describe('a manager under load', () => {
  it('behaves as its model for a million random steps', { timeout: 1_800_000 }, () => {
    const policies = ['lineage', 'lineage-fifo', 'lru', 'fifo'] as const;
    const trials = policies.flatMap((eviction) =>
      (['allow', 'reject'] as const).map((duplicates) => ({ eviction, duplicates })),
    );
    for (const [seed, { eviction, duplicates }] of trials.entries()) {
      using manager = new BlockManager({ tier: 'host', blockCount: 24, blockSize: 4, eviction, duplicates });
      tryManager({
        manager,
        model: new BlockModel(24, eviction, duplicates),
        steps: STEPS / trials.length,
        seed: seed + 1,
      });
    }
    console.log(`${STEPS} steps in ${trials.length} trials`);
  });

  it('is shared by 24 threads', { timeout: 600_000 }, async () => {
    const layout = { layers: 1, heads: 1, headDim: 64, elementType: 'int8', outer: 1 } as const;
    const manager = new BlockManager({
      tier: 'host',
      blockCount: 96,
      blockSize: 4,
      layout,
      storage: { kind: 'memory', checksums: true },
      events: true,
    });
    onTestFinished(() => manager.dispose());
    const threads = Array.from({ length: THREADS }, (_, seed) =>
      blockThread({ token: manager.share(), seed, rounds: 5000 }),
    );
    const all = await Promise.all(threads.map(({ done }) => done));
    for (const { checked, stored, wrong } of all) {
      expect(wrong).toEqual([]);
      expect(Math.min(checked, stored)).toBeGreaterThan(50);
    }
    const total = (of: 'checked' | 'stored'): number => all.reduce((sum, one) => sum + one[of], 0);
    console.log(`${THREADS} threads stored ${total('stored')} blocks and checked ${total('checked')}`);
    expect(manager.statistics()).toMatchObject({ available: 96, mutableReferences: 0, registeredReferences: 0 });
  });

  it('limits a sequence to 2^24 blocks', { timeout: 300_000 }, () => {
    using sequence = new TokenSequence(new Uint32Array(2 ** 25 - 1), { blockSize: 2 });
    expect(sequence.append(1)).toBe(2 ** 24 - 1);
    expect(sequence.append(2)).toBeUndefined();
    for (let time = 0; time < 2; time++)
      expect(() => sequence.append(3)).toThrow(
        new TypeError('sequence.append token: expected at most 16777216 blocks of 2, got one more'),
      );
    expect([sequence.length, sequence.blockCount, ...sequence.tokens(2 ** 25 - 1)]).toEqual([
      2 ** 25 + 1,
      2 ** 24,
      1,
      2,
    ]);
    expect([
      sequence.blockHashes(2 ** 24).length,
      sequence.lineageHashes(2 ** 24).length,
      sequence.lineageHashes(2 ** 24 - 1).length,
    ]).toEqual([0, 0, 1]);
  });
});
