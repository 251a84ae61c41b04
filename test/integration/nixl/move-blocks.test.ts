import { expect, it, onTestFinished } from 'vitest';

import { Child } from '../../helpers/child.js';

it('the example moves its blocks, checks them, and reports the transport', async () => {
  const child = Child.program('examples/move-blocks/main.ts', ['--once', '--blocks', '100'], {
    env: { NIXL_LOG_LEVEL: 'FATAL' },
  });
  onTestFinished(() => child.stop());
  expect(await child.exit(50_000), child.output).toMatchObject({ code: 0 });
  expect(child.output).toMatch(/moved {5}100 blocks of 64 KiB/);
  expect(child.output).toMatch(/transport [\w-]+ \((reported|by-exclusion|inferred)/);
  expect(child.output).toMatch(/checked {3}every byte there: all as sent/);
  expect(child.output).toMatch(/memcpy {4}[\d.]+ GB\/s/);
});
