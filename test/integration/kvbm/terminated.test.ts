import { once } from 'node:events';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { areRight, hostManager, sequenceOf, store } from '../../helpers/kvbm/blocks.js';
import { nixlMissing } from '../../helpers/nixl/library.js';
import { temporaryFolder } from '../../helpers/runtime/runtime.js';
import { waitFor } from '../../helpers/wait.js';

const BLOCKS = 64;
const THREADS = 4;

describe.each(['mock', 'ucx'] as const)('a thread that copies blocks through NIXL with %s', (kind) => {
  it('releases its blocks unchanged when it is terminated during a copy', async ({ skip }) => {
    const missing = kind === 'ucx' ? nixlMissing() : undefined;
    skip(missing !== undefined, missing);
    const manager = hostManager({ blockCount: BLOCKS });
    const sequence = sequenceOf(BLOCKS);
    (await store(manager, sequence)).dispose();
    const file = join(temporaryFolder(), 'blocks');
    for (let thread = 0; thread < THREADS; thread++) {
      const workerData = { token: manager.share(), kind, path: file, blocks: BLOCKS };
      const worker = new Worker(new URL('../../helpers/kvbm/programs/copying.mjs', import.meta.url), { workerData });
      const failed = once(worker, 'error').then(([error]) => Promise.reject(error as Error));
      await Promise.race([once(worker, 'message'), failed]);
      expect(manager.available).toBe(0);
      await new Promise((resolve) => setTimeout(resolve, thread));
      await worker.terminate();
      failed.catch(() => {});
      await waitFor(
        'the blocks',
        () => manager.statistics(),
        ({ available }) => available === BLOCKS,
      );
    }
    using kept = manager.matchPrefix(sequence);
    expect(kept?.length).toBe(BLOCKS);
    expect(await areRight(kept as NonNullable<typeof kept>, sequence)).toEqual(Array(BLOCKS).fill(true));
    // The memory is reused at once: a copy that still ran would read or corrupt it.
    kept?.dispose();
    manager.drainInactive();
    const other = sequenceOf(BLOCKS, 9);
    using fresh = await store(manager, other);
    expect(await areRight(fresh, other)).toEqual(Array(BLOCKS).fill(true));
  });
});
