import { createHash } from 'node:crypto';
import { loadNixl, type MemoryDescriptor, type MemoryRegion, NixlAgent, type NixlLibrary } from 'dynamo-node';
import { expect, it, onTestFinished } from 'vitest';

import { arg, invoke } from '../../../lib/addon/invoke.js';
import { Child } from '../child.js';
import { testing } from '../testing-native.js';
import { pattern, sameBytes, uniqueName, viewOf } from './library.js';

/** The real library, or the mock with a simulated GPU in host memory. */
export const deviceLibrary = (kind: 'mock' | 'ucx'): NixlLibrary =>
  kind === 'mock' ? loadNixl({ mode: 'mock', mock: { fakeGpus: 1 } }) : loadNixl({ mode: 'real' });

const hashOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** The shortest of several times, in milliseconds. */
async function best(times: number, work: () => Promise<number>): Promise<number> {
  let min = Number.POSITIVE_INFINITY;
  for (let time = 0; time < times; time++) min = Math.min(min, await work());
  return min;
}

async function agentOn(kind: 'mock' | 'ucx', name: string): Promise<NixlAgent> {
  const agent = await NixlAgent.create(uniqueName(name), { library: deviceLibrary(kind) });
  onTestFinished(async () => void (await agent.close()));
  return agent;
}

/** Moves bytes between device and host memory and checks each byte, on a GPU or on the mock's simulated one. */
export function describeDevice(kind: 'mock' | 'ucx'): void {
  it.each([4096, 65536, 20 << 20])(
    'moves %i bytes between device and host memory, and between devices',
    async (bytes) => {
      const [a, b] = [await agentOn(kind, 'a'), await agentOn(kind, 'b')];
      const [host, mine, theirs] = [
        await a.allocate(bytes),
        await a.allocate(bytes, { memory: 'VRAM' }),
        await b.allocate(bytes, { memory: 'VRAM' }),
      ];
      expect([mine.memory, mine.device, mine.view]).toEqual(['VRAM', 0, null]);
      const peer = await a.connect(await b.metadata());
      const remote = peer.memory(theirs.descriptor());
      pattern(viewOf(host), 1);
      await mine.upload(viewOf(host));
      await a.write(mine, remote);
      expect(sameBytes(await theirs.download(), viewOf(host))).toBe(true);
      pattern(viewOf(host), 2);
      await a.write(host, remote);
      expect(sameBytes(await theirs.download(), viewOf(host))).toBe(true);
      viewOf(host).fill(0);
      await a.read(host, remote);
      expect(sameBytes(await theirs.download(), viewOf(host))).toBe(true);
      await a.read(mine, remote);
      expect(sameBytes(await mine.download(), viewOf(host))).toBe(true);
      const block = 4096;
      const last = bytes / block - 1;
      await a.transferBlocks(
        'WRITE',
        await a.blocks(mine, block),
        Int32Array.of(0),
        await a.blocks(remote, block),
        Int32Array.of(last),
      );
      expect(sameBytes(await theirs.download(last * block), viewOf(host).subarray(0, block))).toBe(true);
    },
  );

  it.each(['VRAM', 'DRAM'] as const)(
    'moves between %s of this process and the device memory of another, both ways',
    { timeout: 120_000 },
    async (memory) => {
      const bytes = 20 << 20;
      const agent = await agentOn(kind, 'here');
      const mine = await agent.allocate(bytes, { memory });
      const child = Child.program('test/helpers/nixl/programs/device.ts', [kind, uniqueName('there'), String(bytes)], {
        env: { NIXL_LOG_LEVEL: 'FATAL' },
      });
      onTestFinished(() => child.stop());
      const ready = (await child.event('ready', {}, 60_000)) as unknown as {
        metadata: string;
        descriptor: MemoryDescriptor;
      };
      const ask = async (command: { do: string; seed?: number }): Promise<Record<string, unknown>> => {
        child.send(command);
        return child.event(command.do, {}, 30_000);
      };
      const peer = await agent.connect(Buffer.from(ready.metadata, 'base64'));
      const remote = peer.memory(ready.descriptor);
      const sent = pattern(new Uint8Array(bytes), 3);
      await mine.upload(sent);
      await agent.write(mine, remote);
      expect((await ask({ do: 'hash' }))['hash']).toBe(hashOf(sent));
      await ask({ do: 'fill', seed: 4 });
      await agent.read(mine, remote);
      expect(sameBytes(await mine.download(), pattern(new Uint8Array(bytes), 4))).toBe(true);
    },
  );

  it('reports its speed beside a copy by the driver', { timeout: 120_000 }, async (context) => {
    if (testing.nixlRegionCopy === undefined) context.skip('this addon was built without DYNAMO_TESTING');
    const bytes = kind === 'mock' ? 16 << 20 : 256 << 20;
    const [a, b] = [await agentOn(kind, 'a'), await agentOn(kind, 'b')];
    const onDevice = (agent: NixlAgent): Promise<MemoryRegion> => agent.allocate(bytes, { memory: 'VRAM' });
    const [mine, copied, theirs, host] = [
      await onDevice(a),
      await onDevice(a),
      await onDevice(b),
      await a.allocate(bytes),
    ];
    const remote = (await a.connect(await b.metadata())).memory(theirs.descriptor());
    pattern(viewOf(host), 5);
    await mine.upload(viewOf(host));
    const times = {
      'a copy by the driver': await best(5, async () => (await copyOnDevice(mine, copied)) / 1e6),
      'device to device': await best(5, async () => (await a.write(mine, remote)).durationMs),
      'device to host': await best(5, async () => (await a.read(host, remote)).durationMs),
      'host to device': await best(5, async () => (await a.write(host, remote)).durationMs),
    };
    for (const region of [copied, theirs]) expect(sameBytes(await region.download(), viewOf(host))).toBe(true);
    const where = kind === 'mock' ? "the mock's simulated GPU" : deviceLibrary(kind).cuda.devices[0]?.name;
    const lines = Object.entries(times).map(([what, ms]) => `${what}: ${(bytes / ms / 1e6).toFixed(1)} GB/s`);
    console.log(`${where}, ${bytes >> 20} MiB\n${lines.join('\n')}`);
  });

  it('rejects a device that does not exist', async () => {
    const agent = await agentOn(kind, 'a');
    await expect(agent.allocate(4096, { memory: 'VRAM', device: 99 })).rejects.toMatchObject({ name: 'NixlError' });
  });
}

/** The nanoseconds of a copy between two regions of one device, until the device has finished. */
function copyOnDevice(from: MemoryRegion, to: MemoryRegion): Promise<number> {
  return invoke(testing.nixlRegionCopy, 'copy', {
    handle: from.handle('copy'),
    other: to.handle('copy'),
    a: arg('byteLength', from.bytes),
  });
}
