import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { BlockManager } from 'dynamo-node';
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
