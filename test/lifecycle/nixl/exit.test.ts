import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';

import { Child } from '../../helpers/child.js';
import { type Kind, nixlMissing } from '../../helpers/nixl/library.js';
import { lowest } from '../../helpers/wait.js';

const MAX_TIMEOUT_MS = 5000;
const START_MS = 60_000;

const ENDS = [
  ['process.exit', { code: 7, signal: null }],
  ['throw', { code: 1, signal: null }],
  ['signal', { code: null, signal: 'SIGTERM' }],
  ['dry', { code: 0, signal: null }],
] as const;

describe.each(['mock', 'ucx'] as Kind[])('a process with an open agent and a transfer in flight, on %s', (kind) => {
  beforeEach((context) => {
    const missing = kind === 'mock' ? undefined : nixlMissing();
    if (missing !== undefined) context.skip(missing);
  });

  it.each(ENDS)('ends as expected: %s', async (how, expected) => {
    const took = await lowest(MAX_TIMEOUT_MS, async () => {
      const child = Child.program('test/lifecycle/programs/nixl-exit.ts', [kind, how], {
        env: { NIXL_LOG_LEVEL: 'FATAL', UCX_LOG_LEVEL: 'fatal' },
      });
      onTestFinished(() => child.stop());
      const { at } = await child.event('done', {}, START_MS);
      if (how === 'signal') child.kill('SIGTERM');
      const { code, signal, at: endedAt } = await child.exit();
      expect({ code, signal }, child.output).toEqual(expected);
      if (how === 'throw') expect(child.output).toContain('not caught');
      return endedAt - (at as number);
    });
    expect(took, 'milliseconds to its end').toBeLessThan(MAX_TIMEOUT_MS);
  });
});
