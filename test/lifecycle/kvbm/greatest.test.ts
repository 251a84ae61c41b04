import { describe, expect, it, onTestFinished } from 'vitest';
import { Child } from '../../helpers/child.js';
import { temporaryFolder } from '../../helpers/runtime/runtime.js';

const MEMORY = 2 ** 31;

describe('every number among the options of block managers at its greatest', () => {
  it('is accepted or fails with an error in a process of 2 GiB, and never ends the process', async () => {
    const program = ['--import', 'tsx', 'test/helpers/kvbm/programs/greatest.ts', temporaryFolder()];
    const child = Child.start('prlimit', [`--data=${MEMORY}`, process.execPath, ...program]);
    onTestFinished(() => child.stop());
    const exit = await child.exit();
    const results = Object.fromEntries(child.events.map(({ name, result }) => [name, result]));
    expect(exit, `${JSON.stringify(results)}\n${child.output}`).toMatchObject({ code: 0, signal: null });
    const full = 'DYN_CAPACITY_EXHAUSTED';
    expect(results).toMatchObject({ blockCount: full, checksums: full, fileChecksums: full, tiers: 'made' });
    for (const result of Object.values(results))
      expect(['made', full, 'TypeError', 'RangeError', undefined]).toContain(result);
  });
});
