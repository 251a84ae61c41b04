import { describe, expect, it } from 'vitest';

import type { PullStream } from '../../../lib/addon/stream.js';
import { DynamoError } from '../../../lib/errors.js';
import { RetriedPull } from '../../../lib/runtime/response.js';

/** Each attempt fails, retryably, when the test says so. */
function failing(attempts: number): { source: RetriedPull; opened: () => number; fail: () => void } {
  const fails: ((error: Error) => void)[] = [];
  const open = (): PullStream => {
    const items = new Promise<never>((_, reject) => fails.push(reject));
    return { pull: () => items, stop: () => {}, kill: () => {} } as unknown as PullStream;
  };
  const fail = (): void => fails.at(-1)?.(new DynamoError('Unavailable', 'gone', { reason: 'transport.disconnected' }));
  return { source: new RetriedPull(open, attempts), opened: () => fails.length, fail };
}

describe('a request that is sent again', () => {
  it('is, as often as it was allowed', async () => {
    const { source, opened, fail } = failing(2);
    const items = source.pull();
    fail();
    await expect.poll(opened).toBe(2);
    fail();
    await expect(items).rejects.toThrow('gone');
    expect(opened()).toBe(2);
  });

  it.each(['stop', 'kill'] as const)('is not, once nobody wants it: %s', async (end) => {
    const { source, opened, fail } = failing(5);
    const items = source.pull();
    source[end]();
    fail();
    await expect(items).rejects.toThrow('gone');
    expect(opened()).toBe(1);
  });
});
