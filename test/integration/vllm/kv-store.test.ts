import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { computeBlockHashes, loadNixl } from 'dynamo-node';
import { shapeOf, VllmKvStore, type VllmKvStoreOptions, type VllmOffer, VllmPeer } from 'dynamo-node/vllm';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { perfCounter } from '../../../lib/vllm/side-channel.js';
import { type Kind, libraryOf, nixlMissing, useTransport } from '../../helpers/nixl/library.js';
import { temporaryFolder } from '../../helpers/runtime/runtime.js';
import { StandInWorker, type WorkerShape } from '../../helpers/vllm/worker.js';
import { waitFor } from '../../helpers/wait.js';

useTransport('ucx');

const tokensOf = (length: number, seed = 0): number[] => Array.from({ length }, (_, index) => seed * 1000 + index);

async function storeOf(
  kind: Kind,
  worker: StandInWorker,
  options: Partial<VllmKvStoreOptions> = {},
): Promise<VllmKvStore> {
  const shape = shapeOf(worker.handshake);
  const store = await VllmKvStore.create({ shape, blockCount: 16, library: libraryOf(kind), ...options });
  onTestFinished(() => store.close());
  return store;
}

function describeStore(kind: Kind, shapes: Readonly<Record<string, Partial<WorkerShape>>>): void {
  for (const [what, shape] of Object.entries(shapes)) {
    it(`keeps the blocks of a prefill and serves another worker from them: ${what}`, async () => {
      const [first, second] = [await StandInWorker.start(kind, shape), await StandInWorker.start(kind, shape)];
      const store = await storeOf(kind, first);
      await store.connect(first.address);
      const tokens = tokensOf(19);
      const params = first.prefill(tokens);
      const kept = await store.keep(tokens, params);
      expect(kept).toMatchObject({ tokens: 19, blocks: 3, stored: 3 });
      await first.waitForFree(params);

      for (const missing of [3, 1, 0]) {
        const offer = (await store.offer(tokens)) as VllmOffer;
        expect(offer).toMatchObject({ kind: 'whole', tokens: 19, bytes: kept.bytes });
        expect(await second.decode(offer.params, tokens, missing)).toBe(true);
        expect(await offer.ended).toBe('read');
      }
      expect(store.statistics()).toMatchObject({
        queries: 3,
        wholeHits: 3,
        hitRate: 1,
        keptBlocks: 3,
        keptBytes: kept.bytes,
        readBytes: 3 * kept.bytes,
        openOffers: 0,
        endedOffers: { read: 3, withdrawn: 0, expired: 0 },
        sideChannel: { answered: 3, refused: {} },
      });
    });
  }

  it('serves many workers at a time', async () => {
    const [first, ...others] = await Promise.all(Array.from({ length: 4 }, () => StandInWorker.start(kind)));
    const store = await storeOf(kind, first as StandInWorker);
    const tokens = tokensOf(40);
    await store.keep(tokens, (first as StandInWorker).prefill(tokens));
    const offers = await Promise.all(others.map(async () => (await store.offer(tokens)) as VllmOffer));
    const read = await Promise.all(
      others.map((worker, index) => worker.decode((offers[index] as VllmOffer).params, tokens)),
    );
    expect(read).toEqual([true, true, true]);
    expect(await Promise.all(offers.map(({ ended }) => ended))).toEqual(['read', 'read', 'read']);
  });
}

const SHAPES = {
  'one kernel block in a block': {},
  'blocks that lie apart': { stride: 256 },
  'four kernel blocks in a block': { kernelBlocks: 4 },
};

