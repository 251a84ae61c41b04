import {
  ClosedError,
  computeBlockHashes,
  computeSequenceHashes,
  type DistributedRuntime,
  KvPublisher,
  KvRouter,
  type KvRouterOptions,
  type RoutingRequest,
  type ServedEngine,
  updateModelTaints,
  WorkerMetricsPublisher,
} from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';
import { BLOCK_SIZE } from '../../helpers/llm/caching-engine.js';
import { type Deployment, deployments } from '../../helpers/llm/deployments.js';
import { CountingEngine } from '../../helpers/llm/engines.js';
import { waitForConnection } from '../../helpers/router/prompts.js';
import { waitFor } from '../../helpers/wait.js';

const PATH = 'test.backend.generate';
const prompt = Uint32Array.from({ length: 10 * BLOCK_SIZE }, (_, index) => index);
const tokensHashes = computeBlockHashes(prompt, BLOCK_SIZE);
const names = computeSequenceHashes(tokensHashes);

const deploy = deployments();

interface Worker {
  readonly id: bigint;
  readonly runtime: DistributedRuntime;
  readonly worker: ServedEngine;
  readonly publisher: KvPublisher;
}

/** Has two data-parallel ranks. */
class RankedEngine extends CountingEngine {
  override start() {
    const config = super.start();
    return { ...config, llm: { ...config.llm, dataParallelSize: 2 } };
  }
}

async function worker(deployment: Deployment): Promise<Worker> {
  const { worker, runtime } = await deployment.serve(new CountingEngine('counting'));
  const publisher = await KvPublisher.create(runtime.endpoint(PATH), { blockSize: BLOCK_SIZE });
  onTestFinished(() => publisher.close());
  return { id: runtime.instanceId, runtime, worker, publisher };
}

async function router(deployment: Deployment, options: Partial<KvRouterOptions> = {}): Promise<KvRouter> {
  const runtime = await deployment.runtime();
  const made = await KvRouter.create(runtime.endpoint(PATH), { blockSize: BLOCK_SIZE, ...options });
  onTestFinished(() => made.close());
  return made;
}

const overlaps = async (of: KvRouter) =>
  Object.fromEntries(
    (await of.overlapScores({ tokens: prompt })).map(({ workerId, deviceBlocks }) => [String(workerId), deviceBlocks]),
  );

/** A router misses events before its connection, so `publish` is called until the overlaps are as expected. */
const waitForOverlaps = (of: KvRouter, wanted: Record<string, number>, publish = () => {}) =>
  waitFor(
    `overlaps ${JSON.stringify(wanted)}`,
    () => (publish(), overlaps(of)),
    (seen) => JSON.stringify(Object.entries(seen).sort()) === JSON.stringify(Object.entries(wanted).sort()),
    30_000,
  );

