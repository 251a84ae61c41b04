import { describe, expect, it, onTestFinished } from 'vitest';

import { Child } from '../../helpers/child.js';
import { temporaryFolder, testRuntime } from '../../helpers/runtime/runtime.js';
import type { NumbersItem, NumbersRequest } from '../../helpers/runtime/worker-protocol.js';

// The settings of the machine would apply to the worker in this process.
delete process.env['CUDA_VISIBLE_DEVICES'];
delete process.env['NVIDIA_VISIBLE_DEVICES'];
delete process.env['DYN_ENCODER_CUDA_TO_CPU_RATIO'];

const path = 'devices.worker.generate';

async function workers(...masks: NodeJS.ProcessEnv[]) {
  const discovery = { kind: 'file', dir: temporaryFolder() } as const;
  const children = masks.map((env) =>
    Child.program(
      'test/helpers/runtime/programs/worker.ts',
      [JSON.stringify({ path, runtime: { discovery, host: '127.0.0.1' } })],
      { env },
    ),
  );
  onTestFinished(async () => void (await Promise.all(children.map((child) => child.stop()))));
  const runtime = await testRuntime({ discovery });
  // Its items differ from those of the others by their index.
  await runtime.endpoint<NumbersRequest, NumbersItem>(path).serve(async function* ({ call }, { signal }) {
    yield { call, index: 100 };
    await new Promise((resolve) => signal.addEventListener('abort', resolve));
  });
  const ids = await Promise.all(
    children.map(async (child) => (await child.event('ready', {}, 60_000))['instanceId'] as string),
  );
  return { runtime, ids };
}

describe('the device type of an instance', () => {
  it('is cpu if the environment masks every device, else cuda', async () => {
    const { runtime, ids } = await workers({ CUDA_VISIBLE_DEVICES: '' }, { NVIDIA_VISIBLE_DEVICES: 'void' });
    const client = await runtime.endpoint(path).client();
    onTestFinished(() => client.close());
    const instances = await client.waitForInstances({ count: 3, timeoutMs: 20_000 });
    const told = Object.fromEntries(instances.map(({ instanceId, deviceType }) => [String(instanceId), deviceType]));
    expect(told).toEqual({
      [String(runtime.instanceId)]: 'cuda',
      [ids[0] as string]: 'cpu',
      [ids[1] as string]: 'cpu',
    });
    expect((await runtime.instances()).map(({ deviceType }) => deviceType).sort()).toEqual(['cpu', 'cpu', 'cuda']);
  });

  it('gives a cpu instance one request for every eight of a cuda instance in mode device_aware_weighted', async () => {
    const { runtime } = await workers({ CUDA_VISIBLE_DEVICES: '-1' });
    const client = await runtime.endpoint<NumbersRequest, NumbersItem>(path).client({ mode: 'device_aware_weighted' });
    onTestFinished(() => client.close());
    await client.waitForInstances({ count: 2, timeoutMs: 20_000 });
    const answered: string[] = [];
    const ask = async (call: number) => {
      const stream = client.generate({ call, items: 2, hangAt: 1 });
      onTestFinished(async () => void (await stream.return()));
      const { value } = await stream.next();
      answered.push((value as NumbersItem).index === 100 ? 'cuda' : 'cpu');
    };
    for (let call = 0; call < 18; call++) await ask(call);
    const eight = Array<string>(8).fill('cuda');
    expect(answered).toEqual([...eight, 'cpu', ...eight, 'cpu']);
  });
});
