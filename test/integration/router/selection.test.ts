import { once } from 'node:events';
import { createServer } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import {
  ClosedError,
  computeBlockHashes,
  computeSequenceHashes,
  DynamoError,
  formatExplanation,
  type KvRouterConfig,
  type RouterEvent,
  type RoutingBatch,
  type RoutingPolicy,
  type RoutingRequest,
  SelectionService,
  type SelectionServiceOptions,
} from 'dynamo-node';
import { afterEach, describe, expect, it } from 'vitest';
import { randomNumbers } from '../../helpers/random.js';
import { freePort } from '../../helpers/runtime/cluster.js';
import { waitFor } from '../../helpers/wait.js';

const BLOCK = 16;
const prompt = Uint32Array.from({ length: 10 * BLOCK }, (_, index) => index);

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function service(
  options: SelectionServiceOptions = {},
  workers: readonly bigint[] = [1n, 2n],
): Promise<SelectionService> {
  const made = await SelectionService.create(options);
  closing.push(() => made.close());
  for (const workerId of workers)
    await made.putWorker({ workerId, blockSize: BLOCK, totalKvBlocks: 1000, maxNumBatchedTokens: 8192 });
  return made;
}

function stored(
  workerId: bigint,
  blocks: number,
  tokens = prompt,
  tier: 'device' | 'host_pinned' | 'disk' = 'device',
  from = 0,
): RouterEvent {
  const all = computeBlockHashes(tokens, BLOCK);
  const names = computeSequenceHashes(all);
  return {
    kind: 'stored',
    workerId,
    tier,
    blockHashes: names.subarray(from, blocks),
    tokensHashes: all.subarray(from, blocks),
    parentHash: from === 0 ? null : (names[from - 1] as bigint),
    startPosition: from,
  };
}

