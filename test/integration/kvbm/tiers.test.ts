import { join } from 'node:path';
import {
  BlockManager,
  type BlockManagerOptions,
  BlockRegistry,
  BlockTiers,
  type BlockTiersOptions,
  type RegisteredBlocks,
  TokenSequence,
} from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';
import { randomNumbers } from '../../helpers/random.js';
import { temporaryFolder } from '../../helpers/runtime/runtime.js';

const blockSize = 4;
const layout = { layers: 2, heads: 2, headDim: 8, elementType: 'float16' } as const;

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

function sequenceOf(blocks: number, seed = 0): TokenSequence {
  const sequence = new TokenSequence(
    Uint32Array.from({ length: blocks * blockSize }, (_, index) => seed * 1000 + index),
    { blockSize },
  );
  onTestFinished(() => sequence.dispose());
  return sequence;
}

/** A block's bytes are made of its name, so that bytes of another block cannot pass. */
function fill(blocks: RegisteredBlocks | TokenSequence, index: number, bytes: number): Uint8Array {
  const names = blocks instanceof TokenSequence ? blocks.lineageHashes() : blocks.hashes();
  const random = randomNumbers(Number(names.at(index) & 0xffff_ffffn));
  return Uint8Array.from({ length: bytes }, () => random() * 256);
}

function store(manager: BlockManager, sequence: TokenSequence): RegisteredBlocks {
  const blocks = manager.allocateOrThrow(sequence.blockCount);
  for (let index = 0; index < blocks.length; index++)
    blocks.bytes(index).set(fill(sequence, index, manager.blockBytes));
  return blocks.stage(sequence).register();
}

