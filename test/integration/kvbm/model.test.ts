import {
  BlockManager,
  type BlockManagerOptions,
  BlockRegistry,
  type Eviction,
  LineageHashes,
  type MutableBlocks,
  type RegisteredBlocks,
  StagedBlocks,
} from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';
import { BlockModel } from '../../helpers/kvbm/block-model.js';
import { tryManager } from '../../helpers/kvbm/block-trial.js';

const LEVELS = [2, 4, 8] as const;
const POLICIES = ['lineage', 'lineage-fifo', 'lru', 'fifo', { policy: 'multi-lru', thresholds: LEVELS }] as const;
const blockCount = 24;
const STEPS = 6000;

function testManager(
  eviction: Eviction,
  duplicates: 'allow' | 'reject',
  options: Partial<BlockManagerOptions> = {},
): BlockManager {
  const registry = typeof eviction === 'object' ? new BlockRegistry({ frequency: 'small' }) : new BlockRegistry();
  const manager = new BlockManager({
    tier: 'host',
    blockCount,
    blockSize: 4,
    eviction,
    duplicates,
    registry,
    ...options,
  });
  onTestFinished(() => manager.dispose());
  return manager;
}

describe('a manager behaves as its model for random calls', () => {
  it.each(
    POLICIES.flatMap((policy) => (['allow', 'reject'] as const).map((duplicates) => [policy, duplicates] as const)),
  )('with eviction %o and duplicates %s', (policy, duplicates) => {
    const manager = testManager(policy, duplicates);
    const levels = new Set<number>();
    const uses = (name: bigint): number => {
      const count = manager.registry.frequency(LineageHashes.from([name]))[0] as number;
      levels.add(LEVELS.filter((threshold) => count >= threshold).length);
      return count;
    };
    const model = new BlockModel(blockCount, policy, duplicates, { uses });
    const counts = tryManager({ manager, model, steps: STEPS, seed: 42 });
    // The random steps covered each kind of call.
    for (const count of Object.values(counts)) expect(count).toBeGreaterThan(20);
    expect(levels.size).toBe(typeof policy === 'object' ? 4 : 0);
  });

  it.each(['allow', 'reject'] as const)('with resetOnRelease and duplicates %s', (duplicates) => {
    const model = new BlockModel(blockCount, 'lru', duplicates, { resetOnRelease: true });
    const { evicted, ...counts } = tryManager({
      manager: testManager('lru', duplicates, { resetOnRelease: true }),
      model,
      steps: STEPS,
      seed: 42,
    });
    for (const count of Object.values(counts)) expect(count).toBeGreaterThan(20);
    expect(evicted).toBe(0);
  });
});

describe('the trial detects', () => {
  const trial = (spoil: (manager: BlockManager) => void, eviction: Eviction = 'lru'): (() => void) => {
    const manager = testManager(eviction, 'allow');
    spoil(manager);
    return () => tryManager({ manager, model: new BlockModel(blockCount, 'lru', 'allow'), steps: STEPS, seed: 7 });
  };

  it('a manager that evicts in another order', () => {
    for (const eviction of ['lineage', 'lineage-fifo'] as const)
      expect(trial(() => {}, eviction)).toThrow(/allocated: expected/);
  });

  it('a block that is never released', () => {
    let left = 40;
    const spoil = (manager: BlockManager): void => {
      const { calls } = manager.core;
      const release = calls.release.bind(calls);
      calls.release = (id) => (left-- === 0 ? undefined : release(id));
    };
    expect(trial(spoil)).toThrow(/step \d+ of seed 7|at the end/);
  });

  it('a block with two owners', () => {
    let left = 30;
    const spoil = (manager: BlockManager): void => {
      const allocate = manager.allocate.bind(manager);
      let last: MutableBlocks | null = null;
      manager.allocate = (count) => {
        const blocks = allocate(count);
        if (left-- < 0 && last !== null && !last.disposed && blocks !== null) blocks.ids[0] = last.ids[0] as number;
        last = blocks;
        return blocks;
      };
    };
    expect(trial(spoil)).toThrow(/allocated: expected/);
  });

  it('a prefix that is found one block too short', () => {
    let left = 30;
    const spoil = (manager: BlockManager): void => {
      const matchPrefix = manager.matchPrefix.bind(manager);
      manager.matchPrefix = (names, first, count) => {
        const found = matchPrefix(names, first, count);
        if (left-- > 0 || found === undefined || found.length < 2) return found;
        found.split(found.length - 1).dispose();
        return found;
      };
    };
    expect(trial(spoil)).toThrow(/ids: expected/);
  });

  it('a block that is registered under the name of another', () => {
    let left = 20;
    const register = StagedBlocks.prototype.register;
    onTestFinished(() => {
      StagedBlocks.prototype.register = register;
    });
    StagedBlocks.prototype.register = function (this: StagedBlocks): RegisteredBlocks {
      if (left-- > 0 || this.length < 2) return register.call(this);
      const names = this.hashes().slice(0, 1);
      const mutable = this.reset();
      const rest = mutable.split(1);
      const first = register.call(mutable.stage(names));
      while (rest.length > 1) rest.split(rest.length - 1).dispose();
      first.join(register.call(rest.stage(names)));
      return first;
    };
    expect(trial(() => {})).toThrow(/step \d+ of seed 7/);
  });
});
