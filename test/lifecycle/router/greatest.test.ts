import { expect, it, onTestFinished } from 'vitest';

import { Child } from '../../helpers/child.js';
import { temporaryFolder } from '../../helpers/runtime/runtime.js';

const MEMORY = 2 ** 31;

it('numbers of options of runtimes and routers are accepted at their greatest in a process of 2 GiB', async () => {
  const program = ['--import', 'tsx', 'test/helpers/router/programs/greatest.ts', temporaryFolder()];
  const child = Child.start('prlimit', [`--data=${MEMORY}`, process.execPath, ...program]);
  onTestFinished(() => child.stop());
  const exit = await child.exit();
  expect(exit, `${JSON.stringify(child.events)}\n${child.output}`).toMatchObject({ code: 0, signal: null });
  expect(child.events).toHaveLength(18);
  for (const { name, greatest, more } of child.events) {
    expect([name, greatest]).toEqual([name, 'accepted']);
    if (more !== undefined) expect([name, more]).toEqual([name, expect.stringMatching(/^RangeError: .*expected a/)]);
  }
});
