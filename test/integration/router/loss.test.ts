import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { KvPublisher, type KvPublisherOptions, KvRouter } from '../../../lib/index.js';
import { BLOCK_SIZE } from '../../helpers/llm/caching-engine.js';
import { type Deployment, deployments } from '../../helpers/llm/deployments.js';
import { CountingEngine } from '../../helpers/llm/engines.js';
import { CANARIES, connected, seeded as prompt } from '../../helpers/router/recorded-events.js';
import { Wire } from '../../helpers/runtime/wire.js';
import { waitFor } from '../../helpers/wait.js';

const PATH = 'test.backend.generate';
/** Events that a local indexer keeps; of more than these that were lost it tells all that it has. */
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

/** Blocks of a prompt's beginning that each worker has, as a router believes. */
const believed = async (router: KvRouter, seed: number): Promise<Record<string, number>> =>
  Object.fromEntries(
    (await router.overlapScores({ tokens: prompt(seed).tokens })).map(({ workerId, deviceBlocks }) => [
      String(workerId),
      deviceBlocks,
    ]),
  );

const believes = (router: KvRouter, seed: number, wanted: Record<string, number>, meanwhile = () => {}) =>
  waitFor(
    `what a router believes of prompt ${seed}`,
    () => (meanwhile(), believed(router, seed)),
    (seen) => JSON.stringify(Object.entries(seen).sort()) === JSON.stringify(Object.entries(wanted).sort()),
    30_000,
  );