describe('SelectionService', () => {
  it('chooses the worker that has the prefix', async () => {
    const router = await service();
    await router.apply([stored(2n, 8)]);
    expect(await router.select({ tokens: prompt })).toMatchObject({
      workerId: 2n,
      dpRank: 0,
      endpoint: '2',
      cachedTokens: 8 * BLOCK,
    });
    expect(await router.overlapScores({ tokens: prompt })).toContainEqual({
      workerId: 2n,
      dpRank: 0,
      deviceBlocks: 8,
      hostBlocks: 0,
      diskBlocks: 0,
    });
  });

  it('tracks the load of reserved requests until they are freed', async () => {
    const router = await service();
    const load = async (workerId: bigint) =>
      (await router.potentialLoads({ tokens: prompt })).find((one) => one.workerId === workerId);
    const { id, workerId } = await router.reserve({ tokens: prompt });
    const other = workerId === 1n ? 2n : 1n;
    expect(await load(workerId)).toMatchObject({ activeRequests: 1, potentialPrefillTokens: 2 * prompt.length });
    expect((await router.reserve({ tokens: prompt.map((id) => id + 7) })).workerId).toBe(other);
    await router.prefillCompleted(id);
    expect(await load(workerId)).toMatchObject({ activeRequests: 1, potentialPrefillTokens: prompt.length });
    await router.outputBlock(id);
    await router.free(id);
    expect(await load(workerId)).toMatchObject({ activeRequests: 0 });
    await expect(router.free(id)).rejects.toMatchObject({ code: 'DYN_NOT_FOUND' });
  });

  it('removes a worker and its blocks', async () => {
    const router = await service();
    await router.apply([stored(2n, 8), stored(1n, 4)]);
    await router.removeWorker(2n);
    expect(await router.workerIds()).toEqual([1n]);
    expect(await router.select({ tokens: prompt })).toMatchObject({ workerId: 1n, cachedTokens: 4 * BLOCK });
    await router.putWorker({ workerId: 2n, blockSize: BLOCK });
    expect(await router.overlapScores({ tokens: prompt })).toContainEqual(
      expect.objectContaining({ workerId: 2n, deviceBlocks: 0 }),
    );
  });

  it('keeps a session on its worker until its time is over', async () => {
    const router = await service({ sessionAffinitySeconds: 60 });
    const first = await router.reserve({ tokens: prompt, sessionId: 's' });
    const other = first.workerId === 1n ? 2n : 1n;
    const another = prompt.map((id) => id + 1000);
    await router.apply([stored(other, 10, another)]);
    expect((await router.select({ tokens: another })).workerId).toBe(other);
    expect((await router.select({ tokens: another, sessionId: 's' })).workerId).toBe(first.workerId);
    expect((await router.explain({ tokens: another, sessionId: 's' })).reason).toBe('its session is bound to it');
  });

  it('applies pins, allowed workers and taints', async () => {
    const router = await service();
    await router.putWorker({ workerId: 3n, blockSize: BLOCK, taints: ['spot'] });
    await router.apply([stored(2n, 8)]);
    expect((await router.select({ tokens: prompt, pinned: { workerId: 1n } })).workerId).toBe(1n);
    expect((await router.select({ tokens: prompt, allowedWorkerIds: [1n] })).workerId).toBe(1n);
    expect((await router.select({ tokens: prompt, requiredTaints: ['spot'] })).workerId).toBe(3n);
    const { candidates } = await router.explain({ tokens: prompt, requiredTaints: ['spot'] });
    expect(candidates.map(({ workerId, excluded }) => [workerId, excluded]).sort()).toEqual([
      [1n, 'lacks a required taint'],
      [2n, 'lacks a required taint'],
      [3n, null],
    ]);
    await expect(router.select({ tokens: prompt, requiredTaints: ['gone'] })).rejects.toMatchObject({
      code: 'DYN_UNAVAILABLE',
    });
  });

  it('applies the override of a request', async () => {
    const router = await service({}, [1n]);
    await router.reserve({ tokens: prompt });
    const load = async (override: NonNullable<RoutingRequest['override']>) =>
      (await router.potentialLoads({ tokens: prompt, override }))[0];
    expect(await load({})).toMatchObject({ potentialPrefillTokens: 2 * prompt.length, potentialDecodeBlocks: 10 });
    expect(await load({ trackPrefillTokens: false })).toMatchObject({ potentialPrefillTokens: prompt.length });
    expect(await load({ assumeKvReuse: false })).toMatchObject({ potentialDecodeBlocks: 20 });
  });

  it('rejects invalid arguments, and names the field', async () => {
    const router = await service({}, []);
    await expect(router.select({ tokens: prompt })).rejects.toMatchObject({
      code: 'DYN_UNAVAILABLE',
      reason: 'router.not_ready',
    });
    await expect(router.apply([stored(1n, 2)])).rejects.toMatchObject({ code: 'DYN_NOT_FOUND' });
    await expect(router.removeWorker(9n)).rejects.toMatchObject({ code: 'DYN_NOT_FOUND' });
    await expect(router.select({ tokens: [] })).rejects.toThrow(/request\.tokens: expected at least one token/);
    await expect(SelectionService.create({ config: { router_temperature: -1 } })).rejects.toThrow(/router_temperature/);
    await expect(SelectionService.create({ config: { nothing: 1 } as never })).rejects.toThrow(
      /config\.nothing: unknown option/,
    );
    await expect(
      SelectionService.create({ config: { router_approximate_cache_policy: 'fifo' as never } }),
    ).rejects.toThrow(/config\.router_approximate_cache_policy: expected one of ttl, lru, got "fifo"/);
    await expect(SelectionService.create({ config: { router_approximate_cache_policy: 'lru' } })).rejects.toThrow(
      /router_approximate_cache_policy=lru requires use_kv_events=false/,
    );
    for (const role of ['prefill', 'decode'] as const) {
      await expect(
        SelectionService.create({ workerType: role, config: { [`router_${role}_policy`]: 'nobody' } }),
      ).rejects.toThrow(/nobody/);
    }
    await router.close();
    await router.close();
    await expect(router.select({ tokens: prompt })).rejects.toBeInstanceOf(ClosedError);
  });
});

