import { describe, expect, it } from 'vitest';
import { describeLives } from '../../helpers/nixl/close-states.js';
import { agentOf, useTransport } from '../../helpers/nixl/library.js';
import { describeLifetime } from '../../helpers/nixl/lifetime.js';
import { describeMetadata } from '../../helpers/nixl/metadata.js';
import { describeMisuse } from '../../helpers/nixl/misuse.js';
import { describeNotifications } from '../../helpers/nixl/notifications.js';
import { describeTransfers } from '../../helpers/nixl/transfers.js';
import { lowest } from '../../helpers/wait.js';

useTransport('mock');

describe('NIXL on the mock', () => {
  for (const part of [describeTransfers, describeMetadata, describeNotifications, describeLifetime, describeMisuse])
    part('mock');
  describeLives('mock', 1000, 60_000);

  it('cuts a million blocks outside of the JavaScript thread', async () => {
    const [count, blockBytes] = [2 ** 20, 16];
    const agent = await agentOf('mock');
    const region = await agent.allocate(count * blockBytes);
    const activeMs = await lowest(10, async () => {
      const before = performance.eventLoopUtilization();
      const list = await agent.blocks(region, blockBytes);
      const { active } = performance.eventLoopUtilization(before);
      expect(list.length).toBe(count);
      await list.release();
      return active;
    });
    expect(activeMs).toBeLessThan(10);
  });
});