/** Puts a wire before the publishers of cache events: who finds them by discovery from now on finds it. */
async function wired(deployment: Deployment): Promise<Wire> {
  const { dir } = deployment.options.discovery as { dir: string };
  const folder = join(dir, 'v1', 'event_channels');
  // A file that is being written has another name until it is whole.
  const channels = () =>
    (existsSync(folder) ? readdirSync(folder) : [])
      .filter((name) => decodeURIComponent(name).includes('kv-events'))
      .map((name) => join(folder, name));
  const [path, ...others] = await waitFor('the channel of cache events', channels, ({ length }) => length > 0);
  expect(others).toEqual([]);
  const told = readFileSync(path as string, 'utf8');
  const wire = await Wire.to(Number(/tcp:\/\/[^:"]+:(\d+)/.exec(told)?.[1]));
  onTestFinished(() => wire.close());
  writeFileSync(path as string, told.replace(/(tcp:\/\/[^:"]+):\d+/, `$1:${wire.port}`));
  return wire;
}

describe('events that are lost between a publisher and a router', () => {
  it.each([
    ['are replayed', 20],
    ['beyond what a publisher keeps are made up for by all that it has', RING + 200],
  ])(
    '%s',
    async (_, lost) => {
      const deployment = deploy();
      const { publisher, id } = await publisherOf(deployment);
      const wire = await wired(deployment);
      const router = await routerOf(deployment);
      const store = (seed: number) => publisher.stored(prompt(seed).names, prompt(seed).hashes);
      await connected(router, publisher, id);
      store(1);
      store(2);
      await believes(router, 2, { [id]: 4 });

      wire.cut();
      for (let seed = 10; seed < 10 + lost; seed++) store(seed);
      publisher.removed(prompt(2).names.subarray(1));
      // They are published by a task of the publisher's. What it has published another router has from its indexer, past the wire.
      const aside = await routerOf(deployment);
      await believes(aside, 2, { [id]: 1 });
      await aside.close();
      wire.mend();
      await waitFor('the router’s next connection', () => wire.received);
      expect([await believed(router, 1), await believed(router, 2), await believed(router, 10)]).toEqual([
        { [id]: 4 },
        { [id]: 4 },
        { [id]: 0 },
      ]);

      // The next event shows what is missing; one that comes before the router has subscribed anew is lost too.
      await believes(router, 10, { [id]: 4 }, () => store(3));
      await believes(router, 9 + lost, { [id]: 4 });
      await believes(router, 2, { [id]: 1 });
      await believes(router, 1, { [id]: 4 });
      const names = new Set(
        (await router.dump()).flatMap((event) => (event.kind === 'stored' ? [...event.blockHashes] : [])),
      );
      const wanted = [1, 3, ...Array.from({ length: lost }, (_, index) => 10 + index)].flatMap((seed) => [
        ...prompt(seed).names,
      ]);
      expect(names).toEqual(new Set([...wanted, ...CANARIES, prompt(2).names[0]]));
    },
    120_000,
  );

  it('stay lost without a local indexer, and nothing wrong is believed', async () => {
    const deployment = deploy();
    const { publisher, id } = await publisherOf(deployment, { localIndexer: false });
    const direct = await routerOf(deployment);
    await connected(direct, publisher, id);
    const wire = await wired(deployment);
    const router = await routerOf(deployment);
    const store = (seed: number) => publisher.stored(prompt(seed).names, prompt(seed).hashes);
    await believes(router, 1, { [id]: 4 }, () => store(1));
    wire.cut();
    publisher.removed(prompt(1).names);
    store(10);
    await believes(direct, 10, { [id]: 4 });
    wire.mend();
    // A rank with a gap that nothing can fill is forgotten: what it had may be gone.
    await believes(router, 3, { [id]: 4 }, () => store(3));
    expect([await believed(router, 1), await believed(router, 10)]).toEqual([{ [id]: 0 }, { [id]: 0 }]);
  }, 120_000);
});

describe('a restart', () => {
  it('of a publisher: a router forgets what the first had, and believes the second from its first event on', async () => {
    const deployment = deploy();
    const { runtime, publisher, id } = await publisherOf(deployment);
    const router = await routerOf(deployment);
    await connected(router, publisher, id);
    for (let seed = 1; seed <= 5; seed++) publisher.stored(prompt(seed).names, prompt(seed).hashes);
    await believes(router, 5, { [id]: 4 });
    await publisher.close();
    await believes(router, 5, { [id]: 0 });
    // Its events are counted from the start again.
    const second = await KvPublisher.create(runtime.endpoint(PATH), { blockSize: BLOCK_SIZE });
    onTestFinished(() => second.close());
    await believes(router, 5, { [id]: 2 }, () =>
      second.stored(prompt(5).names.subarray(0, 2), prompt(5).hashes.subarray(0, 2)),
    );
    expect(await believed(router, 1)).toEqual({ [id]: 0 });
  }, 120_000);

  it('of a router: it has from the workers what they have now, long after they told it', async () => {
    const deployment = deploy();
    const [one, two] = [await publisherOf(deployment), await publisherOf(deployment)];
    const first = await routerOf(deployment);
    for (const { publisher, id } of [one, two]) await connected(first, publisher, id);
    for (let seed = 1; seed <= RING + 100; seed++) one.publisher.stored(prompt(seed).names, prompt(seed).hashes);
    two.publisher.stored(prompt(1).names.subarray(0, 3), prompt(1).hashes.subarray(0, 3));
    await believes(first, 1, { [one.id]: 4, [two.id]: 3 });
    await first.close();
    one.publisher.removed(prompt(1).names.subarray(2));
    two.publisher.cleared();
    two.publisher.stored(prompt(2).names, prompt(2).hashes);
    const second = await routerOf(deployment);
    // What came between its beginning and its connection the next event shows to be missing.
    const next = () => [one, two].forEach(({ publisher }) => publisher.stored(prompt(0).names, prompt(0).hashes));
    await believes(second, 1, { [one.id]: 2, [two.id]: 0 }, next);
    await believes(second, 2, { [one.id]: 4, [two.id]: 4 }, next);
    await believes(second, RING + 100, { [one.id]: 4, [two.id]: 0 }, next);
    expect((await second.select({ tokens: prompt(3).tokens })).workerId).toBe(one.runtime.instanceId);
  }, 120_000);
});