describe('an explanation', () => {
  it('contains the terms of the winner, which add up to its cost', async () => {
    const router = await service();
    await router.apply([
      stored(1n, 2),
      stored(2n, 6),
      stored(2n, 8, prompt, 'host_pinned', 6),
      stored(2n, 9, prompt, 'disk', 8),
    ]);
    const explanation = await router.explain({ tokens: prompt });
    expect(explanation.winner).toEqual({ workerId: 2n, dpRank: 0 });
    const [best, next] = explanation.candidates;
    expect(best).toMatchObject({
      workerId: 2n,
      deviceBlocks: 6,
      hostBlocks: 2,
      diskBlocks: 1,
      overlapCredit: 6 + 2 * 0.75 + 0.25,
      prefill: 10 - 7.75,
      decode: 10,
    });
    expect(next).toMatchObject({ workerId: 1n, overlapCredit: 2, prefill: 8, cost: 18 });
    for (const one of explanation.candidates)
      expect(one.cost).toBeCloseTo((one.prefill + one.decode + one.requests) * one.taintMultiplier, 12);
    expect(explanation.reason).toMatch(/^the lowest cost, 12\.25 against 18: 7\.75 blocks of credit for its cache/);
    expect(formatExplanation(explanation)).toMatch(/→\s+2\/0/);
    expect((await router.potentialLoads({ tokens: prompt })).every(({ activeRequests }) => activeRequests === 0)).toBe(
      true,
    );
  });

  it('multiplies costs by the preferred and avoided taints', async () => {
    const router = await service({}, []);
    for (const [workerId, taints] of [
      [1n, []],
      [2n, ['spot']],
      [3n, ['spot', 'far']],
    ] as const)
      await router.putWorker({ workerId, blockSize: BLOCK, taints });
    const multipliers = async (preferredTaints: Record<string, number>) => {
      const { candidates, winner } = await router.explain({ tokens: prompt, preferredTaints });
      for (const one of candidates)
        expect(one.cost).toBeCloseTo((one.prefill + one.decode + one.requests) * one.taintMultiplier, 12);
      expect((await router.select({ tokens: prompt, preferredTaints })).workerId).toBe(winner.workerId);
      return {
        winner: winner.workerId,
        multipliers: new Map(candidates.map(({ workerId, taintMultiplier }) => [workerId, taintMultiplier])),
      };
    };
    const of = (weight: number): unknown => expect.closeTo(Math.exp(-Math.tanh(weight)), 6);
    expect(await multipliers({ far: 1 })).toEqual({
      winner: 3n,
      multipliers: new Map([
        [1n, 1],
        [2n, 1],
        [3n, of(1)],
      ]),
    });
    expect(await multipliers({ spot: 0.5, far: 0.75 })).toEqual({
      winner: 3n,
      multipliers: new Map([
        [1n, 1],
        [2n, of(0.5)],
        [3n, of(1.25)],
      ]),
    });
    expect(await multipliers({ spot: 0.5, far: -2 })).toEqual({
      winner: 2n,
      multipliers: new Map([
        [1n, 1],
        [2n, of(0.5)],
        [3n, of(-1.5)],
      ]),
    });
  });

  const configs: KvRouterConfig[] = [
    {},
    { overlap_score_credit: 0.5, prefill_load_scale: 2 },
    { overlap_score_credit_decay: 1.5, decode_active_request_weight: 3 },
    { overlap_score_credit: 0 },
    { router_track_prefill_tokens: false },
  ];

  it.each(['prefill', 'decode'] as const)(
    'has the chosen winner under random load, for workers that %s',
    async (workerType) => {
      const router = await service({ workerType, config: { router_temperature: 0 } }, [1n, 2n, 3n, 4n]);
      const random = randomNumbers(11);
      const below = (count: number): number => Math.floor(random() * count);
      let decided = 0;
      for (let round = 0; round < 40; round++) {
        const base = below(6) * 100_000;
        const tokens = Uint32Array.from({ length: (2 + below(12)) * BLOCK + below(BLOCK) }, (_, index) => base + index);
        if (below(2) === 0)
          await router.apply([stored(BigInt(1 + below(4)), 1 + below(Math.floor(tokens.length / BLOCK)), tokens)]);
        const { candidates, winner } = await router.explain({ tokens });
        const [best, next] = candidates as [(typeof candidates)[0], (typeof candidates)[0]];
        if (next.cost - best.cost > 1e-9) {
          expect(winner.workerId).toBe(best.workerId);
          expect((await router.select({ tokens })).workerId).toBe(winner.workerId);
          decided += 1;
        }
        const { id } = await router.reserve({ tokens });
        if (below(3) === 0) await router.prefillCompleted(id);
        if (below(3) === 0) await router.free(id);
      }
      expect(decided).toBeGreaterThan(10);
    },
  );

  it.each(configs)('has the winner of the crates’ policy as cheapest under random load, with %o', async (config) => {
    const router = await service({ config: { ...config, router_temperature: 0 } }, [1n, 2n, 3n, 4n]);
    let seed = 7;
    const random = (below: number): number => (seed = (seed * 1103515245 + 12345) % 2 ** 31) % below;
    let decided = 0;
    for (let round = 0; round < 40; round++) {
      const base = random(6) * 100_000;
      const tokens = Uint32Array.from({ length: (2 + random(12)) * BLOCK + random(BLOCK) }, (_, index) => base + index);
      if (random(2) === 0)
        await router.apply([stored(BigInt(1 + random(4)), 1 + random(Math.floor(tokens.length / BLOCK)), tokens)]);
      const { candidates, winner } = await router.explain({ tokens });
      const [best, next] = candidates as [(typeof candidates)[0], (typeof candidates)[0]];
      if (next.cost - best.cost > 1e-9) {
        expect(
          winner,
          JSON.stringify(candidates, (_, value) => (typeof value === 'bigint' ? String(value) : value)),
        ).toEqual({ workerId: best.workerId, dpRank: best.dpRank });
        decided += 1;
      }
      const { id, workerId } = await router.reserve({ tokens });
      if (next.cost - best.cost > 1e-9) expect(workerId, 'the choice of the router').toBe(winner.workerId);
      if (random(3) === 0) await router.prefillCompleted(id);
      if (random(3) === 0) await router.free(id);
    }
    expect(decided).toBeGreaterThan(10);
  });
});

