import { describe, expect, it } from 'vitest';

import { testRuntime } from '../../helpers/runtime/runtime.js';

const nested = (levels: number): unknown => JSON.parse('['.repeat(levels) + ']'.repeat(levels));
const levelsOf = (value: unknown): number =>
  Array.isArray(value) ? 1 + (value.length > 0 ? levelsOf(value[0]) : 0) : 0;

describe('an endpoint with the codec json', () => {
  it('gets values of up to 124 levels, and deeper ones are refused at the sender', async () => {
    const runtime = await testRuntime({ codec: 'json' });
    const endpoint = runtime.endpoint<unknown, unknown>('test.json.echo');
    const serving = await endpoint.serve((request) => (typeof request === 'number' ? nested(request) : request));
    expect(serving.instance.codec).toBe('json');
    const both = runtime.endpoint<unknown, unknown>('test.json.both');
    await both.serveBidirectional(async function* (requests) {
      for await (const request of requests) yield request;
    });
    const [client, conversation] = [await endpoint.client(), await both.client()];
    await Promise.all([client, conversation].map((one) => one.waitForInstances({ timeoutMs: 30_000 })));
    const options = { timeoutMs: 20_000 };

    expect(levelsOf(await client.unary(nested(124), options))).toBe(124);
    expect(levelsOf(await client.unary(124, options))).toBe(124);
    const [inside] = await conversation.bidirectional([[nested(123)]], options).collect();
    expect(levelsOf(inside)).toBe(124);

    const refused = { code: 'DYN_INVALID_REQUEST', message: expect.stringContaining('reads at most 124') };
    for (const levels of [125, 128, 500]) {
      await expect(client.unary(nested(levels), options)).rejects.toMatchObject(refused);
      expect(() => client.generate(nested(levels), options)).toThrow(/nested \d+ levels deep/);
      await expect(conversation.bidirectional([1, nested(levels)], options).collect()).rejects.toMatchObject({
        ...refused,
        message: expect.stringContaining('requests[1] cannot be sent: it is nested'),
      });
      await expect(client.unary(levels, options)).rejects.toMatchObject({
        code: 'DYN_INTERNAL',
        message: expect.stringContaining('reads at most 124'),
      });
    }
    expect(await client.unary('next', options)).toBe('next');
  });
});