describe('BlockTiers', () => {
  it('brings blocks down and up again, byte for byte', async () => {
    const tiers = tiersOf();
    const { upper, lower } = tiers;
    const sequence = sequenceOf(5);
    const stored = store(upper, sequence);
    expect(await tiers.offload(stored)).toBe(5);
    expect(await tiers.offload(stored)).toBe(0);
    stored.dispose();
    upper.drainInactive();
    using below = lower.matchPrefix(sequence);
    for (let index = 0; index < 5; index++)
      expect(Buffer.compare((await below?.read(index)) as Uint8Array, fill(sequence, index, lower.blockBytes))).toBe(0);
    using up = await tiers.onboard(sequence, 0);
    expect(up?.length).toBe(5);
    for (let index = 0; index < 5; index++)
      expect(Buffer.compare((up as RegisteredBlocks).view(index), fill(sequence, index, upper.blockBytes))).toBe(0);
    expect(upper.matchPrefix(sequence)?.length).toBe(5);
    expect(await tiers.onboard(sequenceOf(2, 9))).toBeUndefined();
    expect(tiers.statistics()).toEqual({
      offloaded: 5,
      onboarded: 5,
      present: 5,
      infrequent: 0,
      gone: 0,
      exhausted: 0,
      forgotten: 0,
      queued: 0,
    });
  });

  it('passes over what is used too seldom', async () => {
    const tiers = tiersOf({ minFrequency: 2 });
    const [often, seldom] = [sequenceOf(1), sequenceOf(1, 1)];
    for (const sequence of [often, seldom]) tiers.enqueue(store(tiers.upper, sequence));
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

  it('waits for the low watermark, and empties the upper tier up to the high one', async () => {
    const tiers = tiersOf({ watermarks: { low: 0.25, high: 0.75 }, batchBlocks: 2 });
    const sequences = [sequenceOf(2), sequenceOf(2, 1), sequenceOf(3, 2)];
    for (const sequence of sequences.slice(0, 2)) {
      using blocks = store(tiers.upper, sequence);
      tiers.enqueue(blocks);
    }
    await tiers.flush();
    expect(tiers.statistics()).toMatchObject({ offloaded: 0, queued: 4 });
    using held = store(tiers.upper, sequences[2] as TokenSequence);
    tiers.enqueue(held);
    await tiers.flush();
    // Those held stay above, though they are below as well.
    expect(tiers.upper.statistics()).toMatchObject({ empty: 5, inactive: 0 });
    for (const sequence of sequences) expect(tiers.lower.matchPrefix(sequence)?.length).toBe(sequence.blockCount);
  });

  it('forgets what was evicted before its turn, and what finds no room below', async () => {
    const tiers = tiersOf({}, {}, { blockCount: 3 });
    const first = store(tiers.upper, sequenceOf(2));
    tiers.enqueue(first);
    await tiers.flush();
    first.dispose();
    using pinned = tiers.lower.matchPrefix(sequenceOf(2));
    expect(pinned?.length).toBe(2);
    const second = store(tiers.upper, sequenceOf(2, 1));
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
      using blocks = store(tiers.upper, sequenceOf(2, seed));
      short.enqueue(blocks);
    }
    expect(short.statistics()).toMatchObject({ forgotten: 4, queued: 2 });
    await short.close();
  });

  it('brings nothing up where there is no room above', async () => {
    const tiers = tiersOf();
    const { upper, lower } = tiers;
    const sequence = sequenceOf(3);
    const stored = store(upper, sequence);
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

  it('brings up only what is not above, and gives all of it', async () => {
    const tiers = tiersOf({}, { duplicates: 'allow' });
    const { upper, lower } = tiers;
    const sequence = sequenceOf(6);
    const stored = store(upper, sequence);
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
    for (let index = 0; index < 6; index++)
      expect(Buffer.compare((all as RegisteredBlocks).view(index), fill(sequence, index, upper.blockBytes))).toBe(0);
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

  it('moves nothing once it is closed', async () => {
    const tiers = tiersOf();
    using stored = store(tiers.upper, sequenceOf(2));
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

  it('copies what is below already where it is told to', async () => {
    const tiers = tiersOf({ presence: false }, {}, { duplicates: 'reject' });
    const stored = store(tiers.upper, sequenceOf(2));
    expect([await tiers.offload(stored), await tiers.offload(stored)]).toEqual([2, 2]);
    expect(tiers.statistics()).toMatchObject({ offloaded: 4, present: 0 });
    expect(tiers.lower.statistics()).toMatchObject({ deduplications: 2, available: 32, inactive: 2 });
  });

  it('brings nothing up that is not what was stored below', async () => {
    const tiers = tiersOf();
    const { upper, lower } = tiers;
    const sequence = sequenceOf(3);
    const below = lower.allocateOrThrow(3);
    for (const index of [0, 2]) await below.write(index, fill(sequence, index, lower.blockBytes));
    below.stage(sequence).register().dispose();
    await expect(tiers.onboard(sequence)).rejects.toThrow(expect.objectContaining({ name: 'BlockChecksumError' }));
    expect([upper.available, upper.matchPrefix(sequence), tiers.statistics().onboarded]).toEqual([8, undefined, 0]);
    using first = await tiers.onboard(sequence.lineageHashes(0, 1));
    expect(first?.length).toBe(1);
  });

  it('goes from a tier to one below it, and no other way', () => {
    const { upper, lower } = tiersOf();
    expect(() => new BlockTiers(lower, upper)).toThrow(/BlockTiers lower: expected a tier below disk/);
    expect(() => new BlockTiers(upper, upper)).toThrow(TypeError);
    expect(() => new BlockTiers(upper, {} as never)).toThrow(/BlockTiers lower: expected a BlockManager/);
  });

  it('tells an error of the background once', async () => {
    const tiers = tiersOf();
    const stored = store(tiers.upper, sequenceOf(1));
    stored.view(0).fill(0);
    tiers.enqueue(stored);
    await expect(tiers.flush()).rejects.toThrow(expect.objectContaining({ name: 'BlockChecksumError' }));
    await tiers.flush();
    expect(tiers.lower.statistics().available).toBe(32);
    expect(tiers.upper.statistics().batches).toBe(1);
  });

  it('tells what each tier holds, with the hashes of tokens that only the first saw', async () => {
    const tiers = tiersOf({}, { events: true }, { events: true });
    await using events = tiers.lower.events();
    const sequence = sequenceOf(3);
    await tiers.offload(store(tiers.upper, sequence));
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

  it('is right for whatever goes up and down at once', async () => {
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
        for (let index = 0; index < fresh.length; index++)
          fresh.bytes(index).set(fill(sequence, there + index, upper.blockBytes));
        using stored = fresh.stage(sequence, there).register();
        tiers.enqueue(stored);
      }
      for (const [from, blocks] of [
        [0, cached],
        [first, onboarded],
      ] as const) {
        for (let index = 0; index < (blocks?.length ?? 0); index++) {
          expect(
            Buffer.compare(
              await (blocks as RegisteredBlocks).read(index),
              fill(sequence, from + index, upper.blockBytes),
            ),
          ).toBe(0);
          checked += 1;
        }
      }
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
