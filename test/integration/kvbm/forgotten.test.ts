import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { BlockManager } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';
import { namesManager, sequenceOf, storeNames } from '../../helpers/kvbm/blocks.js';
import { waitFor } from '../../helpers/wait.js';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** Makes batches that nothing refers to. */
function forget(manager: BlockManager): void {
  manager.allocateOrThrow(2);
  manager.allocateOrThrow(1).stage(sequenceOf(1));
  storeNames(manager, sequenceOf(2, 1));
}

/** Its own function: a variable of an `async` function may keep its last value while the function waits. */
function forgetEverySecond(manager: BlockManager, count: number): void {
  for (let made = 0; made < count; made++) {
    const blocks = manager.allocateOrThrow(1);
    if (made % 2 === 0) blocks.dispose();
  }
}

const allReturned = (manager: BlockManager) =>
  waitFor(
    'the blocks',
    () => {
      collect();
      return manager.statistics();
    },
    ({ batches }) => batches === 0,
  );

describe('batches that a program forgets', () => {
  it('return their blocks when they are collected, with one warning', async () => {
    const warnings: string[] = [];
    const keep = (warning: Error): void => void warnings.push(`${warning.name}: ${warning.message}`);
    process.on('warning', keep);
    onTestFinished(() => void process.off('warning', keep));
    const manager = namesManager();
    forget(manager);
    expect(manager.available).toBe(3);
    await allReturned(manager);
    expect(manager.available).toBe(8);
    expect(manager.matchPrefix(sequenceOf(2, 1))?.length).toBe(2);
    await waitFor('the warning', () => warnings.length > 0);
    const ours = warnings.filter((text) => text.includes('collected without dispose()'));
    expect(ours).toEqual([
      'ResourceWarning: blocks of the tier host were collected without dispose(); they are returned now',
    ]);
  });

  it('return their blocks although batches that were made later, and disposed of, are kept', async () => {
    const manager = namesManager();
    manager.allocateOrThrow(1);
    const newest = manager.allocateOrThrow(1);
    newest.dispose();
    const older = manager.allocateOrThrow(1);
    const last = manager.allocateOrThrow(1);
    older.dispose();
    last.dispose();
    await allReturned(manager);
    expect([newest, older, last].map(({ disposed }) => disposed)).toEqual([true, true, true]);
  });

  it('return their blocks after a turn with more batches than are examined at its end', async () => {
    using manager = new BlockManager({ tier: 'host', blockCount: 40_000, blockSize: 16 });
    const disposed = manager.allocateOrThrow(1);
    forgetEverySecond(manager, 30_000);
    disposed.dispose();
    expect(manager.available).toBe(25_000);
    await allReturned(manager);
    expect(manager.available).toBe(40_000);
  });

  it('return their blocks although one of them was copied in the same turn', async () => {
    const manager = namesManager();
    manager.allocateOrThrow(1);
    const blocks = manager.allocateOrThrow(1);
    manager.allocateOrThrow(1);
    const lease = blocks.lease('copy');
    expect(blocks.disposed).toBe(false);
    lease.release();
    expect(blocks.id('test')).toBe(lease.id);
    blocks.dispose();
    await allReturned(manager);
  });

  it('are not confused with batches that are in use or were disposed of', async () => {
    const manager = namesManager();
    const held = manager.allocateOrThrow(3);
    manager.allocateOrThrow(2).dispose();
    const weak = storeNames(manager, sequenceOf(1)).weak();
    await waitFor(
      'a collection of the forgotten batch',
      () => {
        collect();
        return manager.statistics().batches;
      },
      (batches) => batches === 2,
    );
    expect(held.disposed).toBe(false);
    const staged = held.stage(sequenceOf(3, 2));
    for (let turn = 0; turn < 5; turn++) {
      await new Promise((resolve) => setImmediate(resolve));
      collect();
    }
    expect(staged.register().length).toBe(3);
    weak.dispose();
  });
});
