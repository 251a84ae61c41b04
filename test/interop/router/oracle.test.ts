import { createWriteStream, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';
import {
  computeBlockHashes,
  computeSequenceHashes,
  KvIndexer,
  RadixTree,
  type RouterEvent,
  replayTrace,
} from 'dynamo-node';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { pythonPeer } from '../../helpers/child.js';
import { missingPeers } from '../../helpers/interop/peers.js';
import { mooncakeTrace } from '../../helpers/router/mooncake.js';
import { engine, expectKvOfTheWheel, simulated, wheel } from '../../helpers/router/wheel-replay.js';
import { temporaryFolder } from '../../helpers/runtime/runtime.js';

beforeEach(({ skip }) => skip(missingPeers !== undefined, missingPeers));

type Row = [string, number, number];

/** Random numbers that are the same in every run. */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state % below;
  };
}

const shown = (value: unknown): string =>
  JSON.stringify(value, (_, one: unknown) => (typeof one === 'bigint' ? `#${one}#` : one)).replace(/"#(\d+)#"/g, '$1');

function eventLine(event: RouterEvent): string {
  const { workerId, dpRank = 0, eventId = 0 } = event;
  const list = (hashes: Iterable<bigint>): bigint[] => [...hashes];
  const data =
    event.kind === 'cleared'
      ? 'cleared'
      : event.kind === 'removed'
        ? { removed: { block_hashes: list(event.blockHashes) } }
        : {
            stored: {
              parent_hash: event.parentHash ?? null,
              start_position: event.startPosition ?? null,
              blocks: list(event.blockHashes).map((block_hash, index) => ({
                block_hash,
                tokens_hash: event.tokensHashes[index],
              })),
            },
          };
  return shown({ worker: workerId, event: { event_id: eventId, data, dp_rank: dpRank } });
}

interface Prefix {
  readonly tokensHashes: BigUint64Array;
  readonly names: BigUint64Array;
}

/** Prompts that share prefixes like paths of a tree. */
function prefixes(random: (below: number) => number, count: number): Prefix[] {
  const roots: bigint[][] = [[]];
  const made: Prefix[] = [];
  while (made.length < count) {
    const start = roots[random(roots.length)] as bigint[];
    const path = [...start, ...Array.from({ length: 1 + random(6) }, () => BigInt(1 + random(1 << 20)))];
    if (path.length < 24) roots.push(path);
    const tokensHashes = BigUint64Array.from(path);
    made.push({ tokensHashes, names: computeSequenceHashes(tokensHashes) });
  }
  return made;
}

function randomEvent(random: (below: number) => number, all: readonly Prefix[], eventId: number): RouterEvent {
  const { tokensHashes, names } = all[random(all.length)] as Prefix;
  const base = { workerId: BigInt(random(8)) + 2n ** 63n, dpRank: random(2), eventId };
  const dice = random(100);
  if (dice === 0) return { kind: 'cleared', ...base };
  const from = random(names.length);
  const to = from + 1 + random(names.length - from);
  if (dice < 30) return { kind: 'removed', ...base, blockHashes: names.subarray(from, to) };
  // Most runs begin at the root. Others follow blocks that may be missing.
  const first = dice < 70 ? 0 : from;
  const parentHash = first === 0 ? null : (names[first - 1] as bigint);
  return {
    kind: 'stored',
    ...base,
    blockHashes: names.subarray(first, to),
    tokensHashes: tokensHashes.subarray(first, to),
    parentHash,
    startPosition: first,
  };
}

const rowsOf = (scores: Iterable<{ workerId: bigint; dpRank: number; score: number }>): Row[] =>
  [...scores]
    .map(({ workerId, dpRank, score }): Row => [String(workerId), dpRank, score])
    .sort((a, b) => (shown(a) < shown(b) ? -1 : 1));

/** The cache of one rank, as in engines: a block is cached only with all blocks before it. */
class Cache {
  readonly #followers = new Map<bigint, number>();

