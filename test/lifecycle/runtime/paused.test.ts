import { describe, expect, it, onTestFinished } from 'vitest';

import { Child, type ChildEvent } from '../../helpers/child.js';
import { temporaryFolder } from '../../helpers/runtime/runtime.js';
import { waitForPause } from '../../helpers/wait.js';

const ITEM_BYTES = 64 * 1024;
const ITEMS = 2 ** 30 / ITEM_BYTES;
/** The number of items that fill pools and heaps before the measurement. */
const WARM_ITEMS = ITEMS / 4;
const HIGH_WATER_BYTES = 1 << 20;
/** The crates' own queues of 64 frames: one after the worker's sink, one before the reader. */
const QUEUES_BYTES = 2 * 64 * ITEM_BYTES;
const MOST_BYTES = 2 * HIGH_WATER_BYTES + QUEUES_BYTES;
/**
 * While a gigabyte is read at full speed, its items stay outside of the heap until V8 collects them. V8 does so about
 * every 60 MiB if it has time.
 */
const MOST_READING_BYTES = (ITEMS * ITEM_BYTES) / 4;

const megabytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(1);

describe('a reader that pauses', () => {
  it(`costs neither process more memory than the queues between them, for ${ITEMS} items of 64 KiB`, async () => {
    const folder = temporaryFolder();
    const start = (role: string): Child => {
      const child = Child.program('test/helpers/runtime/programs/flood.ts', [role, folder, 'paused.worker.generate']);
      onTestFinished(() => child.stop());
      return child;
    };
    const ask = async (child: Child, what: string, count?: number): Promise<{ items: number; most: number }> => {
      child.send({ do: what, ...(count === undefined ? {} : { count }) });
      return (await child.event(what, {}, 60_000)) as ChildEvent & { items: number; most: number };
    };
    const worker = start('worker');
    await worker.event('ready');
    const reader = start('reader');
    await reader.event('ready');

    await ask(reader, 'warm', WARM_ITEMS);
    await Promise.all([ask(worker, 'report'), ask(reader, 'report')]);
    const before = { worker: (await ask(worker, 'report')).most, reader: (await ask(reader, 'report')).most };
    await ask(reader, 'pause', ITEMS);
    const yielded = await waitForPause('a paused worker', async () => (await ask(worker, 'report')).items, 60_000);
    const paused = { worker: (await ask(worker, 'report')).most, reader: (await ask(reader, 'report')).most };
    const resumed = await ask(reader, 'resume');
    const after = { worker: (await ask(worker, 'report')).most, reader: resumed.most };
    const grown = (from: number, to: number): string => `${megabytes(to - from)} MiB`;
    console.log(
      `${ITEMS} items of 64 KiB, paused after ${yielded}: the worker's memory grew by ` +
        `${grown(before.worker, paused.worker)} in the pause and ${grown(before.worker, after.worker)} in total, ` +
        `the reader's by ${grown(before.reader, paused.reader)} and ${grown(before.reader, after.reader)}`,
    );
    expect(resumed.items).toBe(ITEMS);
    expect(yielded * ITEM_BYTES).toBeLessThan(64 * 2 ** 20);
    for (const role of ['worker', 'reader'] as const) {
      expect(paused[role] - before[role], `the growth of the ${role} in the pause`).toBeLessThan(MOST_BYTES);
      expect(after[role] - before[role], `the growth of the ${role} over all`).toBeLessThan(MOST_READING_BYTES);
    }
  });
});
