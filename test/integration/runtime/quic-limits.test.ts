import { describe, expect, it } from 'vitest';
import { deployments } from '../../helpers/llm/deployments.js';

const deployment = deployments();

describe('an item beyond the limit of QUIC', () => {
  it('is a typed error even if messages may be larger', async () => {
    const runtime = await deployment({ responsePlane: 'quic', maxMessageBytes: 48 << 20 }).runtime();
    const endpoint = runtime.endpoint<number, Uint8Array>('limits.quic.generate');
    await endpoint.serve((size) => new Uint8Array(size));
    const client = await endpoint.client();
    await client.waitForInstances();
    const limit = (32 << 20) - (16 << 10);
    await expect(client.unary(limit)).rejects.toMatchObject({
      code: 'DYN_PAYLOAD_TOO_LARGE',
      message: expect.stringMatching(/the limit is 33538048, that of responses over QUIC/),
      details: { type: 'size_limit', limit, actual: limit + 5 },
    });
    expect((await client.unary(limit - 100)).byteLength).toBe(limit - 100);
    await expect(runtime.endpoint('limits.quic.other').serve(() => 1, { maxItemBytes: limit + 1 })).rejects.toThrow(
      /maxItemBytes: expected an integer from 1 to 33538048/,
    );
  });
});
