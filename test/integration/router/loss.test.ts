import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { KvPublisher, type KvPublisherOptions, KvRouter } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';
import { BLOCK_SIZE } from '../../helpers/llm/caching-engine.js';
import { type Deployment, deployments } from '../../helpers/llm/deployments.js';
import { CountingEngine } from '../../helpers/llm/engines.js';
import { CANARY_BLOCKS, promptOf, waitForConnection } from '../../helpers/router/prompts.js';
import { Wire } from '../../helpers/runtime/wire.js';
import { waitFor } from '../../helpers/wait.js';

const PATH = 'test.backend.generate';
/** Events that a local indexer keeps. If more are lost, it sends its whole index. */
const RING = 1024;

const deploy = deployments();

async function publisherOf(deployment: Deployment, options: Partial<KvPublisherOptions> = {}) {
  const { runtime, worker } = await deployment.serve(new CountingEngine('counting'));
  const publisher = await KvPublisher.create(runtime.endpoint(PATH), { blockSize: BLOCK_SIZE, ...options });
  onTestFinished(() => publisher.close());
  return { runtime, worker, publisher, id: String(runtime.instanceId) };
}

async function routerOf(deployment: Deployment): Promise<KvRouter> {
  const runtime = await deployment.runtime();
  const router = await KvRouter.create(runtime.endpoint(PATH), { blockSize: BLOCK_SIZE });
  onTestFinished(() => router.close());
  return router;
}

/** The blocks of a prompt's beginning that each worker has in a router's index. */
const overlapsOf = async (router: KvRouter, seed: number): Promise<Record<string, number>> =>
  Object.fromEntries(
    (await router.overlapScores({ tokens: promptOf(seed).tokens })).map(({ workerId, deviceBlocks }) => [
      String(workerId),
      deviceBlocks,
    ]),
  );

const waitForOverlaps = (router: KvRouter, seed: number, wanted: Record<string, number>, publish = () => {}) =>
  waitFor(
    `the overlaps of prompt ${seed}`,
    () => (publish(), overlapsOf(router, seed)),
    (seen) => JSON.stringify(Object.entries(seen).sort()) === JSON.stringify(Object.entries(wanted).sort()),
    30_000,
  );

