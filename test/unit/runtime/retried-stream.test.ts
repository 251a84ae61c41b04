import { describe, expect, it } from 'vitest';

import type { NativeStream } from '../../../lib/addon/stream.js';
import { DynamoError } from '../../../lib/errors.js';
import { RetriedStream } from '../../../lib/runtime/response.js';

/** Each attempt fails, retryably, on command of the test. */
function failing(attempts: number): { source: RetriedStream; opened: () => number; fail: () => void } {
  const fails: ((error: Error) => void)[] = [];
  const open = (): NativeStream => {
    const items = new Promise<never>((_, reject) => fails.push(reject));
    return { pull: () => items, stop: () => {}, kill: () => {} } as unknown as NativeStream;
  };
  const fail = (): void => fails.at(-1)?.(new DynamoError('Unavailable', 'gone', { reason: 'transport.disconnected' }));
  return { source: new RetriedStream(open, attempts), opened: () => fails.length, fail };
}

describe('a retried stream', () => {
  it('opens the stream at most `attempts` times', async () => {
    const { source, opened, fail } = failing(2);
    const items = source.pull();
    fail();
    await expect.poll(opened).toBe(2);
    fail();
    await expect(items).rejects.toThrow('gone');
    expect(opened()).toBe(2);
  });

  it.each(['stop', 'kill'] as const)('does not open the stream again after %s', async (end) => {
    const { source, opened, fail } = failing(5);
    const items = source.pull();
    source[end]();
    fail();
    await expect(items).rejects.toThrow('gone');
    expect(opened()).toBe(1);
  });
});
