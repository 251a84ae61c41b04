import { beforeAll, describe, expect, it } from 'vitest';

import { Child, type Exit } from '../../helpers/child.js';

const BYTES = 2 ** 31;
/** Ends that a call may have: it works, or it is refused, or there is no memory for it. */
const FINE =
  /^(done|nixl\.(deadline|memory|no_gpu|range|overlap|transfer|backend|exception|mock)|RangeError: .* expected .*)/;

describe('every numeric option of NIXL at its greatest value, with 2 GiB of memory', () => {
  let ends: Record<string, string>;
  let exit: Exit;

  beforeAll(async () => {
    // Data, not addresses: V8 reserves more addresses than it uses.
    const child = Child.start('prlimit', [
      `--data=${BYTES}`,
      process.execPath,
      '--import',
      'tsx',
      'test/helpers/nixl/programs/limits.ts',
    ]);
    try {
      exit = await child.exit();
      ends = (await child.event('done'))['ends'] as Record<string, string>;
    } finally {
      await child.stop();
    }
  });

  it('never ends the process', () => expect(exit).toMatchObject({ code: 0, signal: null }));

  it('works, or fails with an error that says why', () => {
    expect(Object.entries(ends).filter(([, end]) => !FINE.test(end))).toEqual([]);
    expect(Object.keys(ends).length).toBeGreaterThan(30);
  });

  it('refuses what no process can have', () => {
    expect(ends).toMatchObject({
      'mock.fakeGpus beyond': expect.stringMatching(/fakeGpus: expected an integer from 0 to 1024/),
      'allocate bytes': 'nixl.memory',
      'blocks of one byte': expect.stringMatching(/memory\[0\]: expected at most 4194304 blocks in all, got/),
      'register VRAM device': expect.stringMatching(/device: expected an integer from 0 to 1023/),
    });
  });
});
