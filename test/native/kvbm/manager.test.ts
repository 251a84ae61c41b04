import {
  BlockManager,
  type BlockManagerOptions,
  BlockRegistry,
  LineageHashes,
  type RegisteredBlocks,
  TokenSequence,
} from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';

const blockSize = 4;

function testManager(options: Partial<BlockManagerOptions> = {}): BlockManager {
  const manager = new BlockManager({ tier: 'host', blockCount: 8, blockSize, ...options });
  onTestFinished(() => manager.dispose());
  return manager;
}

/** A sequence of so many blocks that shares its first blocks with those of the same seed. */
function sequenceOf(blocks: number, seed = 0): TokenSequence {
  const sequence = new TokenSequence(
    Uint32Array.from({ length: blocks * blockSize }, (_, index) => seed + index),
    { blockSize },
  );
  onTestFinished(() => sequence.dispose());
  return sequence;
}

function store(manager: BlockManager, sequence: TokenSequence): RegisteredBlocks {
  return manager.allocateOrThrow(sequence.blockCount).stage(sequence).register();
}

const stateError = expect.objectContaining({
  name: 'BlockStateError',
  code: 'DYN_CONFLICT',
  reason: 'kvbm.block_state',
});
const closedError = expect.objectContaining({ code: 'DYN_CLOSED' });