describe('KvRouter', () => {
  it('sends a request to the worker that published its prefix', async () => {
    const deployment = deploy();
    const [one, two] = [await worker(deployment), await worker(deployment)];
    const kv = await router(deployment);
    await waitForOverlaps(kv, { [String(one.id)]: 0, [String(two.id)]: 0 });
    await waitForConnection(kv, two.publisher, two.id);
    // Published only once, so that one removal is enough.
    two.publisher.stored(names.subarray(0, 6), tokensHashes.subarray(0, 6));
    two.publisher.stored(names.subarray(6, 8), tokensHashes.subarray(6, 8), {
      parentHash: names[5] as bigint,
      startPosition: 6,
    });
    await waitForOverlaps(kv, { [String(one.id)]: 0, [String(two.id)]: 8 });
    expect(await kv.select({ tokens: prompt })).toMatchObject({
      workerId: two.id,
      dpRank: 0,
      cachedTokens: 8 * BLOCK_SIZE,
    });

    const explanation = await kv.explain({ tokens: prompt });
    expect(explanation.winner).toEqual({ workerId: two.id, dpRank: 0 });
    expect(explanation.candidates.map(({ workerId, overlapCredit }) => [workerId, overlapCredit])).toEqual([
      [two.id, 8],
      [one.id, 0],
    ]);
    expect(explanation.reason).toMatch(/8 blocks of credit for its cache \(against 0\)/);

    two.publisher.removed(names.subarray(4, 8));
    await waitForOverlaps(kv, { [String(one.id)]: 0, [String(two.id)]: 4 });
    expect((await kv.dump()).every(({ workerId }) => workerId === two.id)).toBe(true);
    two.publisher.cleared();
    await waitForOverlaps(kv, { [String(one.id)]: 0, [String(two.id)]: 0 });
  });

  it('tracks the load of reserved requests', async () => {
    const deployment = deploy();
    const [one, two] = [await worker(deployment), await worker(deployment)];
    const kv = await router(deployment);
    await waitForOverlaps(kv, { [String(one.id)]: 0, [String(two.id)]: 0 });
    const first = await kv.reserve({ tokens: prompt });
    const second = await kv.reserve({ tokens: prompt.map((id) => id + 1000), id: 'mine' });
    expect(new Set([first.workerId, second.workerId])).toEqual(new Set([one.id, two.id]));
    expect(second.id).toBe('mine');
    await kv.prefillCompleted('mine');
    await kv.free('mine');
    await kv.free(first.id);
    await waitFor(
      'no load',
      () => kv.potentialLoads({ tokens: prompt }),
      (loads) => loads.every(({ activeRequests }) => activeRequests === 0),
    );
    expect((await kv.select({ tokens: prompt, pinned: { workerId: one.id } })).workerId).toBe(one.id);
    expect((await kv.select({ tokens: prompt, allowedWorkerIds: [two.id] })).workerId).toBe(two.id);
  });

  it('makes the choices that were asked for before its close', async () => {
    const deployment = deploy();
    const one = await worker(deployment);
    const kv = await router(deployment);
    await waitForOverlaps(kv, { [String(one.id)]: 0 });
    const [single, closed] = [kv.reserve({ tokens: prompt }), kv.close()];
    expect((await single).workerId).toBe(one.id);
    await closed;
    const other = await router(deployment);
    await waitForOverlaps(other, { [String(one.id)]: 0 });
    const several = [other.select({ tokens: prompt }), other.reserve({ tokens: prompt })];
    const closing = other.close();
    const late = expect(other.select({ tokens: prompt })).rejects.toThrow(ClosedError);
    expect((await Promise.all(several)).map(({ workerId }) => workerId)).toEqual([one.id, one.id]);
    await late;
    await closing;
  });

  it('recovers events that were published before its start', async () => {
    const deployment = deploy();
    const one = await worker(deployment);
    one.publisher.stored(names, tokensHashes);
    for (const kv of [await router(deployment), await router(deployment)]) {
      await waitForConnection(kv, one.publisher, one.id);
      await waitForOverlaps(kv, { [String(one.id)]: 10 });
    }
  });

  it('drops the blocks of a worker or publisher that has left', async () => {
    const deployment = deploy();
    const [one, two] = [await worker(deployment), await worker(deployment)];
    const kv = await router(deployment);
    await waitForOverlaps(kv, { [String(one.id)]: 10, [String(two.id)]: 3 }, () => {
      one.publisher.stored(names, tokensHashes);
      two.publisher.stored(names.subarray(0, 3), tokensHashes.subarray(0, 3));
    });
    await one.worker.close();
    await one.publisher.close();
    await one.runtime.close({ timeoutMs: 1000 });
    await waitForOverlaps(kv, { [String(two.id)]: 3 });
    expect((await kv.select({ tokens: prompt })).workerId).toBe(two.id);
    expect((await kv.dump()).some(({ workerId }) => workerId === one.id)).toBe(false);
    await two.publisher.close();
    await waitForOverlaps(kv, { [String(two.id)]: 0 });
    const again = await KvPublisher.create(two.runtime.endpoint(PATH), { blockSize: BLOCK_SIZE });
    onTestFinished(() => again.close());
    await waitForOverlaps(kv, { [String(two.id)]: 5 }, () =>
      again.stored(names.subarray(0, 5), tokensHashes.subarray(0, 5)),
    );
  });

  it('receives the requests of another router', async () => {
    const deployment = deploy();
    await worker(deployment);
    const config = { router_replica_sync: true };
    const [one, two] = [await router(deployment, { config }), await router(deployment, { config })];
    const active = async (of: KvRouter) =>
      (await of.potentialLoads({ tokens: prompt })).reduce((sum, { activeRequests }) => sum + activeRequests, 0);
    const ids: string[] = [];
    // A replica receives only what is routed after it has found the other.
    await waitFor('the other’s requests', async () => {
      ids.push((await one.reserve({ tokens: prompt })).id);
      return active(two);
    });
    for (const id of ids) await one.free(id);
    await waitFor(
      'no load',
      () => active(two),
      (sum) => sum === 0,
    );
  });

  it('applies required and preferred taints from model cards', async () => {
    const deployment = deploy();
    const [one, two, three] = [await worker(deployment), await worker(deployment), await worker(deployment)];
    const kv = await router(deployment);
    await updateModelTaints(two.runtime.endpoint(PATH), ['gold']);
    await updateModelTaints(three.runtime.endpoint(PATH), ['spot']);
    const gold = { tokens: prompt, requiredTaints: ['gold'] };
    const excluded = async () =>
      new Map(
        (await kv.explain({ ...gold, allowedWorkerIds: [two.id, three.id] }).catch(() => undefined))?.candidates.map(
          (each) => [each.workerId, each.excluded],
        ),
      );
    await waitFor('the taint', excluded, (seen) => seen.size === 3 && seen.get(two.id) === null);
    expect(await excluded()).toEqual(
      new Map([
        [one.id, 'not allowed by the request'],
        [two.id, null],
        [three.id, 'lacks a required taint'],
      ]),
    );
    expect((await kv.explain(gold)).reason).toBe('it is the only eligible worker');
    const chosen = (request: RoutingRequest) =>
      kv.select(request).then(
        ({ workerId }) => workerId,
        () => undefined,
      );
    // The load tracker reads the card separately.
    await waitFor(
      'the taint in the load tracker',
      () => chosen(gold),
      (id) => id === two.id,
    );
    for (let round = 0; round < 5; round++) expect(await chosen(gold)).toBe(two.id);

    const preferring = async () => {
      const { candidates, winner } = await kv.explain({ tokens: prompt, preferredTaints: { spot: 0.5, gold: -0.5 } });
      return {
        winner: winner.workerId,
        multipliers: new Map(candidates.map(({ workerId, taintMultiplier }) => [workerId, taintMultiplier])),
      };
    };
    await waitFor('the other taint', preferring, ({ winner }) => winner === three.id);
    const of = (weight: number): unknown => expect.closeTo(Math.exp(-Math.tanh(weight)), 6);
    expect((await preferring()).multipliers).toEqual(
      new Map([
        [one.id, 1],
        [two.id, of(-0.5)],
        [three.id, of(0.5)],
      ]),
    );
    await waitFor(
      'the other taint in the load tracker',
      () => chosen({ tokens: prompt, requiredTaints: ['spot'] }),
      (id) => id === three.id,
    );
    for (let round = 0; round < 5; round++)
      expect(await chosen({ tokens: prompt, preferredTaints: { spot: 0.5 } })).toBe(three.id);
  });

  it('explains a request of an adapter by the blocks of that adapter', async () => {
    const deployment = deploy();
    const [one, two] = [await worker(deployment), await worker(deployment)];
    const kv = await router(deployment);
    const poet = computeBlockHashes(prompt, BLOCK_SIZE, { loraName: 'poet' });
    await waitForOverlaps(kv, { [String(one.id)]: 10, [String(two.id)]: 0 }, () =>
      one.publisher.stored(names, tokensHashes),
    );
    const explained = async () => {
      const { candidates, winner } = await kv.explain({ tokens: prompt, loraName: 'poet' });
      return {
        winner: winner.workerId,
        blocks: new Map(candidates.map(({ workerId, deviceBlocks }) => [workerId, deviceBlocks])),
      };
    };
    await waitFor(
      'the blocks of the adapter',
      () => (two.publisher.stored(computeSequenceHashes(poet), poet), explained()),
      ({ blocks }) => blocks.get(two.id) === 10,
    );
    expect(await explained()).toEqual({
      winner: two.id,
      blocks: new Map([
        [one.id, 0],
        [two.id, 10],
      ]),
    });
    expect((await kv.select({ tokens: prompt, loraName: 'poet' })).workerId).toBe(two.id);
    expect((await kv.explain({ tokens: prompt })).winner.workerId).toBe(one.id);
    expect((await kv.potentialLoads({ tokens: prompt })).every(({ activeRequests }) => activeRequests === 0)).toBe(
      true,
    );
  });

  it('draws among equal costs of a policy, and picks the lowest cost in any order', async () => {
    const deployment = deploy();
    const three = [await worker(deployment), await worker(deployment), await worker(deployment)].map(({ id }) => id);
    const [, second, third] = three;
    const scores = new Map<bigint, number>();
    const policy = {
      timeoutMs: 1000,
      score: ({ workerIds }: { workerIds: BigUint64Array }) => Array.from(workerIds, (id) => scores.get(id) ?? 1),
    };
    const kv = await router(deployment, { policy });
    await waitForOverlaps(kv, Object.fromEntries(three.map((id) => [String(id), 0])));
    const chosen = async () =>
      new Set(
        await Promise.all(Array.from({ length: 100 }, async () => (await kv.select({ tokens: prompt })).workerId)),
      );
    scores.set(third as bigint, 2);
    expect(await chosen()).toEqual(new Set(three.slice(0, 2)));
    scores.set(second as bigint, -1);
    expect(await chosen()).toEqual(new Set([second]));
  });

  it('uses a policy and reports its counts as metrics', async () => {
    const deployment = deploy();
    const [one, two] = [await worker(deployment), await worker(deployment)];
    const runtime = await deployment.runtime();
    const policy = {
      timeoutMs: 1000,
      score: ({ workerIds }: { workerIds: BigUint64Array }) => Array.from(workerIds, (id) => (id === one.id ? 0 : 1)),
    };
    const kv = await KvRouter.create(runtime.endpoint(PATH), { blockSize: BLOCK_SIZE, policy });
    onTestFinished(() => kv.close());
    await waitForOverlaps(kv, { [String(one.id)]: 0, [String(two.id)]: 10 }, () =>
      two.publisher.stored(names, tokensHashes),
    );
    expect((await kv.select({ tokens: prompt })).workerId).toBe(one.id);
    expect(kv.policyCounts).toMatchObject({ scored: 1, failed: 0, timedOut: 0 });
    expect(runtime.metricsText()).toMatch(/router_policy_requests_total\{[^}]*outcome="scored"[^}]*\} 1/);
    expect(runtime.metricsText()).toMatch(/router_policy_requests_total\{[^}]*outcome="timed_out"[^}]*\} 0/);
  });

  it('falls back to the default costs if the policy throws, and counts it', async () => {
    const deployment = deploy();
    const [one, two] = [await worker(deployment), await worker(deployment)];
    const runtime = await deployment.runtime();
    const score = (): number[] => {
      throw new Error('no score today');
    };
    const kv = await KvRouter.create(runtime.endpoint(PATH), {
      blockSize: BLOCK_SIZE,
      policy: { timeoutMs: 1000, score },
    });
    onTestFinished(() => kv.close());
    await waitForOverlaps(kv, { [String(one.id)]: 0, [String(two.id)]: 10 }, () =>
      two.publisher.stored(names, tokensHashes),
    );
    for (let round = 0; round < 3; round++) expect((await kv.select({ tokens: prompt })).workerId).toBe(two.id);
    expect(kv.policyCounts).toMatchObject({ scored: 0, failed: 3, timedOut: 0 });
    expect(runtime.metricsText()).toMatch(/router_policy_requests_total\{[^}]*outcome="failed"[^}]*\} 3/);
  });

  it('rejects calls after close with ClosedError', async () => {
    const deployment = deploy();
    await worker(deployment);
    const kv = await router(deployment);
    await kv.close();
    await kv.close();
    await expect(kv.select({ tokens: prompt })).rejects.toBeInstanceOf(ClosedError);
    await expect(kv.dump()).rejects.toBeInstanceOf(ClosedError);
  });
});

