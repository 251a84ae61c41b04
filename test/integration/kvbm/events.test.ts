import {
  type BlockEvent,
  type BlockManager,
  type BlockManagerOptions,
  BlockRegistry,
  LineageHashes,
  type RegisteredBlocks,
} from 'dynamo-node';
import { describe, expect, it } from 'vitest';
import { namesManager, repeatedSequence, storeNames } from '../../helpers/kvbm/blocks.js';
import { randomNumbers } from '../../helpers/random.js';
import { within } from '../../helpers/wait.js';

const withEvents = (options: Partial<BlockManagerOptions> = {}): BlockManager =>
  namesManager({ events: true, ...options });

async function take(events: AsyncIterator<BlockEvent>, count: number): Promise<BlockEvent[]> {
  const taken: BlockEvent[] = [];
  while (taken.length < count)
    taken.push(
      (await within(20_000, `event ${taken.length} of ${count}`, events.next(), () => taken)).value as BlockEvent,
    );
  return taken;
}

describe('manager.events', () => {
  it('reports stored blocks with parent, hashes and position, in the tier of the router', async () => {
    const manager = withEvents();
    await using events = manager.events();
    const sequence = repeatedSequence([1, 2, 3, 4]);
    const first = storeNames(manager, repeatedSequence([1, 2]));
    storeNames(manager, sequence, 2);
    const [blocks, tokens] = [sequence.sequenceHashes(), sequence.blockHashes()];
    expect(await take(events, 2)).toEqual([
      {
        kind: 'stored',
        tier: 'host_pinned',
        eventId: 1n,
        parentHash: null,
        startPosition: 0,
        blockHashes: blocks.slice(0, 2),
        tokensHashes: tokens.slice(0, 2),
      },
      {
        kind: 'stored',
        tier: 'host_pinned',
        eventId: 2n,
        parentHash: blocks[1],
        startPosition: 2,
        blockHashes: blocks.slice(2),
        tokensHashes: tokens.slice(2),
      },
    ]);
    expect(first.length).toBe(2);
  });

  it('reports blocks removed by eviction, by a reset at the last release, and by draining', async () => {
    const manager = withEvents({ blockCount: 4, eviction: 'lru' });
    await using events = manager.events();
    const sequence = repeatedSequence([1, 2]);
    const hashes = sequence.sequenceHashes();
    storeNames(manager, sequence).dispose();
    manager.allocateOrThrow(3).dispose();
    const one = repeatedSequence([1]);
    const blocks = storeNames(manager, one);
    blocks.resetOnRelease(true);
    const clone = blocks.clone();
    blocks.dispose();
    clone.dispose();
    storeNames(manager, one).dispose();
    manager.drainInactive();
    const reported = (await take(events, 6)).map((event) => [
      event.kind,
      'blockHashes' in event ? [...event.blockHashes] : undefined,
    ]);
    expect(reported).toEqual([
      ['stored', [...hashes]],
      ['removed', [hashes[0]]],
      ['stored', [hashes[0]]],
      ['removed', [hashes[0]]],
      ['stored', [hashes[0]]],
      // The block of the second name was present all the time.
      ['removed', expect.arrayContaining([hashes[0], hashes[1]])],
    ]);
  });

  it('reports a name once, regardless of duplicates', async () => {
    const manager = withEvents();
    await using events = manager.events();
    const sequence = repeatedSequence([1, 2]);
    const both = [storeNames(manager, sequence), storeNames(manager, sequence)];
    for (const blocks of both) blocks.dispose();
    storeNames(manager, repeatedSequence([9]));
    const reported = await take(events, 2);
    expect(reported.map((event) => (event.kind === 'stored' ? event.blockHashes.length : event.kind))).toEqual([2, 1]);
  });

  it('starts with a snapshot for a late reader, parents first', async () => {
    const manager = withEvents();
    const sequence = repeatedSequence([1, 2, 3]);
    storeNames(manager, sequence);
    await using events = manager.events({ snapshot: true });
    const [cleared, ...stored] = await take(events, 4);
    expect(cleared?.kind).toBe('cleared');
    expect(
      stored.map((event) => event.kind === 'stored' && [event.startPosition, event.parentHash, event.blockHashes[0]]),
    ).toEqual([...sequence.sequenceHashes()].map((hash, index, all) => [index, all[index - 1] ?? null, hash]));
  });

  it('reports to a slow reader how many events it lost', async () => {
    const manager = withEvents({ events: { capacity: 2 } });
    await using events = manager.events();
    for (let token = 1; token <= 6; token++) storeNames(manager, repeatedSequence([token]));
    const reported = await take(events, 3);
    expect(reported.map((event) => (event.kind === 'lost' ? event.count : event.kind))).toEqual([
      4,
      'stored',
      'stored',
    ]);
  });

  it('rejects a manager without the option events, and a capacity of 0', () => {
    expect(() => withEvents({ events: false }).events()).toThrow(/expected a manager with the option events/);
    expect(() => withEvents({ events: { capacity: 0 } })).toThrow(RangeError);
  });

  it.each(['allow', 'reject'] as const)(
    'lets a reader that applies the changes reconstruct the contents, with duplicates: %s',
    async (duplicates) => {
      const registry = new BlockRegistry();
      const manager = withEvents({ blockCount: 16, duplicates, registry, events: { capacity: 65536 } });
      await using events = manager.events();
      const random = randomNumbers(3);
      const held: RegisteredBlocks[] = [];
      const names = new Map<bigint, bigint>();
      for (let step = 0; step < 2000; step++) {
        const sequence = repeatedSequence(
          Array.from({ length: 1 + Math.floor(random() * 5) }, () => Math.floor(random() * 2)),
        );
        const hashes = sequence.sequenceHashes();
        for (const [index, name] of [...sequence.lineageHashes()].entries()) names.set(hashes[index] as bigint, name);
        const cached = manager.matchPrefix(sequence);
        if (cached !== undefined) held.push(cached);
        const first = Math.floor(random() * 2) === 0 ? (cached?.length ?? 0) : 0;
        const fresh = first < sequence.blockCount ? manager.allocate(sequence.blockCount - first) : null;
        if (fresh !== null) {
          const blocks = fresh.stage(sequence, first).register();
          if (random() < 0.2) blocks.resetOnRelease(random() < 0.5);
          held.push(blocks);
        }
        while (held.length > 0 && random() < 0.6) held.splice(Math.floor(random() * held.length), 1)[0]?.dispose();
      }
      const last = repeatedSequence([77]);
      for (const blocks of held) blocks.dispose();
      storeNames(manager, last);
      const present = new Set<bigint>();
      for await (const event of events) {
        if (event.kind === 'stored') {
          for (const hash of event.blockHashes) {
            expect(present.has(hash)).toBe(false);
            present.add(hash);
          }
          if (event.blockHashes[0] === last.sequenceHashes()[0]) break;
        } else if (event.kind === 'removed') {
          for (const hash of event.blockHashes) expect(present.delete(hash)).toBe(true);
        } else throw new Error(`unexpected ${event.kind}`);
      }
      present.delete(last.sequenceHashes()[0] as bigint);
      const there = [...names].filter(([, name]) => registry.presence(LineageHashes.from([name]))[0] === 1);
      expect([...present].sort()).toEqual(there.map(([hash]) => hash).sort());
    },
  );
});

describe('registry.events', () => {
  it('reports names that come into use and leave it, and lost events', async () => {
    const registry = new BlockRegistry({ events: { capacity: 2 } });
    const manager = withEvents({ registry, events: false, blockCount: 2 });
    await using events = registry.events();
    const sequence = repeatedSequence([1]);
    storeNames(manager, sequence).dispose();
    manager.drainInactive();
    const name = sequence.lineageHashes().at(0);
    expect([(await events.next()).value, (await events.next()).value]).toEqual([
      { kind: 'created', hash: name },
      { kind: 'removed', hash: name },
    ]);
    for (let token = 2; token < 6; token++) {
      storeNames(manager, repeatedSequence([token])).dispose();
      manager.drainInactive();
    }
    expect((await events.next()).value).toEqual({ kind: 'lost', count: 6 });
    expect(() => new BlockRegistry().events()).toThrow(TypeError);
  });
});
