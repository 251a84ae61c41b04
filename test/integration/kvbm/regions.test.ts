import { constants } from 'node:buffer';
import { statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import {
  BlockManager,
  BlockTiers,
  loadNixl,
  type MockKnobs,
  NixlAgent,
  type NixlLibrary,
  type RegisteredBlocks,
} from 'dynamo-node';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import {
  areRight,
  BLOCK_BYTES,
  deviceManager,
  fileManager,
  fill,
  hostManager,
  LAYER_BYTES,
  layout,
  sequenceOf,
  store,
} from '../../helpers/kvbm/blocks.js';
import { libraryOf, nixlMissing, uniqueName } from '../../helpers/nixl/library.js';
import { randomNumbers } from '../../helpers/random.js';
import { temporaryFolder } from '../../helpers/runtime/runtime.js';
import { waitFor } from '../../helpers/wait.js';

async function agentOn(library: NixlLibrary, backends: Record<string, Record<string, string>>): Promise<NixlAgent> {
  const agent = await NixlAgent.create(uniqueName('blocks'), { library, backends });
  onTestFinished(async () => void (await agent.close()));
  return agent;
}

describe('memory larger than a view', () => {
  it('rejects registering more memory than a view may have with both sizes, and keeps the manager usable', async ({
    skip,
  }) => {
    const bytes = 5 * 2 ** 30;
    skip(constants.MAX_LENGTH > bytes, `Node.js ${process.versions.node} has views of that size`);
    const agent = await agentOn(libraryOf('mock'), { UCX: {} });
    const manager = hostManager({ blockCount: bytes / BLOCK_BYTES, storage: { kind: 'memory' } });
    const max = constants.MAX_LENGTH;
    expect(() => manager.registerWith(agent)).toThrow(
      `expected at most ${max} bytes, the largest view in Node.js ${process.versions.node}, got ${bytes}`,
    );
    using blocks = manager.allocateOrThrow(2);
    expect(blocks.bytes(1).length).toBe(BLOCK_BYTES);
    const region = await agent.allocate(bytes);
    expect(() => region.view).toThrow(/^region.view: expected at most/);
    await agent.write(region.slice(bytes - 4096), agent.self.memory(region.descriptor()).slice(0, 4096));
  });
});

describe.each(['mock', 'ucx'] as const)('blocks in a file of an agent, with %s', (kind) => {
  beforeEach(({ skip }) => {
    const missing = kind === 'ucx' ? nixlMissing() : undefined;
    skip(missing !== undefined, missing);
  });

  const fileAgent = (): Promise<NixlAgent> => agentOn(libraryOf(kind), { POSIX: {} });

  it('have the bytes that were stored, whole and layer by layer', async () => {
    const path = join(temporaryFolder(), 'blocks');
    const disk = await fileManager(await fileAgent(), path);
    const host = hostManager({ registry: disk.registry });
    const sequence = sequenceOf(5);
    const stored = await store(host, sequence);
    const below = disk.allocateOrThrow(5);
    await disk.copy(stored, below, { layers: [0, 1] });
    await disk.copy(stored, below, { layers: [1, layout.layers] });
    const kept = below.stageAs(stored).register();
    expect(statSync(path).size).toBe(5 * BLOCK_BYTES);
    expect(await areRight(kept, sequence)).toEqual(Array(5).fill(true));
    const fresh = hostManager();
    const above = fresh.allocateOrThrow(5);
    await fresh.copy(kept, above, { layers: [2, 3] });
    const part = [2 * LAYER_BYTES, 3 * LAYER_BYTES] as const;
    expect(Buffer.compare(above.bytes(4).subarray(...part), fill(sequence, 4).subarray(...part))).toBe(0);
    expect(
      above
        .bytes(4)
        .subarray(0, part[0])
        .every((byte) => byte === 0),
    ).toBe(true);
    await fresh.copy(kept, above);
    const again = above.stageAs(kept).register();
    expect(Array.from({ length: 5 }, (_, index) => Buffer.compare(again.view(index), fill(sequence, index)))).toEqual(
      Array(5).fill(0),
    );
  });

  it('fail to be read if the file was truncated, and leave the target blocks mutable', async () => {
    const path = join(temporaryFolder(), 'blocks');
    const disk = await fileManager(await fileAgent(), path);
    const host = hostManager({ registry: disk.registry });
    const tiers = new BlockTiers(host, disk);
    const sequence = sequenceOf(4);
    const stored = await store(host, sequence);
    expect(await tiers.offload(stored)).toBe(4);
    stored.dispose();
    host.drainInactive();
    using kept = disk.matchPrefix(sequence) as RegisteredBlocks;
    truncateSync(path, 2 * BLOCK_BYTES + 1);
    // A library that accepts a short read returns bytes that were never stored.
    await expect(kept.read(3)).rejects.toThrow(
      expect.objectContaining({ name: expect.stringMatching(/NixlError|BlockChecksumError/) }),
    );
    const other = hostManager();
    const above = other.allocateOrThrow(4);
    await expect(other.copy(kept, above)).rejects.toThrow();
    expect(above.stage(sequence).reset().length).toBe(4);
    await expect(tiers.onboard(sequence)).rejects.toThrow();
    expect([other.available, other.matchPrefix(sequence)]).toEqual([4, undefined]);
    expect(Buffer.compare(await kept.read(1), fill(sequence, 1))).toBe(0);
  });

  it('stay correct while many are offloaded and onboarded concurrently', async () => {
    const disk = await fileManager(await fileAgent(), join(temporaryFolder(), 'blocks'), { blockCount: 24 });
    const host = hostManager({ registry: disk.registry, blockCount: 16 });
    const tiers = new BlockTiers(host, disk, { batchBlocks: 3 });
    const random = randomNumbers(5);
    const errors: unknown[] = [];
    let checked = 0;
    const one = async (): Promise<void> => {
      const sequence = sequenceOf(1 + Math.floor(random() * 4), Math.floor(random() * 6));
      using cached = host.matchPrefix(sequence);
      const first = cached?.length ?? 0;
      using onboarded = await tiers.onboard(sequence, first);
      const there = first + (onboarded?.length ?? 0);
      if (there < sequence.blockCount && host.available >= sequence.blockCount - there) {
        using stored = await store(host, sequence, there);
        tiers.enqueue(stored);
      }
      const found = [
        ...(cached === undefined ? [] : await areRight(cached, sequence)),
        ...(onboarded === undefined ? [] : await areRight(onboarded, sequence, first)),
      ];
      expect(found.every((right) => right)).toBe(true);
      checked += found.length;
    };
    for (let round = 0; round < 40; round++)
      await Promise.all(Array.from({ length: 6 }, () => one().catch((error: unknown) => errors.push(error))));
    await tiers.flush();
    expect(errors).toEqual([]);
    expect(checked).toBeGreaterThan(200);
    expect(tiers.statistics().onboarded).toBeGreaterThan(10);
    expect([host.statistics(), disk.statistics()]).toMatchObject([
      { available: 16, batches: 0 },
      { available: 24, batches: 0 },
    ]);
  });

  it('are copied correctly by hundreds of concurrent copies', async () => {
    const disk = await fileManager(await fileAgent(), join(temporaryFolder(), 'blocks'), { blockCount: 256 });
    const host = hostManager({ registry: disk.registry, blockCount: 256 });
    const sequences = Array.from({ length: 256 }, (_, seed) => sequenceOf(1, seed));
    const kept = await Promise.all(
      sequences.map(async (sequence) => {
        using stored = await store(host, sequence);
        const below = disk.allocateOrThrow(1);
        await disk.copy(stored, below);
        return below.stageAs(stored).register();
      }),
    );
    for (const [index, blocks] of kept.entries())
      expect(await areRight(blocks, sequences[index] as (typeof sequences)[number])).toEqual([true]);
  });
});

describe('memory for a NIXL agent', () => {
  it('begins on a page for any block size', async () => {
    const agent = await agentOn(libraryOf('mock'), { UCX: {} });
    for (const blockCount of [1, 3, 8]) {
      const manager = hostManager({ blockCount, layout: { ...layout, headDim: 3 } });
      expect(manager.blockBytes % 4096).not.toBe(0);
      expect((await manager.registerWith(agent)).address % 4096n).toBe(0n);
    }
  });

  it('is rejected if no copy between the managers is possible', async () => {
    const [agent, other] = [
      await agentOn(libraryOf('mock'), { POSIX: {} }),
      await agentOn(libraryOf('mock'), { POSIX: {} }),
    ];
    const disk = await fileManager(agent, join(temporaryFolder(), 'blocks'));
    const stored = await store(disk, sequenceOf(1));
    const attached = BlockManager.attach(disk.share());
    onTestFinished(() => attached.dispose());
    const own = hostManager({
      tier: 'disk',
      storage: { kind: 'file', path: join(temporaryFolder(), 'blocks'), checksums: true },
    });
    for (const [target, reason] of [
      [await fileManager(agent, join(temporaryFolder(), 'blocks')), /expected memory on one side, got two files/],
      [
        await fileManager(other, join(temporaryFolder(), 'blocks')),
        /expected regions of one agent, got one of 'blocks-/,
      ],
      [attached, /expected a manager with a region of this thread, got one with a region of another/],
      [own, /expected memory or a region beside a region, got a manager's own file/],
    ] as const) {
      using blocks = target.allocateOrThrow(1);
      await expect(target.copy(stored, blocks)).rejects.toThrow(reason);
      await expect(target.copy(stored, blocks)).rejects.toThrow(TypeError);
    }
    using found = attached.matchPrefix(sequenceOf(1));
    await expect(found?.read(0)).rejects.toThrow(/expected a manager with a region of this thread/);
    expect(() => disk.registerWith(other)).toThrow(
      /registerWith agent: expected 'blocks-.*', which owns the region, got 'blocks-/,
    );
    expect(disk.statistics()).toMatchObject({ available: 7, mutableReferences: 0 });
  });
});

describe('a copy through NIXL keeps its blocks until no byte is in flight', () => {
  const knobs = (mock: MockKnobs): NixlLibrary => loadNixl({ mode: 'mock', mock: { fakeGpus: 1, ...mock } });
  afterEach(() => void knobs({}));

  const delayed = { completion: 'delayed', latencyUs: 2_000_000 } as const;

  async function tiers() {
    const agent = await agentOn(knobs({}), { UCX: {} });
    const device = await deviceManager(agent);
    const host = hostManager({ registry: device.registry });
    const sequence = sequenceOf(4);
    return { agent, device, host, sequence, stored: await store(device, sequence) };
  }

  it('if they are disposed of during the copy', async () => {
    const { device, host, sequence, stored } = await tiers();
    const target = host.allocateOrThrow(4);
    knobs(delayed);
    const copied = host.copy(stored, target);
    for (const use of [() => target.stage(sequence), () => target.split(1), () => target.bytes(0)]) {
      expect(use).toThrow(
        expect.objectContaining({ name: 'BlockStateError', message: expect.stringMatching(/are leased to a copy/) }),
      );
    }
    await expect(host.copy(stored, target)).rejects.toThrow(expect.objectContaining({ name: 'BlockStateError' }));
    stored.dispose();
    target.dispose();
    expect([device.available, host.available, target.disposed]).toEqual([4, 4, true]);
    await copied;
    expect([device.available, host.available]).toEqual([8, 8]);
  });

  it('if the copy is aborted', async () => {
    const { device, host, stored } = await tiers();
    const target = host.allocateOrThrow(4);
    knobs(delayed);
    const abort = new AbortController();
    const aborted = host.copy(stored, target, { signal: abort.signal });
    setImmediate(() => abort.abort(new Error('enough')));
    await expect(aborted).rejects.toThrow('enough');
    stored.dispose();
    expect([device.available, host.available, target.disposed]).toEqual([4, 4, false]);
    expect(() => target.bytes(0)).toThrow(expect.objectContaining({ name: 'BlockStateError' }));
    await waitFor(
      'the source',
      () => device.available,
      (available) => available === 8,
      30_000,
    );
    expect(target.bytes(0).length).toBe(BLOCK_BYTES);
    target.dispose();
    expect(host.available).toBe(8);
    await expect(
      host.copy(device.matchPrefix(sequenceOf(4)) as RegisteredBlocks, host.allocateOrThrow(4), {
        signal: AbortSignal.abort(new Error('before')),
      }),
    ).rejects.toThrow('before');
    expect(device.statistics().batches).toBe(1);
  });

  it.each(['before', 'during'])(
    'if the manager is disposed of %s the transfer; another handle gets them afterwards',
    async (when) => {
      const { agent, host, stored } = await tiers();
      const other = BlockManager.attach(host.share());
      onTestFinished(() => other.dispose());
      const target = host.allocateOrThrow(4);
      await host.registerWith(agent);
      knobs(delayed);
      const copied = host.copy(stored, target);
      if (when === 'during') await new Promise(setImmediate);
      host.dispose();
      expect(other.available).toBe(4);
      await expect(copied).rejects.toMatchObject({ code: 'DYN_CLOSED' });
      expect(other.available).toBe(8);
    },
  );

  it('if the agent is closed', async () => {
    const { agent, device, host, stored } = await tiers();
    const target = host.allocateOrThrow(4);
    // Closing an agent waits at most one second.
    knobs({ ...delayed, latencyUs: 100_000 });
    const copied = host.copy(stored, target);
    const closed = agent.close();
    stored.dispose();
    target.dispose();
    expect([device.available, host.available]).toEqual([4, 4]);
    await expect(copied).rejects.toMatchObject({ code: 'DYN_CLOSED' });
    expect(await closed).toEqual({ leaked: false });
    expect([device.available, host.available]).toEqual([8, 8]);
  });

  it('and returns them for a second attempt if the copy fails', async () => {
    const { host, sequence, stored } = await tiers();
    const target = host.allocateOrThrow(4);
    knobs({ completion: 'delayed', failAt: 1 });
    await expect(host.copy(stored, target)).rejects.toThrow(expect.objectContaining({ name: 'NixlError' }));
    expect([target.disposed, host.available]).toEqual([false, 4]);
    knobs({});
    await host.copy(stored, target);
    expect(await areRight(target.stageAs(stored).register(), sequence)).toEqual(Array(4).fill(true));
  });
});