describe('a routing policy in TypeScript', () => {
  const scored: RoutingBatch[] = [];
  const prefers = (wanted: bigint): RoutingPolicy => ({
    timeoutMs: 1000,
    score: (batch) => {
      scored.push(batch);
      return Array.from(batch.workerIds, (id) => (id === wanted ? 0 : 1));
    },
  });

  it('decides with a snapshot that contains the default costs', async () => {
    const router = await service({ policy: prefers(1n) });
    await router.apply([stored(2n, 8)]);
    expect((await router.select({ tokens: prompt, expectedOutputTokens: 9, sessionId: 's' })).workerId).toBe(1n);
    const batch = scored.at(-1) as RoutingBatch;
    expect(batch).toMatchObject({
      length: 2,
      promptTokens: 160,
      promptBlocks: 10,
      blockSize: BLOCK,
      workerType: 'aggregated',
      sessionId: 's',
      expectedOutputTokens: 9,
    });
    const row = batch.workerIds.indexOf(2n);
    expect(batch.deviceBlocks[row]).toBe(8);
    expect(batch.costs[row]).toBe(2 + 10);
    expect(batch.costs[1 - row]).toBe(20);
    expect(router.policyCounts).toEqual({ scored: 1, timedOut: 0, failed: 0 });
    expect((await router.explain({ tokens: prompt })).reason).toMatch(/routing policy/);
  });

  it('receives the taint multipliers of the request', async () => {
    const router = await service({ policy: prefers(1n) });
    await router.putWorker({ workerId: 3n, blockSize: BLOCK, taints: ['spot'] });
    expect((await router.select({ tokens: prompt, preferredTaints: { spot: 0.5 } })).workerId).toBe(1n);
    const { workerIds, taintMultipliers, costs } = scored.at(-1) as RoutingBatch;
    for (const [row, id] of workerIds.entries()) {
      expect(taintMultipliers[row]).toBeCloseTo(id === 3n ? Math.exp(-Math.tanh(0.5)) : 1, 6);
      expect(costs[row]).toBeCloseTo(20 * (taintMultipliers[row] as number), 9);
    }
  });

  it('may answer asynchronously within its timeout', async () => {
    const router = await service({
      policy: { timeoutMs: 1000, score: async ({ workerIds }) => Array.from(workerIds, (id) => Number(-id)) },
    });
    expect((await router.select({ tokens: prompt })).workerId).toBe(2n);
    expect(router.policyCounts).toEqual({ scored: 1, timedOut: 0, failed: 0 });
  });

  it.each<[string, RoutingPolicy['score']]>([
    [
      'throws',
      () => {
        throw new Error('no');
      },
    ],
    ['returns too few costs', () => [1]],
    ['returns a cost that is not finite', ({ costs }) => costs.map(() => Number.NaN)],
  ])('that %s falls back to the default costs, and is counted', async (_, score) => {
    const router = await service({ policy: { timeoutMs: 1000, score } });
    await router.apply([stored(2n, 8)]);
    expect((await router.select({ tokens: prompt })).workerId).toBe(2n);
    expect(router.policyCounts).toEqual({ scored: 0, timedOut: 0, failed: 1 });
  });

  it('that blocks for a second delays a request only by its timeout', async () => {
    const busy = { next: false, until: 0 };
    const router = await service({
      policy: {
        timeoutMs: 2,
        score: ({ costs }) => {
          if (busy.next) busy.until = performance.now() + 1000;
          busy.next = false;
          while (performance.now() < busy.until);
          return costs;
        },
      },
    });
    await router.apply([stored(2n, 8)]);
    await router.select({ tokens: prompt });
    const before = router.policyCounts as NonNullable<typeof router.policyCounts>;
    busy.next = true;
    const turns = [performance.now()];
    const timer = setInterval(() => turns.push(performance.now()), 1);
    closing.push(async () => clearInterval(timer));
    expect((await router.select({ tokens: prompt })).workerId).toBe(2n);
    await waitFor(
      'the counts',
      () => router.policyCounts,
      (counts) => (counts?.timedOut ?? 0) > before.timedOut,
    );
    await waitFor(
      'the scorer',
      () => busy.until,
      (until) => until > 0,
    );
    expect(performance.now()).toBeGreaterThanOrEqual(busy.until);
    expect((await router.select({ tokens: prompt })).workerId).toBe(2n);
    await waitFor(
      'a turn',
      () => turns.at(-1) as number,
      (at) => at >= busy.until,
    );
    // Only the scorer blocked the event loop, once. The crates had stopped waiting long before.
    expect(turns.filter((at, index) => at - (turns[index - 1] ?? at) > 900)).toHaveLength(1);
  });

  it('that answers after a second delays requests only by its timeout, 2 ms by default', async () => {
    const router = await service({ policy: { score: ({ costs }) => delay(1000, costs) } });
    await router.apply([stored(2n, 8)]);
    let turns = 0;
    const timer = setInterval(() => void (turns += 1), 1);
    closing.push(async () => clearInterval(timer));
    const times: number[] = [];
    const requests = 15;
    for (let request = 0; request < requests; request++) {
      const began = performance.now();
      expect((await router.select({ tokens: prompt })).workerId).toBe(2n);
      times.push(performance.now() - began);
    }
    expect(times.sort((one, other) => one - other)[Math.floor(requests / 2)]).toBeLessThan(500);
    expect(turns).toBeGreaterThan(requests / 2);
    expect(router.policyCounts).toEqual({ scored: 0, timedOut: requests, failed: 0 });
  });

  it('rejects invalid timeouts', async () => {
    await expect(SelectionService.create({ policy: { score: () => [], timeoutMs: 0 } })).rejects.toThrow(
      /policy\.timeoutMs/,
    );
    await expect(SelectionService.create({ policy: {} as never })).rejects.toThrow(
      /policy\.score: expected a function/,
    );
  });
});