describe('a publisher', () => {
  it('publishes the events of its rank', async () => {
    const deployment = deploy();
    const { runtime } = await deployment.serve(new RankedEngine('counting'));
    const publishers = [0, 1].map((dpRank) =>
      KvPublisher.create(runtime.endpoint(PATH), { blockSize: BLOCK_SIZE, dpRank }),
    );
    const [first, second] = (await Promise.all(publishers)) as [KvPublisher, KvPublisher];
    for (const publisher of [first, second]) onTestFinished(() => publisher.close());
    const kv = await router(deployment);
    const blocks = async () =>
      (await kv.overlapScores({ tokens: prompt }))
        .map(({ dpRank, deviceBlocks }) => [dpRank, deviceBlocks])
        .sort()
        .join(' ');
    const stored = (of: KvPublisher, count: number) =>
      of.stored(names.subarray(0, count), tokensHashes.subarray(0, count));
    await waitFor(
      'the blocks of each rank',
      () => (stored(first, 3), stored(second, 7), blocks()),
      (seen) => seen === '0,3 1,7',
    );
    expect(await kv.select({ tokens: prompt })).toMatchObject({
      workerId: runtime.instanceId,
      dpRank: 1,
      cachedTokens: 7 * BLOCK_SIZE,
    });
    second.cleared();
    await waitFor('the end of one rank’s', blocks, (seen) => seen === '0,3 1,0');
    expect((await kv.select({ tokens: prompt })).dpRank).toBe(0);
  });

  it('publishes the blocks of the worker in workerId', async () => {
    const deployment = deploy();
    const [{ runtime: one }, { runtime: two }] = [
      await deployment.serve(new CountingEngine('counting')),
      await deployment.serve(new CountingEngine('counting')),
    ];
    const publisher = await KvPublisher.create((await deployment.runtime()).endpoint(PATH), {
      blockSize: BLOCK_SIZE,
      workerId: two.instanceId,
    });
    onTestFinished(() => publisher.close());
    const kv = await router(deployment);
    await waitForOverlaps(kv, { [String(one.instanceId)]: 0, [String(two.instanceId)]: 10 }, () =>
      publisher.stored(names, tokensHashes),
    );
    expect((await kv.select({ tokens: prompt })).workerId).toBe(two.instanceId);
  });

  it('rejects invalid arguments, and calls after close', async () => {
    const deployment = deploy();
    const runtime = await deployment.runtime();
    const endpoint = runtime.endpoint(PATH);
    await expect(KvPublisher.create(endpoint, { blockSize: 0 })).rejects.toThrow(
      /KvPublisher\.create options\.blockSize/,
    );
    await expect(KvPublisher.create(endpoint, { blockSize: 16, zmq: { topic: 'x' } as never })).rejects.toThrow(
      /zmq\.endpoint/,
    );
    const publisher = await KvPublisher.create(endpoint, { blockSize: 16 });
    expect(() => publisher.stored([1n], [])).toThrow(/tokensHashes: expected 1 hashes/);
    await publisher.close();
    await publisher.close();
    expect(() => publisher.cleared()).toThrow(ClosedError);
  });

  it('of load publishes on the event plane', async () => {
    const deployment = deploy();
    const runtime = await deployment.runtime();
    const endpoint = runtime.endpoint(PATH);
    await using events = await endpoint.subscribe<Record<string, unknown>>('kv_metrics');
    const publisher = await WorkerMetricsPublisher.create(endpoint);
    let sent = 0;
    const first = events.next();
    // A subscriber receives only what is published after it has found the publisher.
    const timer = setInterval(() => publisher.publish({ activeDecodeBlocks: ++sent, kvUsedBlocks: 7 }), 20);
    onTestFinished(() => clearInterval(timer));
    const { data } = (await first).value;
    expect(data).toMatchObject({ dp_rank: 0, kv_used_blocks: 7 });
    expect(BigInt(data['worker_id'] as number | bigint)).toBe(runtime.instanceId);
    expect(() => publisher.publish({})).toThrow(/expected activeDecodeBlocks or kvUsedBlocks/);
    clearInterval(timer);
    await publisher.close();
    expect(() => publisher.publish({ kvUsedBlocks: 1 })).toThrow(ClosedError);
  });
});