/** Puts a proxy in front of the publisher of cache events. Later subscribers find the proxy by discovery. */
async function proxied(deployment: Deployment): Promise<Wire> {
  const { dir } = deployment.options.discovery as { dir: string };
  const folder = join(dir, 'v1', 'event_channels');
  // A file has another name until it is complete.
  const channels = () =>
    (existsSync(folder) ? readdirSync(folder) : [])
      .filter((name) => decodeURIComponent(name).includes('kv-events'))
      .map((name) => join(folder, name));
  const [path, ...others] = await waitFor('the channel of cache events', channels, ({ length }) => length > 0);
  expect(others).toEqual([]);
  const channel = readFileSync(path as string, 'utf8');
  const wire = await Wire.to(Number(/tcp:\/\/[^:"]+:(\d+)/.exec(channel)?.[1]));
  onTestFinished(() => wire.close());
  writeFileSync(path as string, channel.replace(/(tcp:\/\/[^:"]+):\d+/, `$1:${wire.port}`));
  return wire;
}

describe('events that are lost between publisher and router', () => {
  it.each([
    ['are replayed', 20],
    ['are recovered from the whole index if there are too many', RING + 200],
  ])(
    '%s',
    async (_, lost) => {
      const deployment = deploy();
      const { publisher, id } = await publisherOf(deployment);
      const wire = await proxied(deployment);
      const router = await routerOf(deployment);
      const store = (seed: number) => publisher.stored(promptOf(seed).blockHashes, promptOf(seed).tokensHashes);
      await waitForConnection(router, publisher, id);
      store(1);
      store(2);
      await waitForOverlaps(router, 2, { [id]: 4 });

      wire.cut();
      for (let seed = 10; seed < 10 + lost; seed++) store(seed);
      publisher.removed(promptOf(2).blockHashes.subarray(1));
      // The publisher's task publishes them later. Another router then has them from its index, without the proxy.
      const aside = await routerOf(deployment);
      await waitForOverlaps(aside, 2, { [id]: 1 });
      await aside.close();
      wire.mend();
      await waitFor('the router’s next connection', () => wire.received);
      expect([await overlapsOf(router, 1), await overlapsOf(router, 2), await overlapsOf(router, 10)]).toEqual([
        { [id]: 4 },
        { [id]: 4 },
        { [id]: 0 },
      ]);

      // The next event reveals the gap. An event before the router has subscribed again is lost too.
      await waitForOverlaps(router, 10, { [id]: 4 }, () => store(3));
      await waitForOverlaps(router, 9 + lost, { [id]: 4 });
      await waitForOverlaps(router, 2, { [id]: 1 });
      await waitForOverlaps(router, 1, { [id]: 4 });
      const names = new Set(
        (await router.dump()).flatMap((event) => (event.kind === 'stored' ? [...event.blockHashes] : [])),
      );
      const wanted = [1, 3, ...Array.from({ length: lost }, (_, index) => 10 + index)].flatMap((seed) => [
        ...promptOf(seed).blockHashes,
      ]);
      expect(names).toEqual(new Set([...wanted, ...CANARY_BLOCKS, promptOf(2).blockHashes[0]]));
    },
    120_000,
  );

  it('stay lost without a local indexer, and the router drops the rank', async () => {
    const deployment = deploy();
    const { publisher, id } = await publisherOf(deployment, { localIndexer: false });
    const direct = await routerOf(deployment);
    await waitForConnection(direct, publisher, id);
    const wire = await proxied(deployment);
    const router = await routerOf(deployment);
    const store = (seed: number) => publisher.stored(promptOf(seed).blockHashes, promptOf(seed).tokensHashes);
    await waitForOverlaps(router, 1, { [id]: 4 }, () => store(1));
    wire.cut();
    publisher.removed(promptOf(1).blockHashes);
    store(10);
    await waitForOverlaps(direct, 10, { [id]: 4 });
    wire.mend();
    // The router drops a rank with a gap that cannot be filled, because its blocks may be gone.
    await waitForOverlaps(router, 3, { [id]: 4 }, () => store(3));
    expect([await overlapsOf(router, 1), await overlapsOf(router, 10)]).toEqual([{ [id]: 0 }, { [id]: 0 }]);
  }, 120_000);
});

describe('a restart', () => {
  it('of a publisher drops the old blocks and applies the new events from the first one', async () => {
    const deployment = deploy();
    const { runtime, publisher, id } = await publisherOf(deployment);
    const router = await routerOf(deployment);
    await waitForConnection(router, publisher, id);
    for (let seed = 1; seed <= 5; seed++) publisher.stored(promptOf(seed).blockHashes, promptOf(seed).tokensHashes);
    await waitForOverlaps(router, 5, { [id]: 4 });
    await publisher.close();
    await waitForOverlaps(router, 5, { [id]: 0 });
    // Its event ids begin again.
    const second = await KvPublisher.create(runtime.endpoint(PATH), { blockSize: BLOCK_SIZE });
    onTestFinished(() => second.close());
    await waitForOverlaps(router, 5, { [id]: 2 }, () =>
      second.stored(promptOf(5).blockHashes.subarray(0, 2), promptOf(5).tokensHashes.subarray(0, 2)),
    );
    expect(await overlapsOf(router, 1)).toEqual({ [id]: 0 });
  }, 120_000);

  it('of a router recovers the current blocks from the workers', async () => {
    const deployment = deploy();
    const [one, two] = [await publisherOf(deployment), await publisherOf(deployment)];
    const first = await routerOf(deployment);
    for (const { publisher, id } of [one, two]) await waitForConnection(first, publisher, id);
    for (let seed = 1; seed <= RING + 100; seed++)
      one.publisher.stored(promptOf(seed).blockHashes, promptOf(seed).tokensHashes);
    two.publisher.stored(promptOf(1).blockHashes.subarray(0, 3), promptOf(1).tokensHashes.subarray(0, 3));
    await waitForOverlaps(first, 1, { [one.id]: 4, [two.id]: 3 });
    await first.close();
    one.publisher.removed(promptOf(1).blockHashes.subarray(2));
    two.publisher.cleared();
    two.publisher.stored(promptOf(2).blockHashes, promptOf(2).tokensHashes);
    const second = await routerOf(deployment);
    // The next event reveals events that were missed between its start and its connection.
    const next = () =>
      [one, two].forEach(({ publisher }) => publisher.stored(promptOf(0).blockHashes, promptOf(0).tokensHashes));
    await waitForOverlaps(second, 1, { [one.id]: 2, [two.id]: 0 }, next);
    await waitForOverlaps(second, 2, { [one.id]: 4, [two.id]: 4 }, next);
    await waitForOverlaps(second, RING + 100, { [one.id]: 4, [two.id]: 0 }, next);
    expect((await second.select({ tokens: promptOf(3).tokens })).workerId).toBe(one.runtime.instanceId);
  }, 120_000);
});
