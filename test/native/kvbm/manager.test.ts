import { BlockManager, BlockRegistry, LineageHashes, TokenSequence } from 'dynamo-node';
import { describe, expect, it } from 'vitest';
import { blockSize, layout, namesManager, sequenceOf, storeNames } from '../../helpers/kvbm/blocks.js';

const stateError = expect.objectContaining({
  name: 'BlockStateError',
  code: 'DYN_CONFLICT',
  reason: 'kvbm.block_state',
});
const closedError = expect.objectContaining({ code: 'DYN_CLOSED' });

describe('BlockManager', () => {
  it('stages and registers blocks, and finds them by prefix', () => {
    const manager = namesManager();
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

  it('returns null if too few blocks are available, and throws BlocksExhaustedError from allocateOrThrow', () => {
    const manager = namesManager({ blockCount: 4 });
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

  it('keeps released blocks findable until an allocation evicts them', () => {
    const manager = namesManager({ blockCount: 4 });
    const sequence = sequenceOf(3);
    storeNames(manager, sequence).dispose();
    expect(manager.statistics()).toMatchObject({ empty: 1, inactive: 3, available: 4, batches: 0 });
    using again = manager.matchPrefix(sequence);
    expect(again?.length).toBe(3);
    again?.dispose();
    using taken = manager.allocateOrThrow(3);
    expect(taken.length).toBe(3);
    expect(manager.statistics()).toMatchObject({ evictions: 2 });
    // A leaf is evicted before its parent.
    expect(manager.matchPrefix(sequence)?.length).toBe(1);
  });

  it('finds blocks after a missing one with matchEach, and a repeated name once with scan', () => {
    const manager = namesManager();
    const sequence = sequenceOf(4);
    const all = storeNames(manager, sequence);
    const names = sequence.lineageHashes();
    const wanted = LineageHashes.from([names.at(2), sequenceOf(1, 99).lineageHashes().at(0), names.at(0), names.at(2)]);
    using each = manager.matchEach(wanted);
    expect([...each.positions]).toEqual([0, -1, 1, 2]);
    expect([...(each.blocks?.ids ?? [])]).toEqual([all.ids[2], all.ids[0], all.ids[2]]);
    using scanned = manager.scan(wanted);
    expect([...scanned.positions]).toEqual([0, -1, 1, -1]);
    using none = manager.matchEach(wanted.slice(1, 2));
    expect([none.blocks, [...none.positions]]).toEqual([undefined, [-1]]);
    using empty = manager.matchEach(wanted.slice(0, 0));
    expect(empty.positions.length).toBe(0);
  });

  it('counts a scan as a use only with touch', () => {
    const registry = new BlockRegistry({ frequency: 'small' });
    const manager = namesManager({ registry });
    storeNames(manager, sequenceOf(2)).dispose();
    const names = sequenceOf(3).lineageHashes();
    const before = [...registry.frequency(names)];
    manager.scan(names).blocks?.dispose();
    expect([...registry.frequency(names)]).toEqual(before);
    using found = manager.scan(names, true);
    expect([...found.positions]).toEqual([0, 1, -1]);
    expect([...registry.frequency(names)]).toEqual([(before[0] as number) + 1, (before[1] as number) + 1, before[2]]);
  });

  it('counts each kind of event in its own statistic', () => {
    const manager = namesManager();
    const [stored, twin] = [storeNames(manager, sequenceOf(3)), storeNames(manager, sequenceOf(2))];
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
    const rejecting = namesManager({ duplicates: 'reject' });
    const first = storeNames(rejecting, sequenceOf(2));
    expect(storeNames(rejecting, sequenceOf(3)).length).toBe(3);
    expect(first.length).toBe(2);
    expect(rejecting.statistics()).toMatchObject({ duplicates: 0, deduplications: 2 });
  });

  it('keeps a second block of a name with duplicates allow, and replaces it with duplicates reject', () => {
    const sequence = sequenceOf(2);
    const allowing = namesManager();
    const [first, second] = [storeNames(allowing, sequence), storeNames(allowing, sequence)];
    expect([...second.ids]).toEqual([2, 3]);
    expect([...second.deduplicated]).toEqual([0, 0]);
    expect(allowing.statistics()).toMatchObject({ duplicates: 2, available: 4 });
    first.dispose();
    expect(allowing.statistics().available).toBe(4);
    second.dispose();
    expect(allowing.statistics()).toMatchObject({ available: 8, inactive: 2 });

    const rejecting = namesManager({ duplicates: 'reject' });
    const kept = storeNames(rejecting, sequence);
    const dropped = storeNames(rejecting, sequenceOf(3));
    expect([...dropped.ids]).toEqual([0, 1, 4]);
    expect([...dropped.deduplicated]).toEqual([1, 1, 0]);
    expect([...kept.ids]).toEqual([0, 1]);
    expect(rejecting.statistics()).toMatchObject({ deduplications: 2, available: 5 });
  });

  it('empties released blocks with resetOnRelease, of the manager or of a batch', () => {
    const sequence = sequenceOf(2);
    const manager = namesManager({ resetOnRelease: true });
    storeNames(manager, sequence).dispose();
    expect(manager.statistics()).toMatchObject({ empty: 8, inactive: 0 });
    const held = storeNames(manager, sequence);
    held.resetOnRelease(false);
    held.dispose();
    expect(manager.statistics().inactive).toBe(2);
  });

  it('splits, joins and clones batches', () => {
    const manager = namesManager();
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

  it('commits the first blocks of a batch and keeps the others mutable', () => {
    const manager = namesManager();
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

  it('upgrades weak blocks until they are evicted', () => {
    const manager = namesManager({ blockCount: 3 });
    const registered = storeNames(manager, sequenceOf(3));
    const weak = registered.weak();
    using active = weak.upgrade();
    expect([...active.positions]).toEqual([0, 1, 2]);
    active.blocks?.dispose();
    registered.dispose();
    using revived = weak.upgrade();
    expect(revived.blocks?.length).toBe(3);
    revived.blocks?.dispose();
    using taken = manager.allocateOrThrow(1);
    using left = weak.upgrade();
    expect([...left.positions]).toEqual([0, 1, -1]);
    expect(taken.length).toBe(1);
  });

  it('drains inactive blocks and returns the number of blocks in use', () => {
    const manager = namesManager();
    storeNames(manager, sequenceOf(3)).dispose();
    const held = storeNames(manager, sequenceOf(2, 50));
    expect(manager.drainInactive()).toEqual({ drained: 3, held: 2 });
    expect(manager.matchPrefix(sequenceOf(3))).toBeUndefined();
    held.dispose();
    expect(manager.drainInactive()).toEqual({ drained: 2, held: 0 });
  });

  it('returns the tiers of blocks and how often they are used', () => {
    const registry = new BlockRegistry({ frequency: 'small' });
    const host = namesManager({ registry });
    const disk = namesManager({ registry, tier: 'disk', eviction: { policy: 'multi-lru', thresholds: [2, 4, 8] } });
    const sequence = sequenceOf(2);
    storeNames(host, sequenceOf(1)).dispose();
    storeNames(disk, sequence).dispose();
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

  it('evicts the most used blocks last with multi-lru', () => {
    const registry = new BlockRegistry({ frequency: 'small' });
    const manager = namesManager({ registry, blockCount: 6, eviction: { policy: 'multi-lru', thresholds: [2, 4, 8] } });
    const sequences = Array.from({ length: 6 }, (_, seed) => sequenceOf(1, seed * 100));
    // Stored and released first: every other policy would evict them first.
    for (const sequence of sequences) storeNames(manager, sequence).dispose();
    for (const often of sequences.slice(0, 2)) {
      for (let use = 0; use < 6; use++) manager.matchPrefix(often)?.dispose();
    }
    for (const sequence of sequences.slice(2)) manager.matchPrefix(sequence)?.dispose();
    using taken = manager.allocateOrThrow(4);
    expect(taken.length).toBe(4);
    const left = sequences.map((sequence) => manager.registry.presence(sequence, ['host'])[0]);
    expect(left).toEqual([1, 1, 0, 0, 0, 0]);
  });

  it('rejects a second manager of a tier on one registry until the first is disposed of', () => {
    const registry = new BlockRegistry();
    const first = namesManager({ registry });
    expect(() => namesManager({ registry })).toThrow(expect.objectContaining({ code: 'DYN_CONFLICT' }));
    namesManager({ registry, tier: 'disk' });
    first.dispose();
    namesManager({ registry });
  });

  it('rejects invalid options with the path of the option', () => {
    const make = (options: object) => () => namesManager(options);
    expect(make({ blockSize: 3 })).toThrow(/options.blockSize: expected a power of 2, got 3/);
    expect(make({ blockSize: 2048 })).toThrow(RangeError);
    expect(make({ blockSize: 0 })).toThrow(RangeError);
    expect(make({ blockCount: 0 })).toThrow(RangeError);
    expect(make({ tier: 'tape' })).toThrow(/options.tier: expected one of device, host, disk/);
    expect(make({ eviction: 'random' })).toThrow(TypeError);
    expect(make({ eviction: { policy: 'multi-lru', thresholds: [3, 3, 15] } })).toThrow(/thresholds\[1\]/);
    expect(make({ eviction: { policy: 'multi-lru', thresholds: [0, 3, 15] } })).toThrow(/thresholds\[0\]/);
    expect(make({ eviction: { policy: 'multi-lru', thresholds: [3, 8, 16] } })).toThrow(/thresholds\[2\]/);
    expect(make({ eviction: { policy: 'multi-lru', thresholds: [3, 8, 15] } })).toThrow(/frequency tracking/);
    expect(make({ duplicates: 'maybe' })).toThrow(TypeError);
    expect(make({ storage: { kind: 'memory' } })).toThrow(/options.layout: expected one with a storage/);
    expect(make({ size: 1 })).toThrow(/unknown option/);
    expect(make({ registry: {} })).toThrow(TypeError);
  });

  it('rejects names that do not match the blocks, and invalid hashes', () => {
    const manager = namesManager();
    const blocks = manager.allocateOrThrow(2);
    expect(() => blocks.stage(sequenceOf(1))).toThrow(TypeError);
    expect(() => blocks.stage(sequenceOf(3), 2)).toThrow(TypeError);
    expect(() => blocks.stage(sequenceOf(3).lineageHashes())).toThrow(/hashes: expected 2, one for each block, got 3/);
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

  it('rejects every use of blocks that were moved or disposed of', () => {
    const manager = namesManager();
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

  it('rejects blocks of another manager', async () => {
    const [one, two] = [
      namesManager({ layout, storage: { kind: 'memory' } }),
      namesManager({ layout, storage: { kind: 'memory' } }),
    ];
    const ours = storeNames(one, sequenceOf(1));
    expect(() => ours.join(storeNames(two, sequenceOf(1)))).toThrow(stateError);
    await expect(one.copy(ours, two.allocateOrThrow(1))).rejects.toThrow(stateError);
    await expect(one.copy(ours, ours as never)).rejects.toThrow(TypeError);
    await expect(one.copy(one.allocateOrThrow(1) as never, one.allocateOrThrow(1))).rejects.toThrow(TypeError);
  });

  it('throws ClosedError from every method after dispose', () => {
    const manager = namesManager();
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

  it('can be attached to until every owner has disposed of it', () => {
    const manager = namesManager({ eviction: 'lru', duplicates: 'reject' });
    const token = manager.share();
    const attached = BlockManager.attach(token);
    expect([attached.tier, attached.blockCount, attached.blockSize, attached.share()]).toEqual([
      'host',
      8,
      blockSize,
      token,
    ]);
    const theirs = storeNames(attached, sequenceOf(2));
    expect(manager.matchPrefix(sequenceOf(2))?.length).toBe(2);
    expect(attached.registry.size).toBe(2);
    manager.dispose();
    expect(theirs.hashes().length).toBe(2);
    attached.dispose();
    expect(() => BlockManager.attach(token)).toThrow(expect.objectContaining({ code: 'DYN_NOT_FOUND' }));
    expect(() => BlockManager.attach(0)).toThrow(RangeError);
  });
});

describe('invented names that collide in the index of inactive blocks', () => {
  it('fail the next call, and lose no other block', async () => {
    const manager = namesManager();
    const name = sequenceOf(3).lineageHashes().at(2);
    // The same position and hash with another parent.
    const blocks = [name, name ^ 1n, name ^ 3n].map((each) =>
      manager
        .allocateOrThrow(1)
        .stage(LineageHashes.from([each]))
        .register(),
    );
    const other = storeNames(manager, sequenceOf(2, 50));
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
