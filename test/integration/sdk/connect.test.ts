import { connectService } from 'dynamo-node';
import { defineService, graph } from 'dynamo-node/sdk';
import { describe, expect, it } from 'vitest';
import { hostings } from '../../helpers/sdk/hosting.js';

const hosting = hostings();
const Words = defineService('Words').endpoint('count', async (text: string) => text.split(' ').length);

describe('connectService', () => {
  it('waits for the first worker, which may start later', async () => {
    const one = hosting();
    const connecting = connectService(await one.runtime(), Words);
    await one.start(graph('words', Words), Words);
    await using words = await connecting;
    expect(await words.client.count('moved in blocks')).toBe(3);
  });

  it('rejects with the endpoint after its time, and does not wait with 0', async () => {
    const runtime = await hosting().runtime();
    await expect(connectService(runtime, Words, { timeoutMs: 50 })).rejects.toMatchObject({
      code: 'DYN_DEADLINE_EXCEEDED',
      message: expect.stringContaining('dynamo.words.count: expected 1 instances within 50 ms, got 0') as string,
    });
    await using words = await connectService(runtime, Words, { timeoutMs: 0 });
    await expect(words.client.count('x')).rejects.toMatchObject({ code: 'DYN_UNAVAILABLE', retryable: true });
  });

  it('rejects wrong options', async () => {
    const runtime = await hosting().runtime();
    for (const [options, message] of [
      [{ mode: 'fast' }, 'connectService options.mode: expected one of round_robin'],
      [{ mode: 'kv' }, 'connectService options.blockSize: expected a number if and only if the mode is kv'],
      [{ timeoutMs: -1 }, 'connectService options.timeoutMs: expected'],
      [{ wait: 1 }, 'connectService options.wait: unknown'],
    ] as const)
      await expect(connectService(runtime, Words, options as never)).rejects.toThrow(message);
  });
});
