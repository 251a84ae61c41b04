import {
  type BlockEvent,
  BlockManager,
  type BlockManagerOptions,
  BlockRegistry,
  LineageHashes,
  type RegisteredBlocks,
  TokenSequence,
} from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';
import { randomNumbers } from '../../helpers/random.js';
import { within } from '../../helpers/wait.js';

const blockSize = 4;

function telling(options: Partial<BlockManagerOptions> = {}): BlockManager {
  const manager = new BlockManager({ tier: 'host', blockCount: 8, blockSize, events: true, ...options });
  onTestFinished(() => manager.dispose());
  return manager;
}

function sequenceOf(tokens: number[]): TokenSequence {
  const sequence = new TokenSequence(
    tokens.flatMap((token) => Array<number>(blockSize).fill(token)),
    { blockSize },
  );
  onTestFinished(() => sequence.dispose());
  return sequence;
}

function store(manager: BlockManager, sequence: TokenSequence, first = 0): RegisteredBlocks {
  return manager
    .allocateOrThrow(sequence.blockCount - first)
    .stage(sequence, first)
    .register();
}

async function take(events: AsyncIterator<BlockEvent>, count: number): Promise<BlockEvent[]> {
  const taken: BlockEvent[] = [];
  while (taken.length < count)
    taken.push(
      (await within(20_000, `event ${taken.length} of ${count}`, events.next(), () => taken)).value as BlockEvent,
    );
  return taken;
}

describe('a manager tells', () => {
  it('what is stored: parent, hashes, position, in the tier of the router', async () => {
    const manager = telling();
    await using events = manager.events();
    const sequence = sequenceOf([1, 2, 3, 4]);
    const first = store(manager, sequenceOf([1, 2]));
    store(manager, sequence, 2);
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

  it('what is removed: by eviction, by a reset at the last release, by draining', async () => {
    const manager = telling({ blockCount: 4, eviction: 'lru' });
    await using events = manager.events();
    const sequence = sequenceOf([1, 2]);
    const hashes = sequence.sequenceHashes();
    store(manager, sequence).dispose();
    manager.allocateOrThrow(3).dispose();
    const one = sequenceOf([1]);
    const blocks = store(manager, one);
    blocks.resetOnRelease(true);
    const clone = blocks.clone();
    blocks.dispose();
    clone.dispose();
    store(manager, one).dispose();
    manager.drainInactive();
    const told = (await take(events, 6)).map((event) => [
      event.kind,
      'blockHashes' in event ? [...event.blockHashes] : undefined,
    ]);
    expect(told).toEqual([
      ['stored', [...hashes]],
      ['removed', [hashes[0]]],
      ['stored', [hashes[0]]],
      ['removed', [hashes[0]]],
      ['stored', [hashes[0]]],
      // The block of the second name was there all the time.
      ['removed', expect.arrayContaining([hashes[0], hashes[1]])],
    ]);
  });

  it('a name once, however many blocks have it', async () => {
    const manager = telling();
    await using events = manager.events();
    const sequence = sequenceOf([1, 2]);
    const both = [store(manager, sequence), store(manager, sequence)];
    for (const blocks of both) blocks.dispose();
    store(manager, sequenceOf([9]));
    const told = await take(events, 2);
    expect(told.map((event) => (event.kind === 'stored' ? event.blockHashes.length : event.kind))).toEqual([2, 1]);
  });

  it('a late reader what is there, parents first', async () => {
    const manager = telling();
    const sequence = sequenceOf([1, 2, 3]);
    store(manager, sequence);
    await using events = manager.events({ snapshot: true });
    const [cleared, ...stored] = await take(events, 4);
    expect(cleared?.kind).toBe('cleared');
    expect(
      stored.map((event) => event.kind === 'stored' && [event.startPosition, event.parentHash, event.blockHashes[0]]),
    ).toEqual([...sequence.sequenceHashes()].map((hash, index, all) => [index, all[index - 1] ?? null, hash]));
  });

  it('a slow reader how much it lost', async () => {
    const manager = telling({ events: { capacity: 2 } });
    await using events = manager.events();
    for (let token = 1; token <= 6; token++) store(manager, sequenceOf([token]));
    const told = await take(events, 3);
    expect(told.map((event) => (event.kind === 'lost' ? event.count : event.kind))).toEqual([4, 'stored', 'stored']);
  });

  it('nobody where it was not asked to', () => {
    expect(() => telling({ events: false }).events()).toThrow(/expected a manager with the option events/);
    expect(() => telling({ events: { capacity: 0 } })).toThrow(RangeError);
  });

  it.each(['allow', 'reject'] as const)(
    'a reader that applies the changes has what the manager has, with duplicates: %s',
    async (duplicates) => {
      const registry = new BlockRegistry();
      const manager = telling({ blockCount: 16, duplicates, registry, events: { capacity: 65536 } });
      await using events = manager.events();
      const random = randomNumbers(3);
      const held: RegisteredBlocks[] = [];
      const names = new Map<bigint, bigint>();
      for (let step = 0; step < 2000; step++) {
        const sequence = sequenceOf(
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
      const last = sequenceOf([77]);
      for (const blocks of held) blocks.dispose();
      store(manager, last);
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

describe('a registry tells', () => {
  it('of names that come into use and fall out of it, and of what was lost', async () => {
    const registry = new BlockRegistry({ events: { capacity: 2 } });
    const manager = telling({ registry, events: false, blockCount: 2 });
    await using events = registry.events();
    const sequence = sequenceOf([1]);
    store(manager, sequence).dispose();
    manager.drainInactive();
    const name = sequence.lineageHashes().at(0);
    expect([(await events.next()).value, (await events.next()).value]).toEqual([
      { kind: 'created', hash: name },
      { kind: 'removed', hash: name },
    ]);
    for (let token = 2; token < 6; token++) {
      store(manager, sequenceOf([token])).dispose();
      manager.drainInactive();
    }
    expect((await events.next()).value).toEqual({ kind: 'lost', count: 6 });
    expect(() => new BlockRegistry().events()).toThrow(TypeError);
  });
});
