import { join } from 'node:path';
import {
  type BlockManager,
  BlockTiers,
  NixlAgent,
  type NixlLibrary,
  type RegisteredBlocks,
  RemoteBlocks,
  SharedBlocks,
  type ShareRequest,
  type ShareResponse,
} from 'dynamo-node';
import { expect, it, onTestFinished } from 'vitest';
import { uniqueName } from '../nixl/library.js';
import { temporaryFolder, testRuntime } from '../runtime/runtime.js';
import {
  areRight,
  BLOCK_BYTES,
  blockSize,
  deviceManager,
  fileManager,
  fill,
  hostManager,
  LAYER_BYTES,
  layout,
  sequenceOf,
  store,
} from './blocks.js';

const checksumError = expect.objectContaining({ name: 'BlockChecksumError', reason: 'kvbm.checksum' });

/** Tests of blocks in device memory: of a GPU, or of the mock's simulated GPU. */
export function describeDeviceBlocks(library: () => NixlLibrary): void {
  const agentOn = async (name = 'blocks'): Promise<NixlAgent> => {
    const agent = await NixlAgent.create(uniqueName(name), { library: library(), backends: { UCX: {}, POSIX: {} } });
    onTestFinished(async () => void (await agent.close()));
    return agent;
  };

  function tiersOf(upper: BlockManager, lower: BlockManager): BlockTiers {
    const tiers = new BlockTiers(upper, lower);
    onTestFinished(() => tiers.close());
    return tiers;
  }

  it('are written, read, and copied to host memory and back', async () => {
    const device = await deviceManager(await agentOn());
    const host = hostManager({ registry: device.registry });
    const sequence = sequenceOf(5);
    const stored = await store(device, sequence);
    expect(() => stored.view(0)).toThrow(/expected memory, got a region/);
    expect(await areRight(stored, sequence)).toEqual(Array(5).fill(true));
    const below = host.allocateOrThrow(5);
    await host.copy(stored, below);
    const kept = below.stageAs(stored).register();
    expect(Array.from({ length: 5 }, (_, index) => Buffer.compare(kept.view(index), fill(sequence, index)))).toEqual(
      Array(5).fill(0),
    );
    stored.dispose();
    device.drainInactive();
    const above = device.allocateOrThrow(5);
    await device.copy(kept, above);
    expect(await areRight(above.stageAs(kept).register(), sequence)).toEqual(Array(5).fill(true));
  });

  it('are copied from device memory to device memory', async () => {
    const device = await deviceManager(await agentOn());
    const sequence = sequenceOf(2);
    const stored = await store(device, sequence);
    const twin = device.allocateOrThrow(2);
    await device.copy(stored, twin);
    expect(await areRight(twin.stage(sequence).register(), sequence)).toEqual([true, true]);
  });

  it('are copied directly to a file, or the copy fails with NixlError', async () => {
    const agent = await agentOn();
    const device = await deviceManager(agent);
    const disk = await fileManager(agent, join(temporaryFolder(), 'blocks'), { registry: device.registry });
    const sequence = sequenceOf(3);
    const stored = await store(device, sequence);
    const below = disk.allocateOrThrow(3);
    const copied = await disk.copy(stored, below).then(
      () => true,
      (error: unknown) => error,
    );
    if (copied !== true) {
      expect(copied).toMatchObject({ name: 'NixlError' });
      expect(below.disposed).toBe(false);
    } else {
      expect(await areRight(below.stageAs(stored).register(), sequence)).toEqual(Array(3).fill(true));
    }
    expect(await areRight(stored, sequence)).toEqual(Array(3).fill(true));
  });

  it('are offloaded to host memory and to a file, and onboarded again', async () => {
    const agent = await agentOn();
    const device = await deviceManager(agent);
    const host = hostManager({ registry: device.registry });
    const disk = await fileManager(agent, join(temporaryFolder(), 'blocks'), {
      registry: device.registry,
      blockCount: 16,
    });
    const [upper, lower] = [tiersOf(device, host), tiersOf(host, disk)];
    const sequence = sequenceOf(6);
    const stored = await store(device, sequence);
    expect(await upper.offload(stored)).toBe(6);
    stored.dispose();
    const between = host.matchPrefix(sequence) as RegisteredBlocks;
    expect(await lower.offload(between)).toBe(6);
    between.dispose();
    const tierCounts = (): number[] =>
      [device, host, disk].map(
        ({ tier }) => device.registry.presence(sequence, [tier]).filter((there) => there === 1).length,
      );
    expect(tierCounts()).toEqual([6, 6, 6]);
    for (const manager of [device, host]) manager.drainInactive();
    expect(await upper.onboard(sequence)).toBeUndefined();
    const onHost = (await lower.onboard(sequence)) as RegisteredBlocks;
    using onDevice = (await upper.onboard(sequence)) as RegisteredBlocks;
    expect(await areRight(onDevice, sequence)).toEqual(Array(6).fill(true));
    onHost.dispose();
    expect(tierCounts()).toEqual([6, 6, 6]);
  });

  it('are copied by ranges of layers and by single layers', async () => {
    const device = await deviceManager(await agentOn());
    const host = hostManager({ registry: device.registry });
    const sequence = sequenceOf(3);
    const stored = await store(device, sequence);
    const below = host.allocateOrThrow(3);
    await host.copy(stored, below, { layers: [1, 3] });
    const [from, to] = [LAYER_BYTES, 3 * LAYER_BYTES];
    for (let index = 0; index < 3; index++) {
      const bytes = below.bytes(index);
      expect(Buffer.compare(bytes.subarray(from, to), fill(sequence, index).subarray(from, to))).toBe(0);
      expect([...bytes.subarray(0, from), ...bytes.subarray(to)].every((byte) => byte === 0)).toBe(true);
    }
    const above = device.allocateOrThrow(3);
    for (let layer = 0; layer < layout.layers; layer++) {
      await host.copy(stored, below, { layers: [layer, layer + 1] });
    }
    const kept = below.stageAs(stored).register();
    for (let layer = layout.layers - 1; layer >= 0; layer--)
      await device.copy(kept, above, { layers: [layer, layer + 1] });
    expect(await areRight(above.stageAs(kept).register(), sequence)).toEqual([true, true, true]);
    await expect(host.copy(stored, host.allocateOrThrow(3), { layers: [2, 5] })).rejects.toThrow(RangeError);
  });

  it('fail with BlockChecksumError if their bytes changed, and are never copied', async () => {
    const device = await deviceManager(await agentOn());
    const host = hostManager({ registry: device.registry });
    const tiers = tiersOf(device, host);
    const sequence = sequenceOf(3);
    const stored = await store(device, sequence);
    const last = (stored.ids[1] as number) * BLOCK_BYTES + BLOCK_BYTES - 1;
    const original = fill(sequence, 1).at(-1) as number;
    await device.core.region?.upload(Uint8Array.of(original ^ 1), last);
    expect(Buffer.compare(await stored.read(0), fill(sequence, 0))).toBe(0);
    await expect(stored.read(1)).rejects.toThrow(checksumError);
    await expect(tiers.offload(stored)).rejects.toThrow(checksumError);
    expect([host.available, host.matchPrefix(sequence)]).toEqual([8, undefined]);
    const below = host.allocateOrThrow(3);
    await expect(host.copy(stored, below)).rejects.toThrow(/block 1/);
    // Its other layers are unchanged.
    await host.copy(stored, below, { layers: [0, 3] });
    expect(below.disposed).toBe(false);
    await device.core.region?.upload(Uint8Array.of(original), last);
    expect(await tiers.offload(stored)).toBe(3);
  });

  it('are read by another agent into memory of its device', async () => {
    const runtime = await testRuntime();
    const endpoint = runtime.endpoint<ShareRequest, ShareResponse>('kvbm.device.blocks');
    const [owning, reading] = [await agentOn('owner'), await agentOn('reader')];
    const [owner, reader] = [await deviceManager(owning), await deviceManager(reading)];
    const sequence = sequenceOf(4);
    const stored = await store(owner, sequence);
    const shared = await SharedBlocks.serve(owner, owning, endpoint);
    onTestFinished(() => shared.close());
    const client = await endpoint.client({ mode: 'direct' });
    const [instance] = await client.waitForInstances();
    const remote = await RemoteBlocks.connect(reader, reading, client, instance?.instanceId as bigint);
    onTestFinished(() => remote.close());
    using pulled = (await remote.pull(sequence)) as RegisteredBlocks;
    expect(await areRight(pulled, sequence)).toEqual(Array(4).fill(true));
    pulled.dispose();
    reader.drainInactive();
    // The reader cannot read device memory during the pull, but keeps the checksums.
    await owner.core.region?.upload(new Uint8Array(8), (stored.ids[2] as number) * BLOCK_BYTES);
    using again = (await remote.pull(sequence)) as RegisteredBlocks;
    expect(Buffer.compare(await again.read(1), fill(sequence, 1))).toBe(0);
    await expect(again.read(2)).rejects.toThrow(checksumError);
  });

  it('reject a region that does not fit the size, the tier or the agent', async () => {
    const [agent, other] = [await agentOn('a'), await agentOn('b')];
    const region = await agent.allocate(8 * BLOCK_BYTES, { memory: 'VRAM' });
    const storage = { kind: 'region', region } as const;
    expect(() => hostManager({ storage })).toThrow(
      /options.storage: expected a manager of the tier device for it, got one of the tier host/,
    );
    expect(() => hostManager({ tier: 'device', blockCount: 9, storage })).toThrow(RangeError);
    const memory = await agent.allocate(8 * BLOCK_BYTES);
    expect(() => hostManager({ storage: { kind: 'region', region: memory } })).toThrow(
      /expected VRAM or FILE, got DRAM/,
    );
    const first = hostManager({ tier: 'device', storage });
    expect(() => hostManager({ tier: 'device', storage })).toThrow(
      expect.objectContaining({ code: 'DYN_CONFLICT', reason: 'kvbm.region' }),
    );
    first.dispose();
    const device = hostManager({ tier: 'device', storage });
    expect(() => device.registerWith(other)).toThrow(TypeError);
    expect(await device.registerWith(agent)).toBe(region);
    const elsewhere = await deviceManager(other);
    const own = hostManager({ tier: 'disk', storage: { kind: 'file', path: join(temporaryFolder(), 'own') } });
    const stored = await store(device, sequenceOf(1));
    await expect(elsewhere.copy(stored, elsewhere.allocateOrThrow(1))).rejects.toThrow(/expected regions of one agent/);
    await expect(own.copy(stored, own.allocateOrThrow(1))).rejects.toThrow(
      /expected memory or a region beside a region, got a manager's own file/,
    );
    expect(() => new BlockTiers(device, own)).toThrow(TypeError);
    const narrow = hostManager({ layout: { ...layout, layers: 8, heads: 1 } });
    expect(narrow.blockBytes).toBe(BLOCK_BYTES);
    await expect(narrow.copy(stored, narrow.allocateOrThrow(1))).rejects.toThrow(
      expect.objectContaining({ name: 'BlockLayoutError' }),
    );
    expect(stored.disposed).toBe(false);
    expect(device.blockSize).toBe(blockSize);
    device.dispose();
    await region.release();
    expect(() => hostManager({ tier: 'device', storage })).toThrow(
      expect.objectContaining({ reason: 'nixl.region_released' }),
    );
  });
}