describe('VllmKvStore', () => {
  describe('on the mock', () => describeStore('mock', SHAPES));

  describe('on UCX', () => {
    beforeEach((context) => {
      const missing = nixlMissing();
      if (missing !== undefined) context.skip(missing);
    });
    describeStore('ucx', SHAPES);
  });

  it('gives each store an engine id and an agent name of its own', async () => {
    const worker = await StandInWorker.start('mock');
    const [one, two] = [await storeOf('mock', worker), await storeOf('mock', worker)];
    expect(one.engineId).not.toBe(two.engineId);
    const names = [one, two].map(
      ({ metadata }) =>
        Buffer.from(metadata.agent_metadata)
          .toString('latin1')
          .match(/dynamo-node-[-0-9a-f]{36}/)?.[0],
    );
    expect(new Set(names).size).toBe(2);
  });

  it('reads only the blocks that it does not have', async () => {
    const worker = await StandInWorker.start('mock');
    const store = await storeOf('mock', worker);
    const tokens = tokensOf(32);
    await store.keep(tokens.slice(0, 16), worker.prefill(tokens.slice(0, 16)));
    expect(await store.keep(tokens, worker.prefill(tokens))).toMatchObject({ blocks: 4, stored: 2 });
    const again = worker.prefill(tokens);
    expect(await store.keep(tokens, again)).toMatchObject({ blocks: 4, stored: 0, bytes: 0 });
    await worker.waitForFree(again);
    expect(await worker.decode(((await store.offer(tokens)) as VllmOffer).params, tokens)).toBe(true);
  });

  it('offers a prompt that ends inside of a stored block', async () => {
    const worker = await StandInWorker.start('mock');
    const store = await storeOf('mock', worker);
    const tokens = tokensOf(24);
    await store.keep(tokens, worker.prefill(tokens));
    expect(await store.offer(tokens.slice(0, 19))).toMatchObject({ kind: 'whole', tokens: 19 });
    expect(await store.offer(tokens.slice(0, 3))).toMatchObject({ kind: 'whole', tokens: 3 });
    expect(await store.offer([...tokens.slice(0, 17), 7])).toBeUndefined();
    expect(await store.offer([...tokens, 7])).toBeUndefined();
  });

  it('offers a part of a prompt if it is bidirectional, from 64 tokens on', async () => {
    const worker = await StandInWorker.start('mock');
    const store = await storeOf('mock', worker, { bidirectional: true });
    const tokens = tokensOf(72);
    await store.keep(tokens, worker.prefill(tokens));
    const longer = [...tokens, ...tokensOf(10, 5)];
    const offer = (await store.offer(longer)) as VllmOffer;
    expect(offer).toMatchObject({ kind: 'partial', tokens: 72 });
    expect(offer.params).toMatchObject({ do_remote_prefill: false, do_remote_decode: true, remote_num_tokens: 72 });
    expect(offer.params.remote_block_ids[0]).toHaveLength(9);
    expect(await worker.decode(offer.params, tokens)).toBe(true);
    expect(await store.offer([...tokens.slice(0, 63), 9, 9])).toBeUndefined();
    expect(store.statistics()).toMatchObject({ wholeHits: 0, partialHits: 1, hitTokens: 72, queriedTokens: 147 });
  });

  it('separates prompts of other salts and adapters', async () => {
    const worker = await StandInWorker.start('mock');
    const store = await storeOf('mock', worker);
    const tokens = tokensOf(16);
    await store.keep(tokens, worker.prefill(tokens), { salt: 'a', loraName: 'b' });
    expect(await store.offer(tokens)).toBeUndefined();
    expect(await store.offer(tokens, { salt: 'a' })).toBeUndefined();
    expect(await store.offer(tokens, { salt: 'a', loraName: 'b' })).toMatchObject({ kind: 'whole' });
  });

  it('names its blocks by the hashes of KV events, also if they arrive during the call', async () => {
    const worker = await StandInWorker.start('mock');
    const store = await storeOf('mock', worker, { eventWaitMs: 10_000 });
    const tokens = tokensOf(16);
    const keeping = store.keep(tokens, worker.prefill(tokens));
    const blockHashes = [...computeBlockHashes(tokens, 8)];
    const event = { kind: 'stored', blockHashes, tokens, blockSize: 8, parentHash: undefined, extraKeys: [] } as const;
    setImmediate(() => store.applyEvent(event));
    expect(await keeping).toMatchObject({ stored: 2 });
    store.applyEvent({ ...event, parentHash: 999n });
    expect(store.statistics()).toMatchObject({ knownBlocks: 2, namedBlocks: 2, unplacedEvents: 1 });
  });

  it('evicts the blocks that were used the longest ago, and never those of an open offer', async () => {
    const worker = await StandInWorker.start('mock');
    const store = await storeOf('mock', worker, { blockCount: 4, eviction: 'lru' });
    const prompts = [1, 2, 3].map((seed) => tokensOf(16, seed)) as [number[], number[], number[]];
    await store.keep(prompts[0], worker.prefill(prompts[0]));
    await store.keep(prompts[1], worker.prefill(prompts[1]));
    const offer = (await store.offer(prompts[0])) as VllmOffer;
    await store.keep(prompts[2], worker.prefill(prompts[2]));
    expect(await store.offer(prompts[1])).toBeUndefined();
    const none = tokensOf(16, 4);
    const second = (await store.offer(prompts[2])) as VllmOffer;
    const params = worker.prefill(none);
    expect(await store.keep(none, params)).toMatchObject({ blocks: 2, stored: 0 });
    await worker.waitForFree(params);
    expect(store.statistics().exhausted).toBe(1);
    expect(await worker.decode(offer.params, prompts[0])).toBe(true);
    second.withdraw();
    expect(await second.ended).toBe('withdrawn');
    expect(await store.keep(none, worker.prefill(none))).toMatchObject({ stored: 2 });
  });

  it('returns blocks from its file after they were evicted from memory', async () => {
    const worker = await StandInWorker.start('mock');
    const diskPath = join(temporaryFolder(), 'blocks');
    const store = await storeOf('mock', worker, { blockCount: 2, diskBlocks: 8, diskPath, eviction: 'lru' });
    const [one, two] = [tokensOf(16, 1), tokensOf(16, 2)];
    for (const tokens of [one, two]) {
      await store.keep(tokens, worker.prefill(tokens));
      await store.flush();
    }
    for (const tokens of [one, two, one]) {
      const offer = (await store.offer(tokens)) as VllmOffer;
      expect(await worker.decode(offer.params, tokens)).toBe(true);
      await offer.ended;
    }
    expect(store.statistics().tiers).toMatchObject({ offloaded: 4, onboarded: 6 });
  });

  it('ends an offer when its lease is over, and extends it by heartbeats', async () => {
    const worker = await StandInWorker.start('mock');
    const store = await storeOf('mock', worker, { leaseMs: 400 });
    const tokens = tokensOf(16);
    await store.keep(tokens, worker.prefill(tokens));
    const [left, held] = [(await store.offer(tokens)) as VllmOffer, (await store.offer(tokens)) as VllmOffer];
    let isOver = false;
    void held.ended.then(() => (isOver = true));
    const beats = setInterval(() => void worker.beat(held.params), 50);
    expect(await left.ended).toBe('expired');
    expect(isOver).toBe(false);
    clearInterval(beats);
    expect(await held.ended).toBe('expired');
    expect(store.statistics()).toMatchObject({ openOffers: 0, endedOffers: { expired: 2 } });
  });

  it('does not end an offer after a pause of this process, while heartbeats wait', async () => {
    const worker = await StandInWorker.start('mock');
    const store = await storeOf('mock', worker, { leaseMs: 300 });
    const tokens = tokensOf(16);
    await store.keep(tokens, worker.prefill(tokens));
    const offer = (await store.offer(tokens)) as VllmOffer;
    const ended: string[] = [];
    void offer.ended.then((end) => ended.push(end));
    // The lease and a quarter of its extension pass.
    for (const until = performance.now() + 600; performance.now() < until; );
    await nextTurn();
    expect(ended).toEqual([]);
    await offer.ended;
    expect(ended).toEqual(['expired']);
  });

  it('rejects blocks whose lease has ended with vllm.expired, unless heartbeats extend it', async () => {
    const [worker, reader] = [await StandInWorker.start('mock'), await StandInWorker.start('mock')];
    const store = await storeOf('mock', worker);
    const inSeconds = (seconds: number) => ({ remote_blocks_expiry_time: perfCounter() + seconds });
    const late = worker.prefill(tokensOf(16), inSeconds(-0.5));
    await expect(store.keep(tokensOf(16), late)).rejects.toMatchObject({
      name: 'VllmError',
      reason: 'vllm.expired',
      message: expect.stringMatching(/the lease of cmpl-\S+ ended 0\.\d s ago/),
    });
    expect(store.statistics()).toMatchObject({ keptBlocks: 0, quarantinedBlocks: 0, blocks: { empty: 16 } });
    expect(await store.offer(tokensOf(16))).toBeUndefined();
    expect(await store.keep(tokensOf(16, 1), worker.prefill(tokensOf(16, 1), inSeconds(30)))).toMatchObject({
      stored: 2,
    });

    await using peer = await VllmPeer.connect(reader.agent, worker.address);
    const target = { blocks: await reader.agent.blocks(reader.region, 64), indices: Int32Array.of(0, 1, 2) };
    const held = worker.prefill(tokensOf(8), inSeconds(0.1));
    using _lease = peer.holdLease([held.remote_request_id]);
    const short = worker.prefill(tokensOf(8), inSeconds(0.1));
    loadNixl({ mode: 'mock', mock: { completion: 'delayed', latencyUs: 300_000 } });
    onTestFinished(() => void loadNixl({ mode: 'mock' }));
    await expect(peer.pull(short, target)).rejects.toMatchObject({ reason: 'vllm.expired' });
    expect(await peer.pull(held, target)).toMatchObject({ bytes: 3 * 64 });
  });

  it('keeps its connection if it connects to the same worker again', async () => {
    const worker = await StandInWorker.start('mock');
    const store = await storeOf('mock', worker);
    const peer = await store.connect(worker.address);
    expect(await store.connect(worker.address)).toBe(peer);
    expect(await store.keep(tokensOf(16), worker.prefill(tokensOf(16)))).toMatchObject({ stored: 2 });
  });

  it('ends the first read of a connection after readTimeoutMs, and uses its block again', async () => {
    const worker = await StandInWorker.start('mock');
    const store = await storeOf('mock', worker, { readTimeoutMs: 20 });
    loadNixl({ mode: 'mock', mock: { completion: 'delayed', latencyUs: 300_000 } });
    onTestFinished(() => void loadNixl({ mode: 'mock' }));
    await expect(store.connect(worker.address)).rejects.toMatchObject({ code: 'DYN_DEADLINE_EXCEEDED' });
    await waitFor('the block', () => store.statistics().blocks.empty === 16);
  });

  it('survives the death of a reader: its offer ends, and others are served', async () => {
    const [dead, alive] = [await StandInWorker.start('mock'), await StandInWorker.start('mock')];
    const store = await storeOf('mock', dead, { leaseMs: 200 });
    const tokens = tokensOf(16);
    await store.keep(tokens, dead.prefill(tokens));
    const offer = (await store.offer(tokens)) as VllmOffer;
    await dead.beat(offer.params);
    await dead.channel.close();
    await dead.agent.close();
    expect(await offer.ended).toBe('expired');
    expect(await alive.decode(((await store.offer(tokens)) as VllmOffer).params, tokens)).toBe(true);
    await store.keep(tokensOf(8, 3), alive.prefill(tokensOf(8, 3)));
  });

  it('offers at most maxOffers at a time', async () => {
    const worker = await StandInWorker.start('mock');
    const store = await storeOf('mock', worker, { maxOffers: 1 });
    const tokens = tokensOf(16);
    await store.keep(tokens, worker.prefill(tokens));
    const offer = (await store.offer(tokens)) as VllmOffer;
    expect(await store.offer(tokens)).toBeUndefined();
    offer.withdraw();
    const last = (await store.offer(tokens)) as VllmOffer;
    last.withdraw();
    const many = await Promise.all(Array.from({ length: 10 }, () => store.offer(tokens)));
    expect(many.filter((one) => one !== undefined)).toHaveLength(1);
    expect(store.statistics()).toMatchObject({ exhausted: 10, openOffers: 1 });
  });

  it('connects to a worker that restarted at the same address', async () => {
    const worker = await StandInWorker.start('mock');
    const store = await storeOf('mock', worker);
    await store.keep(tokensOf(8), worker.prefill(tokensOf(8)));
    const late = worker.prefill(tokensOf(8, 3));
    const { port } = worker.channel;
    await worker.channel.close();
    await worker.agent.close();
    const next = await StandInWorker.start('mock', {}, port);
    expect(await store.keep(tokensOf(8, 2), next.prefill(tokensOf(8, 2)))).toMatchObject({ stored: 1 });
    await expect(store.keep(tokensOf(8, 3), late)).rejects.toMatchObject({ reason: 'vllm.engine' });
    expect(await next.decode(((await store.offer(tokensOf(8))) as VllmOffer).params, tokensOf(8))).toBe(true);
  });

  it.each<[string, string, Partial<WorkerShape>]>([
    ['another size of blocks', 'vllm.layout', { blockBytes: 32 }],
    ['another number of layers', 'vllm.layout', { layers: 2 }],
    ['another number of tokens in a block', 'vllm.layout', { blockSize: 16 }],
    ['another compatibility hash', 'vllm.layout', { hash: 'b'.repeat(64) }],
  ])('rejects a worker with %s', async (_what, reason, changes) => {
    const [worker, other] = [await StandInWorker.start('mock'), await StandInWorker.start('mock', changes)];
    const store = await storeOf('mock', worker);
    await expect(store.connect(other.address)).rejects.toMatchObject({ reason });
    await expect(store.keep(tokensOf(8), other.prefill(tokensOf(8)))).rejects.toMatchObject({ reason });
  });

  it('rejects incomplete parameters with vllm.params, and several ranks with vllm.unsupported', async () => {
    const worker = await StandInWorker.start('mock');
    const store = await storeOf('mock', worker);
    const params = worker.prefill(tokensOf(16));
    await expect(store.keep(tokensOf(16), { ...params, remote_port: null })).rejects.toMatchObject({
      reason: 'vllm.params',
    });
    await expect(store.keep(tokensOf(16), { ...params, tp_size: 2 })).rejects.toMatchObject({
      reason: 'vllm.unsupported',
    });
    await expect(store.keep(tokensOf(16), { ...params, remote_block_ids: [[0, 99]] })).rejects.toMatchObject({
      reason: 'vllm.params',
    });
    expect(store.statistics().blocks).toMatchObject({ empty: 16 });
  });

  it('ends a read after timeoutMs, and uses its blocks again when it has ended', async () => {
    const worker = await StandInWorker.start('mock');
    const store = await storeOf('mock', worker, { readTimeoutMs: 20 });
    await store.connect(worker.address);
    loadNixl({ mode: 'mock', mock: { completion: 'delayed', latencyUs: 300_000 } });
    onTestFinished(() => void loadNixl({ mode: 'mock' }));
    await expect(store.keep(tokensOf(16), worker.prefill(tokensOf(16)))).rejects.toMatchObject({
      code: 'DYN_DEADLINE_EXCEEDED',
    });
    expect(store.statistics()).toMatchObject({ quarantinedBlocks: 2, keptBlocks: 0 });
    await waitFor('no block in quarantine', () => store.statistics().quarantinedBlocks === 0);
    expect(store.statistics().blocks).toMatchObject({ empty: 16 });
  });

  it('stores what this process computed, and returns what it has to an engine of this process', async () => {
    const worker = await StandInWorker.start('mock');
    const store = await storeOf('mock', worker);
    const tokens = tokensOf(12);
    const parts: object[] = [];
    const isStored = store.write(tokens, (bytes, part) => {
      parts.push(part);
      bytes.fill(10 * part.region + part.first);
    });
    expect(isStored).toBe(true);
    expect(parts).toEqual(
      [0, 1].flatMap((block) => [0, 1, 2].map((region) => ({ region, first: block * 8, count: block === 0 ? 8 : 4 }))),
    );
    expect(await store.offer(tokens)).toMatchObject({ kind: 'whole', tokens: 12 });
    using found = await store.read(tokens);
    expect(found?.tokens).toBe(12);
    expect(found?.part(3, 2)[0]).toBe(20);
    expect(found?.part(11, 1)[63]).toBe(18);
    expect(await store.read(tokensOf(9, 4))).toBeUndefined();
    expect(store.write(tokensOf(8 * 17, 6), () => {})).toBe(false);
  });

  it('rejects wrong options with TypeError, RangeError and ClosedError', async () => {
    const worker = await StandInWorker.start('mock');
    const shape = shapeOf(worker.handshake);
    await expect(VllmKvStore.create({ shape, blockCount: 0 })).rejects.toThrow(/blockCount/);
    await expect(VllmKvStore.create({ shape: { ...shape, regions: 0 }, blockCount: 1 })).rejects.toThrow(
      /shape.regions/,
    );
    await expect(VllmKvStore.create({ shape, blockCount: 1, diskBlocks: 1 })).rejects.toThrow(/diskPath/);
    const store = await storeOf('mock', worker);
    await expect(store.offer([-1])).rejects.toThrow(/tokens/);
    await expect(store.offer([1], { salt: 7 } as never)).rejects.toThrow(/identity.salt/);
    await store.close();
    await store.close();
    await expect(store.offer([1])).rejects.toMatchObject({ code: 'DYN_CLOSED' });
    await expect(store.keep([1], {})).rejects.toMatchObject({ code: 'DYN_CLOSED' });
  });
});

