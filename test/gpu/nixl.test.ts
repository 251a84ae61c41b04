import { loadNixl, NixlLoadError, nixlDoctor, nixlExplain } from 'dynamo-node';
import { beforeEach, describe, expect, it } from 'vitest';

import { describeDevice } from '../helpers/nixl/device.js';
import { describeHandover } from '../helpers/nixl/handover.js';
import { agentOf, useTransport } from '../helpers/nixl/library.js';

useTransport('ucx');

/** Why there is no GPU for the tests. Undefined if there is one. */
function missing(): string | undefined {
  try {
    const { available, reason } = loadNixl({ mode: 'real' }).cuda;
    return available ? undefined : `no GPU: ${reason}`;
  } catch (error) {
    if (error instanceof NixlLoadError) return 'the NIXL library is not installed';
    throw error;
  }
}

describe('NIXL with a GPU', () => {
  beforeEach((context) => {
    const reason = missing();
    if (reason === undefined) return;
    if (process.env['REQUIRE_GPU'] === '1') throw new Error(`REQUIRE_GPU=1, but ${reason}`);
    context.skip(reason);
  });
  describeDevice('ucx');
  describeHandover('ucx');

  it('explains the transport between device memories, and between a device and the host', {
    timeout: 120_000,
  }, async () => {
    const agent = await agentOf('ucx', 'explained');
    for (const memory of ['VRAM', 'DRAM'] as const) {
      const region = await agent.allocate(1 << 20, { memory });
      const explained = await nixlExplain({
        peer: await agent.metadata({ regions: [region] }),
        remote: region.descriptor(),
        local: 'VRAM',
      });
      console.log(`${memory} to VRAM: ${explained.transport}, ${explained.evidence}: ${explained.detail}`);
      expect(explained.transport).not.toBe('mock');
      expect(explained.measured?.bytesPerSecond).toBeGreaterThan(50e6);
    }
  });

  it('reports each device with its name in nixlDoctor', async () => {
    const { cuda } = await nixlDoctor();
    console.log(JSON.stringify(cuda));
    expect(cuda?.available).toBe(true);
    expect(cuda?.devices.length).toBeGreaterThan(0);
  });
});