describe('BlockManager', () => {
  it('takes blocks through their states, and finds them by prefix', () => {
    const manager = testManager();
    const sequence = sequenceOf(3);
    const mutable = manager.allocateOrThrow(3);
    expect([...mutable.ids]).toEqual([0, 1, 2]);
    const staged = mutable.stage(sequence);
    expect(manager.matchPrefix(sequence)).toBeUndefined();
    const registered = staged.register();
    expect([...registered.ids]).toEqual([0, 1, 2]);
    expect([...registered.hashes()]).toEqual([...sequence.lineageHashes()]);
    expect([...registered.deduplicated]).toEqual([0, 0, 0]);
    const longer = sequenceOf(5);
    expect([...(manager.matchPrefix(longer)?.ids ?? [])]).toEqual([0, 1, 2]);
    expect([...(manager.matchPrefix(longer.lineageHashes())?.ids ?? [])]).toEqual([0, 1, 2]);
    expect([...(manager.matchPrefix(longer, 1, 1)?.ids ?? [])]).toEqual([1]);
    expect(manager.matchPrefix(longer, 3)).toBeUndefined();
  });

  it('gives null where blocks are exhausted, and a typed error where asked to throw', () => {
    const manager = testManager({ blockCount: 4 });
    const held = manager.allocateOrThrow(3);
    expect(manager.allocate(2)).toBeNull();
    expect(manager.allocate(5)).toBeNull();
    const error = expect.objectContaining({
      name: 'BlocksExhaustedError',
      code: 'DYN_CAPACITY_EXHAUSTED',
      requested: 2,
      available: 1,
      retryable: true,
    });
    expect(() => manager.allocateOrThrow(2)).toThrow(error);
    held.dispose();
    expect(manager.allocateOrThrow(4).length).toBe(4);
  });

  it('keeps released blocks to be found until their room is needed', () => {
    const manager = testManager({ blockCount: 4 });
    const sequence = sequenceOf(3);
    store(manager, sequence).dispose();
    expect(manager.statistics()).toMatchObject({ empty: 1, inactive: 3, available: 4, batches: 0 });
    using again = manager.matchPrefix(sequence);
    expect(again?.length).toBe(3);
    again?.dispose();
    using room = manager.allocateOrThrow(3);
    expect(room.length).toBe(3);
    expect(manager.statistics()).toMatchObject({ evictions: 2 });
    // A leaf goes before its parent.
    expect(manager.matchPrefix(sequence)?.length).toBe(1);
  });

  it('finds each, also behind one that is missing, and a repeated name once by scan', () => {
    const manager = testManager();
    const sequence = sequenceOf(4);
    const all = store(manager, sequence);
    const names = sequence.lineageHashes();
    const asked = LineageHashes.from([names.at(2), sequenceOf(1, 99).lineageHashes().at(0), names.at(0), names.at(2)]);
    using each = manager.matchEach(asked);
    expect([...each.positions]).toEqual([0, -1, 1, 2]);
    expect([...(each.blocks?.ids ?? [])]).toEqual([all.ids[2], all.ids[0], all.ids[2]]);
    using scanned = manager.scan(asked);
    expect([...scanned.positions]).toEqual([0, -1, 1, -1]);
    using none = manager.matchEach(asked.slice(1, 2));
    expect([none.blocks, [...none.positions]]).toEqual([undefined, [-1]]);
    using empty = manager.matchEach(asked.slice(0, 0));
    expect(empty.positions.length).toBe(0);
  });

  it('counts a scan as a use where it is told to', () => {
    const registry = new BlockRegistry({ frequency: 'small' });
    const manager = testManager({ registry });
    store(manager, sequenceOf(2)).dispose();
    const names = sequenceOf(3).lineageHashes();
    const before = [...registry.frequency(names)];
    manager.scan(names).blocks?.dispose();
    expect([...registry.frequency(names)]).toEqual(before);
    using found = manager.scan(names, true);
    expect([...found.positions]).toEqual([0, 1, -1]);
    expect([...registry.frequency(names)]).toEqual([(before[0] as number) + 1, (before[1] as number) + 1, before[2]]);
  });

  it('counts what was done, each by its own name', () => {
    const manager = testManager();
    const [stored, twin] = [store(manager, sequenceOf(3)), store(manager, sequenceOf(2))];
    manager.allocateOrThrow(1).stage(sequenceOf(1, 50)).reset().dispose();
    twin.dispose();
    stored.dispose();
    const found = manager.matchPrefix(sequenceOf(5));
    manager.scan(sequenceOf(4).lineageHashes()).blocks?.dispose();
    found?.dispose();
    const filling = manager.allocateOrThrow(6);
    using held = manager.matchPrefix(sequenceOf(1));
    const clone = held?.clone();
    expect(clone?.weak().length).toBe(1);
    filling.split(4).dispose();
    expect(manager.statistics()).toEqual({
      total: 8,
      available: 3,
      empty: 2,
      inactive: 1,
      mutableReferences: 4,
      registeredReferences: 2,
      batches: 4,
      allocations: 3 + 2 + 1 + 6,
      allocationsFromEmpty: 3 + 2 + 1 + 5,
      evictions: 1,
      stagings: 3 + 2 + 1,
      registrations: 3 + 2,
      duplicates: 2,
      deduplications: 0,
      matchRequested: 5 + 1,
      matchFound: 3 + 1,
      scanRequested: 4,
      scanFound: 3,
    });
    const rejecting = testManager({ duplicates: 'reject' });
    const first = store(rejecting, sequenceOf(2));
    expect(store(rejecting, sequenceOf(3)).length).toBe(3);
    expect(first.length).toBe(2);
    expect(rejecting.statistics()).toMatchObject({ duplicates: 0, deduplications: 2 });
  });

  it('keeps a second block of a name, or drops it, as it was told', () => {
    const sequence = sequenceOf(2);
    const allowing = testManager();
    const [first, second] = [store(allowing, sequence), store(allowing, sequence)];
    expect([...second.ids]).toEqual([2, 3]);
    expect([...second.deduplicated]).toEqual([0, 0]);
    expect(allowing.statistics()).toMatchObject({ duplicates: 2, available: 4 });
    first.dispose();
    expect(allowing.statistics().available).toBe(4);
    second.dispose();
    expect(allowing.statistics()).toMatchObject({ available: 8, inactive: 2 });

    const rejecting = testManager({ duplicates: 'reject' });
    const kept = store(rejecting, sequence);
    const dropped = store(rejecting, sequenceOf(3));
    expect([...dropped.ids]).toEqual([0, 1, 4]);
    expect([...dropped.deduplicated]).toEqual([1, 1, 0]);
    expect([...kept.ids]).toEqual([0, 1]);
    expect(rejecting.statistics()).toMatchObject({ deduplications: 2, available: 5 });
  });

  it('empties released blocks where told, for all or for some', () => {
    const sequence = sequenceOf(2);
    const manager = testManager({ resetOnRelease: true });
    store(manager, sequence).dispose();
    expect(manager.statistics()).toMatchObject({ empty: 8, inactive: 0 });
    const held = store(manager, sequence);
    held.resetOnRelease(false);
    held.dispose();
    expect(manager.statistics().inactive).toBe(2);
  });

  it('splits, joins and clones what it holds', () => {
    const manager = testManager();
    const sequence = sequenceOf(4);
    const mutable = manager.allocateOrThrow(5);
    const rest = mutable.split(4);
    expect([[...mutable.ids], [...rest.ids]]).toEqual([[0, 1, 2, 3], [4]]);
    const registered = mutable.stage(sequence).register();
    const clone = registered.clone(1, 3);
    expect([...clone.ids]).toEqual([1, 2]);
    const tail = registered.split(2);
    registered.dispose();
    expect(manager.available).toBe(8 - 4);
    tail.join(clone);
    expect([...tail.ids]).toEqual([2, 3, 1, 2]);
    expect(() => clone.ids.length && clone.hashes()).toThrow(stateError);
    rest.join(manager.allocateOrThrow(1));
    expect(rest.length).toBe(2);
    expect(() => tail.join(tail)).toThrow(stateError);
  });

  it('commits the first blocks and keeps the others', () => {
    const manager = testManager();
    const sequence = sequenceOf(3);
    const pages = manager.allocateOrThrow(4);
    const first = pages.commit(sequence, 0, 2);
    expect([[...first.ids], [...pages.ids]]).toEqual([
      [0, 1],
      [2, 3],
    ]);
    const second = pages.commit(sequence, 2, 1);
    expect([[...second.ids], [...pages.ids]]).toEqual([[2], [3]]);
    expect(manager.matchPrefix(sequence)?.length).toBe(3);
    expect(() => pages.commit(sequence, 2, 2)).toThrow(RangeError);
  });

  it('upgrades weak blocks while they are there', () => {
    const manager = testManager({ blockCount: 3 });
    const registered = store(manager, sequenceOf(3));
    const weak = registered.weak();
    using active = weak.upgrade();
    expect([...active.positions]).toEqual([0, 1, 2]);
    active.blocks?.dispose();
    registered.dispose();
    using revived = weak.upgrade();
    expect(revived.blocks?.length).toBe(3);
    revived.blocks?.dispose();
    using room = manager.allocateOrThrow(1);
    using left = weak.upgrade();
    expect([...left.positions]).toEqual([0, 1, -1]);
    expect(room.length).toBe(1);
  });

  it('drains what nobody holds, and says what is held', () => {
    const manager = testManager();
    store(manager, sequenceOf(3)).dispose();
    const held = store(manager, sequenceOf(2, 50));
    expect(manager.drainInactive()).toEqual({ drained: 3, held: 2 });
    expect(manager.matchPrefix(sequenceOf(3))).toBeUndefined();
    held.dispose();
    expect(manager.drainInactive()).toEqual({ drained: 2, held: 0 });
  });

  it('tells where blocks are and how often they are used', () => {
    const registry = new BlockRegistry({ frequency: 'small' });
    const host = testManager({ registry });
    const disk = testManager({ registry, tier: 'disk', eviction: { multiLru: [2, 4, 8] } });
    const sequence = sequenceOf(2);
    store(host, sequenceOf(1)).dispose();
    store(disk, sequence).dispose();
    expect([...registry.presence(sequence, ['host'])]).toEqual([1, 0]);
    expect([...registry.presence(sequence.lineageHashes(), ['disk'])]).toEqual([1, 1]);
    expect([...registry.presence(sequence, ['device'])]).toEqual([0, 0]);
    expect(registry.size).toBe(2);
    const names = sequence.lineageHashes();
    const before = [...registry.frequency(names)];
    disk.matchPrefix(sequence)?.dispose();
    expect([...registry.frequency(names)]).toEqual(before.map((count) => count + 1));
    expect([...registry.touch(names)]).toEqual(before.map((count) => count + 2));
    expect([...new BlockRegistry().touch(names)]).toEqual([0, 0]);
  });

  it('evicts last, by multiLru, what was used most', () => {
    const registry = new BlockRegistry({ frequency: 'small' });
    const manager = testManager({ registry, blockCount: 6, eviction: { multiLru: [2, 4, 8] } });
    const sequences = Array.from({ length: 6 }, (_, seed) => sequenceOf(1, seed * 100));
    // The first to come and to go, so that any backend but this one would evict them first.
    for (const sequence of sequences) store(manager, sequence).dispose();
    for (const often of sequences.slice(0, 2)) {
      for (let use = 0; use < 6; use++) manager.matchPrefix(often)?.dispose();
    }
    for (const sequence of sequences.slice(2)) manager.matchPrefix(sequence)?.dispose();
    using room = manager.allocateOrThrow(4);
    expect(room.length).toBe(4);
    const left = sequences.map((sequence) => manager.registry.presence(sequence, ['host'])[0]);
    expect(left).toEqual([1, 1, 0, 0, 0, 0]);
  });

  it('goes once a tier on one registry, and again once the first is gone', () => {
    const registry = new BlockRegistry();
    const first = testManager({ registry });
    expect(() => testManager({ registry })).toThrow(expect.objectContaining({ code: 'DYN_CONFLICT' }));
    testManager({ registry, tier: 'disk' });
    first.dispose();
    testManager({ registry });
  });

  it('refuses options that the crates would panic on, by name', () => {
    const make = (options: object) => () => testManager(options);
    expect(make({ blockSize: 3 })).toThrow(/options.blockSize: expected a power of 2, got 3/);
    expect(make({ blockSize: 2048 })).toThrow(RangeError);
    expect(make({ blockSize: 0 })).toThrow(RangeError);
    expect(make({ blockCount: 0 })).toThrow(RangeError);
    expect(make({ tier: 'tape' })).toThrow(/options.tier: expected one of device, host, disk/);
    expect(make({ eviction: 'random' })).toThrow(TypeError);
    expect(make({ eviction: { multiLru: [3, 3, 15] } })).toThrow(/multiLru\[1\]/);
    expect(make({ eviction: { multiLru: [0, 3, 15] } })).toThrow(/multiLru\[0\]/);
    expect(make({ eviction: { multiLru: [3, 8, 16] } })).toThrow(/multiLru\[2\]/);
    expect(make({ eviction: { multiLru: [3, 8, 15] } })).toThrow(/frequency tracking/);
    expect(make({ duplicates: 'maybe' })).toThrow(TypeError);
    expect(make({ storage: { kind: 'memory' } })).toThrow(/options.layout: expected one with a storage/);
    expect(make({ size: 1 })).toThrow(/unknown option/);
    expect(make({ registry: {} })).toThrow(TypeError);
  });

  it('refuses names that do not fit the blocks, and hashes that are none', () => {
    const manager = testManager();
    const blocks = manager.allocateOrThrow(2);
    expect(() => blocks.stage(sequenceOf(1))).toThrow(TypeError);
    expect(() => blocks.stage(sequenceOf(3), 2)).toThrow(TypeError);
    expect(() => blocks.stage(sequenceOf(3).lineageHashes())).toThrow(/hashes: expected 2, one a block, got 3/);
    using other = new TokenSequence([1, 2, 3, 4, 5, 6, 7, 8], { blockSize: 2 });
    expect(() => blocks.stage(other)).toThrow(/expected blocks of 4 tokens, got 2/);
    expect(() => manager.matchPrefix(other)).toThrow(TypeError);
    // Mode 3 makes the crate panic; a position that its mode does not need was never written by it.
    for (const name of [2n ** 128n - 1n, (1n << 126n) | 5n]) {
      expect(() => manager.matchPrefix(LineageHashes.from([name]))).toThrow(/expected a lineage hash/);
    }
    expect(() => blocks.stage([1n] as never)).toThrow(TypeError);
    expect(blocks.stage(sequenceOf(2)).length).toBe(2);
  });

  it('refuses blocks that were given on or disposed of, whatever they are asked', () => {
    const manager = testManager();
    const mutable = manager.allocateOrThrow(2);
    const staged = mutable.stage(sequenceOf(2));
    expect(() => mutable.stage(sequenceOf(2))).toThrow(stateError);
    expect(() => mutable.split(1)).toThrow(stateError);
    const registered = staged.register();
    expect(() => staged.register()).toThrow(stateError);
    expect(() => staged.reset()).toThrow(stateError);
    const weak = registered.weak();
    mutable.dispose();
    staged.dispose();
    expect(manager.available).toBe(6);
    registered.dispose();
    registered[Symbol.dispose]();
    for (const use of [
      () => registered.clone(),
      () => registered.weak(),
      () => registered.hashes(),
      () => registered.split(0),
    ])
      expect(use).toThrow(closedError);
    weak.dispose();
    expect(() => weak.upgrade()).toThrow(closedError);
    expect(manager.statistics()).toMatchObject({ available: 8, batches: 0 });
  });

  it('refuses blocks of another manager', async () => {
    const layout = { layers: 1, heads: 1, headDim: 8, elementType: 'float32' } as const;
    const [one, two] = [
      testManager({ layout, storage: { kind: 'memory' } }),
      testManager({ layout, storage: { kind: 'memory' } }),
    ];
    const ours = store(one, sequenceOf(1));
    expect(() => ours.join(store(two, sequenceOf(1)))).toThrow(stateError);
    await expect(one.copy(ours, two.allocateOrThrow(1))).rejects.toThrow(stateError);
    await expect(one.copy(ours, ours as never)).rejects.toThrow(TypeError);
    await expect(one.copy(one.allocateOrThrow(1) as never, one.allocateOrThrow(1))).rejects.toThrow(TypeError);
  });

  it('gives everything back when it is disposed of', () => {
    const manager = testManager();
    const blocks = manager.allocateOrThrow(3);
    manager.dispose();
    manager[Symbol.dispose]();
    blocks.dispose();
    for (const use of [
      () => manager.allocate(1),
      () => manager.statistics(),
      () => manager.share(),
      () => manager.matchPrefix(sequenceOf(1)),
      () => manager.events(),
    ]) {
      expect(use).toThrow(closedError);
    }
  });

  it('can be attached to while somebody has it, and not after', () => {
    const manager = testManager({ eviction: 'lru', duplicates: 'reject' });
    const token = manager.share();
    const attached = BlockManager.attach(token);
    expect([attached.tier, attached.blockCount, attached.blockSize, attached.share()]).toEqual([
      'host',
      8,
      blockSize,
      token,
    ]);
    const theirs = store(attached, sequenceOf(2));
    expect(manager.matchPrefix(sequenceOf(2))?.length).toBe(2);
    expect(attached.registry.size).toBe(2);
    manager.dispose();
    expect(theirs.hashes().length).toBe(2);
    attached.dispose();
    expect(() => BlockManager.attach(token)).toThrow(expect.objectContaining({ code: 'DYN_NOT_FOUND' }));
    expect(() => BlockManager.attach(0)).toThrow(RangeError);
  });
});

describe('names of the host’s own making that meet in the index of free blocks', () => {
  it('are an error of the next call, and take nothing with them', async () => {
    const manager = testManager();
    const name = sequenceOf(3).lineageHashes().at(2);
    // The same position and hash behind another parent.
    const blocks = [name, name ^ 1n, name ^ 3n].map((each) =>
      manager
        .allocateOrThrow(1)
        .stage(LineageHashes.from([each]))
        .register(),
    );
    const other = store(manager, sequenceOf(2, 50));
    for (const each of [...blocks, other]) each.dispose();
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(() => manager.allocate(1)).toThrow(
      expect.objectContaining({
        code: 'DYN_INTERNAL',
        operation: 'blocks.dispose',
        message: expect.stringContaining('Hash collision'),
      }),
    );
    // One of the three is free again, and so are those of the others; two were lost with their names.
    expect(manager.available).toBe(6);
    expect(manager.matchPrefix(sequenceOf(2, 50))?.length).toBe(2);
    expect(manager.allocateOrThrow(4).length).toBe(4);
  });
});