describe('two services that are peers', () => {
  it('count each other’s requests', async () => {
    const ports = [await freePort(), await freePort()] as const;
    const [one, two] = (await Promise.all(
      ports.map((port, index) => service({ replica: { port, peers: [`tcp://127.0.0.1:${ports[1 - index]}`] } })),
    )) as [SelectionService, SelectionService];
    const loads = async (router: SelectionService) =>
      (await router.potentialLoads({ tokens: prompt })).reduce((sum, { activeRequests }) => sum + activeRequests, 0);
    const ids: string[] = [];
    // A replica receives only what is routed after it has connected.
    await waitFor('the other’s requests', async () => {
      ids.push((await one.reserve({ tokens: prompt })).id);
      return loads(two);
    });
    for (const id of ids) await one.free(id);
    await waitFor(
      'no load',
      () => loads(two),
      (sum) => sum === 0,
    );
  });
});

describe('a selection service', () => {
  it('copies the index of another', async () => {
    const one = await service();
    await one.apply([stored(1n, 3), stored(2n, 8)]);
    const snapshot = JSON.stringify(await one.snapshot(), (_, value: unknown) =>
      typeof value === 'bigint' ? `#${value}#` : value,
    ).replace(/"#(\d+)#"/g, '$1');
    const server = createServer((request, response) => {
      response.writeHead(request.url === '/dump' ? 200 : 404, { 'content-type': 'application/json' }).end(snapshot);
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    closing.push(() => new Promise((resolve) => server.close(resolve)));
    const { port } = server.address() as { port: number };
    const two = await service({ indexerPeers: [`http://127.0.0.1:${port}`] });
    expect(await two.select({ tokens: prompt })).toMatchObject({ workerId: 2n, cachedTokens: 8 * BLOCK });
  });

  it('throws DynamoErrors', async () => {
    const router = await service({}, [1n]);
    const failed = await router
      .reserve({ tokens: prompt, id: 'same' })
      .then(() => router.reserve({ tokens: prompt, id: 'same' }))
      .catch((error: unknown) => error);
    expect(DynamoError.is(failed)).toBe(true);
    expect(failed).toMatchObject({ code: 'DYN_CONFLICT', operation: 'selectionService.reserve' });
  });
});
