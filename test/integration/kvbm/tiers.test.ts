import { join } from 'node:path';
import {
  BlockManager,
  type BlockManagerOptions,
  BlockRegistry,
  BlockTiers,
  type BlockTiersOptions,
  type RegisteredBlocks,
} from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';
import { areRight, blockSize, fill, layout, sequenceOf, store } from '../../helpers/kvbm/blocks.js';
import { randomNumbers } from '../../helpers/random.js';
import { temporaryFolder } from '../../helpers/runtime/runtime.js';

function tiersOf(
  options: BlockTiersOptions = {},
  upper: Partial<BlockManagerOptions> = {},
  lower: Partial<BlockManagerOptions> = {},
): BlockTiers {
  const registry = new BlockRegistry({ frequency: 'small' });
  const shared = { blockCount: 8, blockSize, layout, registry };
  const host = new BlockManager({ tier: 'host', storage: { kind: 'memory', checksums: true }, ...shared, ...upper });
  const path = join(temporaryFolder(), 'blocks');
  const disk = new BlockManager({
    tier: 'disk',
    storage: { kind: 'file', path, checksums: true },
    ...shared,
    blockCount: 32,
    ...lower,
  });
  const tiers = new BlockTiers(host, disk, options);
  onTestFinished(async () => {
    await tiers.close();
    host.dispose();
    disk.dispose();
  });
  return tiers;
}

