import type { MemorySource } from 'dynamo-node';
import { beforeEach, describe, expect, it } from 'vitest';

import { agentOf, nixlMissing, useTransport } from '../../helpers/nixl/library.js';

useTransport('ucx');

/** NIXL's client of an object store connects for a transfer, not for a registration. */
const OBJ = {
  bucket: 'blocks',
  endpoint_override: 'http://127.0.0.1:9',
  scheme: 'http',
  region: 'us-east-1',
  access_key: 'none',
  secret_key: 'none',
};

const objectOf = (device: number, key: string, bytes = 4096): MemorySource => ({
  address: 0n,
  bytes,
  memory: 'OBJECT',
  device,
  meta: key,
});

describe('objects of the backend OBJ', () => {
  beforeEach((context) => {
    const missing = nixlMissing();
    if (missing !== undefined) context.skip(missing);
  });

  it('are refused if two have one device number', async () => {
    const agent = await agentOf('ucx', 'objects', { backends: { UCX: {}, OBJ } });
    const first = await agent.register(objectOf(7, 'first'));
    const refused = {
      code: 'DYN_CONFLICT',
      reason: 'nixl.overlap',
      message: expect.stringContaining('OBJECT number 7 cannot be registered: the number already has another'),
    };
    await expect(agent.register(objectOf(7, 'second'))).rejects.toMatchObject(refused);
    await expect(agent.register(objectOf(7, 'first', 8192))).rejects.toMatchObject(refused);
    const other = await agent.register(objectOf(8, 'second'));
    expect([first.isOpen, other.isOpen]).toEqual([true, true]);
    await first.release();
    const second = await agent.register(objectOf(7, 'second'));
    expect(second.isOpen).toBe(true);
    expect(await agent.close()).toEqual({ leaked: false });
  });

  it('can be registered twice, and closed with both registrations', async () => {
    const agent = await agentOf('ucx', 'objects', { backends: { UCX: {}, OBJ } });
    const regions = [await agent.register(objectOf(7, 'one')), await agent.register(objectOf(7, 'one'))];
    await regions[0]?.release();
    expect(regions.map(({ isOpen }) => isOpen)).toEqual([false, true]);
    await agent.register(objectOf(7, 'one'));
    expect(await agent.close()).toEqual({ leaked: false });
  });
});