  #begun({ names }: Prefix): number {
    const first = names.findIndex((name) => !this.#followers.has(name));
    return first === -1 ? names.length : first;
  }

  /** The events of a computed prompt. */
  store(prefix: Prefix): Omit<Extract<RouterEvent, { kind: 'stored' }>, 'workerId'> | undefined {
    const { names, tokensHashes } = prefix;
    const from = this.#begun(prefix);
    if (from === names.length) return undefined;
    const parentHash = from === 0 ? null : (names[from - 1] as bigint);
    if (parentHash !== null) this.#followers.set(parentHash, (this.#followers.get(parentHash) as number) + 1);
    names.subarray(from).forEach((name, at) => this.#followers.set(name, from + at + 1 < names.length ? 1 : 0));
    return {
      kind: 'stored',
      blockHashes: names.subarray(from),
      tokensHashes: tokensHashes.subarray(from),
      parentHash,
      startPosition: from,
    };
  }

  /** The events of an eviction: the last blocks of a prompt that no other block follows, last first. */
  evict(prefix: Prefix): Omit<Extract<RouterEvent, { kind: 'removed' }>, 'workerId'> | undefined {
    const gone: bigint[] = [];
    for (let at = this.#begun(prefix) - 1; at >= 0 && this.#followers.get(prefix.names[at] as bigint) === 0; at--) {
      const name = prefix.names[at] as bigint;
      this.#followers.delete(name);
      gone.push(name);
      if (at > 0)
        this.#followers.set(
          prefix.names[at - 1] as bigint,
          (this.#followers.get(prefix.names[at - 1] as bigint) as number) - 1,
        );
    }
    return gone.length === 0 ? undefined : { kind: 'removed', blockHashes: gone };
  }

  clear(): void {
    this.#followers.clear();
  }
}

describe('compared with the wheel', () => {
  it('the radix tree returns the same results for 100,000 random events', async () => {
    const random = generator(20261122);
    const all = prefixes(random, 2000);
    const file = join(temporaryFolder(), 'events');
    const out = createWriteStream(file);
    using tree = new RadixTree();
    const ours: Row[][] = [];
    let refused = 0;
    for (let index = 0; index < 100_000; index++) {
      const event = randomEvent(random, all, index);
      refused += tree.apply([event]);
      out.write(`${eventLine(event)}\n`);
      if (index % 20_000 === 19_999) {
        const worker = 2n ** 63n + BigInt(random(8));
        tree.removeWorker(worker);
        out.write(`${shown({ remove: worker })}\n`);
      }
      if (index % 50 !== 0) continue;
      const query = (all[random(all.length)] as Prefix).tokensHashes;
      ours.push(rowsOf(tree.findMatches(query)));
      out.write(`${shown({ query: [...query] })}\n`);
    }
    out.end();
    await finished(out);
    const python = pythonPeer('router.py', ['tree', file], temporaryFolder(), { DYN_LOG: 'off' });
    onTestFinished(() => python.stop());
    const done = await python.event('done', {}, 120_000);
    const theirs = python.events
      .filter(({ event }) => event === 'scores')
      .map(({ rows }) => (rows as Row[]).sort((a, b) => (shown(a) < shown(b) ? -1 : 1)));
    expect(ours.length).toBe(2000);
    expect(ours.filter((rows) => rows.length > 0).length).toBeGreaterThan(1500);
    expect(theirs).toEqual(ours);
    expect(done['refused']).toBe(refused);
  }, 300_000);

  it('indexers of every kind return the same results for 100,000 engine events', async () => {
    const random = generator(20261125);
    const all = prefixes(random, 2000);
    const caches = Array.from({ length: 16 }, () => new Cache());
    const indexers = (['radix', 'concurrent', 'positional'] as const).map(
      (kind) => new KvIndexer({ kind, blockSize: 16 }),
    );
    onTestFinished(async () => void (await Promise.all(indexers.map((indexer) => indexer.close()))));
    const file = join(temporaryFolder(), 'events');
    const out = createWriteStream(file);
    const ours: Row[][][] = [];
    let [eventCount, batch]: [number, RouterEvent[]] = [0, []];
    while (eventCount < 100_000) {
      const which = random(caches.length);
      const cache = caches[which] as Cache;
      const prefix = all[random(all.length)] as Prefix;
      const dice = random(1000);
      if (dice === 0) cache.clear();
      const change =
        dice === 0 ? ({ kind: 'cleared' } as const) : dice < 600 ? cache.store(prefix) : cache.evict(prefix);
      if (change === undefined) continue;
      const event: RouterEvent = {
        ...change,
        workerId: BigInt(which >> 1) + 2n ** 63n,
        dpRank: which & 1,
        eventId: eventCount++,
      };
      out.write(`${eventLine(event)}\n`);
      batch.push(event);
      if (batch.length < 50) continue;
      const query = (all[random(all.length)] as Prefix).tokensHashes;
      out.write(`${shown({ query: [...query] })}\n`);
      const events = batch.splice(0);
      ours.push(
        await Promise.all(
          indexers.map(async (indexer) => (await indexer.apply(events), rowsOf(await indexer.findMatches(query)))),
        ),
      );
    }
    out.end();
    await finished(out);
    const python = pythonPeer('router.py', ['tree', file], temporaryFolder(), { DYN_LOG: 'off' });
    onTestFinished(() => python.stop());
    const done = await python.event('done', {}, 120_000);
    const theirs = python.events
      .filter(({ event }) => event === 'scores')
      .map(({ rows }) => (rows as Row[]).sort((a, b) => (shown(a) < shown(b) ? -1 : 1)));
    expect(ours).toHaveLength(2000);
    expect(ours.filter(([rows]) => (rows as Row[]).length > 0).length).toBeGreaterThan(1500);
    indexers.forEach(({ kind }, index) =>
      expect(
        ours.map((rows) => rows[index]),
        kind,
      ).toEqual(theirs),
    );
    expect(done['refused']).toBe(0);
  }, 300_000);

  it('hashes are equal for random tokens, adapters, tenants, pairs and media', async () => {
    const random = generator(7);
    const python = pythonPeer('router.py', ['hash'], temporaryFolder());
    onTestFinished(() => python.stop());
    await python.event('ready');
    for (let round = 0; round < 60; round++) {
      const blockSize = 1 + random(64);
      const tokens = Array.from({ length: random(500) }, () => random(2 ** 31) * 2 + random(2));
      const blocks = Math.floor(tokens.length / blockSize);
      const media =
        round % 4 === 0
          ? Array.from({ length: blocks }, (_, index) =>
              random(2) === 0 ? null : [{ hash: BigInt(index) * 977n, offsets: [[0, 1]] as const }],
            )
          : undefined;
      const options = {
        ...(round % 2 === 0 ? { loraName: `adapter-${random(9)}` } : {}),
        ...(round % 3 === 0 ? { cacheSalt: `tenant-${random(9)}` } : {}),
        ...(round % 5 === 0 ? { eagle: true } : {}),
        ...(media === undefined ? {} : { multimodal: media }),
      };
      python.send({
        tokens,
        block_size: blockSize,
        lora_name: options.loraName,
        cache_namespace: options.cacheSalt,
        is_eagle: options.eagle,
        block_mm_infos: media?.map(
          (objects) =>
            objects && { mm_objects: objects.map(({ hash, offsets }) => ({ mm_hash: Number(hash), offsets })) },
        ),
      });
      const { hashes } = await python.event('hashes');
      expect([...computeBlockHashes(tokens, blockSize, options)].map(String)).toEqual(hashes);
    }
  });

  it('Mooncake’s hash ids have the same overlaps in our index and the wheel’s tree', async () => {
    const requests = readFileSync(mooncakeTrace(), 'utf8')
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { hash_ids: number[] }).hash_ids);
    const file = join(temporaryFolder(), 'events');
    const out = createWriteStream(file);
    await using index = new KvIndexer({ blockSize: 512 });
    const ours: Row[][] = [];
    for (const [at, ids] of requests.entries()) {
      const tokensHashes = BigUint64Array.from(ids, (id) => BigInt(id + 1));
      ours.push(rowsOf(await index.findMatches(tokensHashes)));
      out.write(`${shown({ query: [...tokensHashes] })}\n`);
      const event: RouterEvent = {
        kind: 'stored',
        workerId: BigInt(at % 4),
        eventId: at,
        blockHashes: computeSequenceHashes(tokensHashes),
        tokensHashes,
        startPosition: 0,
      };
      await index.apply([event]);
      out.write(`${eventLine(event)}\n`);
    }
    out.end();
    await finished(out);
    const python = pythonPeer('router.py', ['tree', file], temporaryFolder(), { DYN_LOG: 'off' });
    onTestFinished(() => python.stop());
    await python.event('done', {}, 60_000);
    const theirs = python.events
      .filter(({ event }) => event === 'scores')
      .map(({ rows }) => (rows as Row[]).sort((a, b) => (shown(a) < shown(b) ? -1 : 1)));
    expect(theirs).toEqual(ours);
    expect(ours.flat().filter(([, , score]) => score > 1).length).toBeGreaterThan(100);
  }, 300_000);
});

