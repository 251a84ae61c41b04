import { NixlAgent, type NixlLibrary } from 'dynamo-node';
import { expect, it, onTestFinished } from 'vitest';

import { pattern, sameBytes, uniqueName, viewOf } from './library.js';

/** Moves between device and host memory, each byte checked; on a GPU, or on the mock's stand-in for one. */
export function describeDevice(library: () => NixlLibrary): void {
  const agentOn = async (name: string): Promise<NixlAgent> => {
    const agent = await NixlAgent.create(uniqueName(name), { library: library() });
    onTestFinished(async () => void (await agent.close()));
    return agent;
  };

  it.each([4096, 65536, 20 << 20])('moves %i bytes between device and host memory, and between devices', async (bytes) => {
    const [a, b] = [await agentOn('a'), await agentOn('b')];
    const [host, mine, theirs] = [await a.allocate(bytes), await a.allocate(bytes, { memory: 'VRAM' }), await b.allocate(bytes, { memory: 'VRAM' })];
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
    await a.transferBlocks('WRITE', await a.blocks(mine, block), Int32Array.of(0), await a.blocks(remote, block), Int32Array.of(last));
    expect(sameBytes(await theirs.download(last * block), viewOf(host).subarray(0, block))).toBe(true);
  });

  it('refuses a device that is not there', async () => {
    const agent = await agentOn('a');
    await expect(agent.allocate(4096, { memory: 'VRAM', device: 99 })).rejects.toMatchObject({ name: 'NixlError' });
  });
}
