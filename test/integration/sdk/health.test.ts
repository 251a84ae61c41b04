import { startService } from 'dynamo-node';
import { defineService, graph } from 'dynamo-node/sdk';
import { describe, expect, it } from 'vitest';

import { hostings } from '../../helpers/sdk/hosting.js';

const hosting = hostings();

const Plain = defineService('Plain').endpoint('run', async () => 1);

describe('the health of a service', () => {
  const statusOf = async (address: string | undefined, path: string): Promise<number> =>
    (await fetch(`http://${address}${path}`)).status;

  it('is on the status server: ready when it has started, not after its close', async () => {
    const one = hosting();
    const runtime = await one.runtime({ systemPort: 0 });
    const address = runtime.systemAddress;
    expect(await statusOf(address, '/health')).toBe(503);
    const running = await startService(runtime, graph('plain', Plain), Plain);
    await expect.poll(() => statusOf(address, '/health')).toBe(200);
    expect(await statusOf(address, '/live')).toBe(200);
    await running.close();
    expect(await statusOf(address, '/health')).toBe(503);
  });

  it('follows its readiness hooks', async () => {
    const state = { isReady: true };
    const Warming = defineService('Warming').readiness(() => state.isReady);
    const one = hosting();
    const runtime = await one.runtime({ systemPort: 0 });
    const running = await startService(runtime, graph('warming', Warming), Warming);
    expect(await statusOf(runtime.systemAddress, '/health')).toBe(200);
    state.isReady = false;
    await expect.poll(() => statusOf(runtime.systemAddress, '/health')).toBe(503);
    state.isReady = true;
    await expect.poll(() => statusOf(runtime.systemAddress, '/health')).toBe(200);
    await running.close();
  });

  it('ends a service whose liveness hooks fail three times in a row', async () => {
    let asked = 0;
    const Dying = defineService('Dying').liveness(() => {
      asked += 1;
      if (asked === 2) throw new Error('a fault');
      return asked === 3;
    });
    const one = hosting();
    const running = await startService(await one.runtime({ systemPort: 0 }), graph('dying', Dying), Dying);
    await expect(running.ended).rejects.toThrow(
      'service Dying is not alive: its liveness hooks failed 3 times in a row',
    );
    expect(asked).toBe(6);
    await running.close();
  });
});