describe('VllmPeer', () => {
  it('sends heartbeats until the lease is disposed of', async () => {
    const [worker, reader] = [await StandInWorker.start('mock'), await StandInWorker.start('mock')];
    await using peer = await VllmPeer.connect(reader.agent, worker.address);
    const lease = peer.holdLease(['a', 'b'], 20);
    await waitFor(
      'heartbeats',
      () => worker.heartbeats.length,
      (count) => count >= 6,
    );
    lease[Symbol.dispose]();
    expect(new Set(worker.heartbeats)).toEqual(new Set(['a', 'b']));
    await peer.release('a');
    await waitFor('the release', () => worker.freed.includes('a'));
  });

  it('asks for ranks that the worker has, and for no other', async () => {
    const [worker, reader] = [await StandInWorker.start('mock'), await StandInWorker.start('mock')];
    const { agent } = reader;
    await expect(VllmPeer.connect(agent, { ...worker.address, rank: { tensor: 1 } })).rejects.toThrow(
      /options.rank: expected a rank of the 1 x 1/,
    );
    const ranks = { tp_size: 2, pp_size: 1 };
    await expect(VllmPeer.connect(agent, { ...worker.address, rank: { tensor: 2 }, ranks })).rejects.toThrow(
      RangeError,
    );
    expect(worker.channel.statistics().connections).toBe(0);
  });

  it('rejects another engine, and parameters of another engine', async () => {
    const [worker, reader] = [await StandInWorker.start('mock'), await StandInWorker.start('mock')];
    const failure = { reason: 'vllm.engine' };
    await expect(VllmPeer.connect(reader.agent, { ...worker.address, engineId: 'x' })).rejects.toMatchObject(failure);
    await using peer = await VllmPeer.connect(reader.agent, worker.address);
    expect(peer).toMatchObject({
      engineId: worker.engineId,
      blockSize: 8,
      blockCount: 24,
      layout: { backend: 'CPU_ATTN' },
    });
    const blocks = await reader.agent.blocks(reader.region, 64);
    const params = { ...worker.prefill(tokensOf(8)), remote_engine_id: 'x' };
    await expect(peer.pull(params, { blocks, indices: Int32Array.of(0, 1, 2) })).rejects.toMatchObject(failure);
    await peer.close();
    await expect(peer.pull(params, { blocks, indices: Int32Array.of(0) })).rejects.toMatchObject({
      code: 'DYN_CLOSED',
    });
  });
});