describe('Mooncake’s trace of 1,000 requests, simulated', () => {
  const disaggregated = { kind: 'disaggregated', prefillWorkers: 2, decodeWorkers: 2 } as const;
  const roles = (worker_type: string) => ({ engine: { ...engine.engine, worker_type } });

  it('has the same figures as the wheel in round-robin', async () => {
    const ours = await replayTrace({
      trace: mooncakeTrace(),
      pool: { kind: 'aggregated', workers: 4, engine },
      mode: 'round_robin',
    });
    const theirs = await wheel().run({ extra_engine_args: engine, num_workers: 4, router_mode: 'round_robin' });
    expect(simulated(ours)).toEqual(
      simulated(Object.fromEntries(Object.entries(theirs).filter(([name, value]) => value !== null || name in ours))),
    );
    expect(ours).toMatchObject({ num_requests: 1000, completed_requests: 1000 });
  }, 300_000);

  it('has the same figures as the wheel with separate prefill and decode', async () => {
    const ours = await replayTrace({
      trace: mooncakeTrace(),
      pool: { ...disaggregated, prefillEngine: roles('prefill'), decodeEngine: roles('decode') },
      mode: 'round_robin',
    });
    const theirs = await wheel().run({
      prefill_engine_args: roles('prefill'),
      decode_engine_args: roles('decode'),
      num_prefill_workers: 2,
      num_decode_workers: 2,
      router_mode: 'round_robin',
    });
    expect(ours.mean_ttft_ms).toBe(theirs['mean_ttft_ms']);
    expect(ours['mean_itl_ms']).toBe(theirs['mean_itl_ms']);
  }, 300_000);

  // 4% are 4.6 deviations of the difference of the means of 12 runs. The stress run holds 2%.
  it('is within 4% of the wheel in kv, and well ahead of round-robin', () => expectKvOfTheWheel(12, 0.04), 300_000);

  it('rejects unknown fields, and names them', async () => {
    await expect(
      replayTrace({ trace: mooncakeTrace(), pool: { kind: 'aggregated', workers: 1, engine: { speed: 1 } } }),
    ).rejects.toThrow(/pool\.engine: .*speed/);
    await expect(replayTrace({ trace: 1 as never, pool: { kind: 'aggregated', workers: 1, engine } })).rejects.toThrow(
      /options\.trace: expected a string/,
    );
  });
});