describe('BlockTiers', () => {
  it('offloads blocks and onboards them again, byte for byte', async () => {
    const tiers = tiersOf();
    const { upper, lower } = tiers;
    const sequence = sequenceOf(5);
    const stored = await store(upper, sequence);
    expect(await tiers.offload(stored)).toBe(5);
    expect(await tiers.offload(stored)).toBe(0);
    stored.dispose();
    upper.drainInactive();
    using below = lower.matchPrefix(sequence);
    expect(await areRight(below as RegisteredBlocks, sequence)).toEqual(Array(5).fill(true));
    using up = await tiers.onboard(sequence, 0);
    expect(up?.length).toBe(5);
    expect(await areRight(up as RegisteredBlocks, sequence)).toEqual(Array(5).fill(true));
    expect(upper.matchPrefix(sequence)?.length).toBe(5);
    expect(await tiers.onboard(sequenceOf(2, 9))).toBeUndefined();
    expect(tiers.statistics()).toEqual({
      offloaded: 5,
      onboarded: 5,
      present: 5,
      infrequent: 0,
      gone: 0,
      exhausted: 0,
      failed: 0,
      forgotten: 0,
      queued: 0,
    });
  });

  it('skips blocks that are used less often than minFrequency', async () => {
    const tiers = tiersOf({ minFrequency: 2 });
    const [often, seldom] = [sequenceOf(1), sequenceOf(1, 1)];
    for (const sequence of [often, seldom]) tiers.enqueue(await store(tiers.upper, sequence));
    await tiers.flush();
    expect(tiers.statistics()).toMatchObject({ offloaded: 0, infrequent: 2 });
    tiers.upper.matchPrefix(often)?.dispose();
    tiers.enqueue(tiers.upper.matchPrefix(often) as RegisteredBlocks);
    await tiers.flush();
    expect(tiers.statistics()).toMatchObject({ offloaded: 1, infrequent: 2 });
    expect([
      ...tiers.lower.registry.presence(often, ['disk']),
      ...tiers.lower.registry.presence(seldom, ['disk']),
    ]).toEqual([1, 0]);
  });

  it('starts offloading below the low watermark and ends at the high one', async () => {
    const tiers = tiersOf({ watermarks: { low: 0.25, high: 0.75 }, batchBlocks: 2 });
    const sequences = [sequenceOf(2), sequenceOf(2, 1), sequenceOf(3, 2)];
    for (const sequence of sequences.slice(0, 2)) {
      using blocks = await store(tiers.upper, sequence);
      tiers.enqueue(blocks);
    }
    await tiers.flush();
    expect(tiers.statistics()).toMatchObject({ offloaded: 0, queued: 4 });
    using held = await store(tiers.upper, sequences[2] as NonNullable<(typeof sequences)[2]>);
    tiers.enqueue(held);
    await tiers.flush();
    // Blocks in use stay in the upper tier, although the lower tier also has them.
    expect(tiers.upper.statistics()).toMatchObject({ empty: 5, inactive: 0 });
    for (const sequence of sequences) expect(tiers.lower.matchPrefix(sequence)?.length).toBe(sequence.blockCount);
  });

  it('skips blocks that were evicted before their turn, and blocks that the lower tier has no space for', async () => {
    const tiers = tiersOf({}, {}, { blockCount: 3 });
    const first = await store(tiers.upper, sequenceOf(2));
    tiers.enqueue(first);
    await tiers.flush();
    first.dispose();
    using pinned = tiers.lower.matchPrefix(sequenceOf(2));
    expect(pinned?.length).toBe(2);
    const second = await store(tiers.upper, sequenceOf(2, 1));
    expect(await tiers.offload(second)).toBe(0);
    expect(tiers.statistics().exhausted).toBe(2);
    expect(tiers.lower.statistics().available).toBe(1);
    const gone = new BlockTiers(tiers.upper, tiers.lower, { watermarks: { low: 0.5, high: 1 } });
    gone.enqueue(second);
    second.dispose();
    tiers.upper.drainInactive();
    expect(gone.statistics()).toMatchObject({ gone: 0, queued: 2 });
    const filling = tiers.upper.allocateOrThrow(5);
    await gone.flush();
    expect(gone.statistics()).toMatchObject({ offloaded: 0, gone: 2, queued: 0 });
    filling.dispose();
    await gone.close();
    const short = new BlockTiers(tiers.upper, tiers.lower, { watermarks: { low: 0, high: 1 }, queueBlocks: 3 });
    for (const seed of [3, 4, 5]) {
      using blocks = await store(tiers.upper, sequenceOf(2, seed));
      short.enqueue(blocks);
    }
    expect(short.statistics()).toMatchObject({ forgotten: 4, queued: 2 });
    await short.close();
  });

  it('onboards no block if the upper tier is full', async () => {
    const tiers = tiersOf();
    const { upper, lower } = tiers;
    const sequence = sequenceOf(3);
    const stored = await store(upper, sequence);
    await tiers.offload(stored);
    stored.dispose();
    upper.drainInactive();
    const held = upper.allocateOrThrow(6);
    expect(await tiers.onboard(sequence)).toBeUndefined();
    expect(tiers.statistics()).toMatchObject({ onboarded: 0, exhausted: 3 });
    expect([upper.available, lower.available]).toEqual([2, 32]);
    held.dispose();
    using up = await tiers.onboard(sequence);
    expect(up?.length).toBe(3);
  });

  it('onboards only the blocks that the upper tier lacks, and returns all', async () => {
    const tiers = tiersOf({}, { duplicates: 'allow' });
    const { upper, lower } = tiers;
    const sequence = sequenceOf(6);
    const stored = await store(upper, sequence);
    await tiers.offload(stored);
    stored.dispose();
    upper.drainInactive();
    const first = await tiers.onboard(sequence.lineageHashes(0, 2));
    using all = await tiers.onboard(sequence);
    expect([all?.length, [...(all as RegisteredBlocks).ids.subarray(0, 2)], tiers.statistics().onboarded]).toEqual([
      6,
      [...(first as RegisteredBlocks).ids],
      6,
    ]);
    expect(await areRight(all as RegisteredBlocks, sequence)).toEqual(Array(6).fill(true));
    first?.dispose();
    using again = await tiers.onboard(sequence, 1);
    expect([again?.length, tiers.statistics().onboarded, upper.available, lower.available]).toEqual([5, 6, 2, 32]);
    again?.dispose();
    all?.dispose();
    upper.drainInactive();
    using part = await tiers.onboard(sequence.lineageHashes(0, 3));
    using rest = upper.allocateOrThrow(4);
    using known = await tiers.onboard(sequence);
    expect([part?.length, rest.length, known?.length, tiers.statistics().exhausted]).toEqual([3, 4, 3, 3]);
  });

  it('moves no block after close', async () => {
    const tiers = tiersOf();
    using stored = await store(tiers.upper, sequenceOf(2));
    await tiers.close();
    await tiers.close();
    const closed = (operation: string) =>
      expect.objectContaining({ name: 'ClosedError', operation: `tiers.${operation}` });
    expect(() => tiers.enqueue(stored)).toThrow(closed('enqueue'));
    await expect(tiers.offload(stored)).rejects.toThrow(closed('offload'));
    await expect(tiers.onboard(sequenceOf(2))).rejects.toThrow(closed('onboard'));
    await tiers.flush();
    expect([tiers.statistics().offloaded, tiers.lower.available]).toEqual([0, 32]);
  });

  it('copies blocks that the lower tier already has with presence false', async () => {
    const tiers = tiersOf({ presence: false }, {}, { duplicates: 'reject' });
    const stored = await store(tiers.upper, sequenceOf(2));
    expect([await tiers.offload(stored), await tiers.offload(stored)]).toEqual([2, 2]);
    expect(tiers.statistics()).toMatchObject({ offloaded: 4, present: 0 });
    expect(tiers.lower.statistics()).toMatchObject({ deduplications: 2, available: 32, inactive: 2 });
  });

  it('rejects onboarding bytes that differ from those that were stored', async () => {
    const tiers = tiersOf();
    const { upper, lower } = tiers;
    const sequence = sequenceOf(3);
    const below = lower.allocateOrThrow(3);
    for (const index of [0, 2]) await below.write(index, fill(sequence, index));
    below.stage(sequence).register().dispose();
    await expect(tiers.onboard(sequence)).rejects.toThrow(expect.objectContaining({ name: 'BlockChecksumError' }));
    expect([upper.available, upper.matchPrefix(sequence), tiers.statistics().onboarded]).toEqual([8, undefined, 0]);
    using first = await tiers.onboard(sequence.lineageHashes(0, 1));
    expect(first?.length).toBe(1);
  });

  it('rejects a lower tier that is not below the upper one', () => {
    const { upper, lower } = tiersOf();
    expect(() => new BlockTiers(lower, upper)).toThrow(/BlockTiers lower: expected a tier below disk/);
    expect(() => new BlockTiers(upper, upper)).toThrow(TypeError);
    expect(() => new BlockTiers(upper, {} as never)).toThrow(/BlockTiers lower: expected a BlockManager/);
  });

  it('throws an error of a background copy from flush, once', async () => {
    const tiers = tiersOf();
    const stored = await store(tiers.upper, sequenceOf(1));
    stored.view(0).fill(0);
    tiers.enqueue(stored);
    await expect(tiers.flush()).rejects.toThrow(expect.objectContaining({ name: 'BlockChecksumError' }));
    await tiers.flush();
    expect(tiers.statistics()).toMatchObject({ failed: 1, offloaded: 0, queued: 0 });
    expect(tiers.lower.statistics().available).toBe(32);
    expect(tiers.upper.statistics().batches).toBe(1);
  });

  it('warns about the first error in the background, also if nothing calls flush', async () => {
    // The warning of the test before may not have been delivered yet.
    await new Promise((resolve) => setImmediate(resolve));
    const warnings: string[] = [];
    const keep = (warning: Error): void => void warnings.push(warning.message);
    process.on('warning', keep);
    onTestFinished(() => void process.off('warning', keep));
    const tiers = tiersOf();
    const stored = await store(tiers.upper, sequenceOf(2));
    for (const index of [0, 1]) stored.view(index).fill(0);
    for (const index of [0, 1]) tiers.enqueue(stored.clone(index, index + 1));
    await expect.poll(() => tiers.statistics().failed).toBeGreaterThan(0);
    const ours = () => warnings.filter((text) => text.startsWith('blocks could not be moved'));
    await expect.poll(ours).toHaveLength(1);
    expect(ours()[0]).toMatch(/^blocks could not be moved from host to disk: .*checksum/);
  });

  it('reports events of the lower tier with the token hashes of the upper tier', async () => {
    const tiers = tiersOf({}, { events: true }, { events: true });
    await using events = tiers.lower.events();
    const sequence = sequenceOf(3);
    await tiers.offload(await store(tiers.upper, sequence));
    expect((await events.next()).value).toEqual({
      kind: 'stored',
      tier: 'disk',
      eventId: 1n,
      parentHash: null,
      startPosition: 0,
      blockHashes: sequence.sequenceHashes(),
      tokensHashes: sequence.blockHashes(),
    });
  });

  it('stays correct while many blocks are offloaded and onboarded concurrently', async () => {
    const tiers = tiersOf({ batchBlocks: 3 }, { blockCount: 16 }, { blockCount: 24 });
    const { upper, lower } = tiers;
    const random = randomNumbers(5);
    const errors: unknown[] = [];
    let checked = 0;
    const one = async (): Promise<void> => {
      const sequence = sequenceOf(1 + Math.floor(random() * 4), Math.floor(random() * 6));
      using cached = upper.matchPrefix(sequence);
      const first = cached?.length ?? 0;
      using onboarded = await tiers.onboard(sequence, first);
      const there = first + (onboarded?.length ?? 0);
      using fresh = there === sequence.blockCount ? null : upper.allocate(sequence.blockCount - there);
      if (fresh !== null) {
        for (let index = 0; index < fresh.length; index++) fresh.bytes(index).set(fill(sequence, there + index));
        using stored = fresh.stage(sequence, there).register();
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
    expect([upper.statistics(), lower.statistics()]).toMatchObject([
      { available: 16, batches: 0 },
      { available: 24, batches: 0 },
    ]);
  });
});
