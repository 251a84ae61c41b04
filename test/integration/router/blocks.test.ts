import { describe, expect, it, onTestFinished } from 'vitest';
import {
  type BlockEvent,
  type BlockEventSource,
  BlockManager,
  type BlockManagerOptions,
  KvPublisher,
  KvRouter,
  type RoutingRequest,
  TokenSequence,
  type TokenSequenceOptions,
} from '../../../lib/index.js';
import { BLOCK_SIZE } from '../../helpers/llm/caching-engine.js';
import { type Deployment, deployments } from '../../helpers/llm/deployments.js';
import { CountingEngine } from '../../helpers/llm/engines.js';
import { CANARIES, connected } from '../../helpers/router/recorded-events.js';
import { waitFor } from '../../helpers/wait.js';

const PATH = 'test.backend.generate';
const tokens = Uint32Array.from({ length: 8 * BLOCK_SIZE + 3 }, (_, index) => index);

const deploy = deployments();

function manager(tier: 'device' | 'host', events: BlockManagerOptions['events'] = true): BlockManager {
  const made = new BlockManager({ tier, blockCount: 8, blockSize: BLOCK_SIZE, events });
  onTestFinished(() => made.dispose());
  return made;
}

/** Puts a prompt's first blocks into a manager and lets go of them: they stay to be found. */
function cache(
  blocks: BlockManager,
  prompt: Uint32Array,
  count: number,
  naming: Omit<TokenSequenceOptions, 'blockSize'> = {},
): void {
  using sequence = new TokenSequence(prompt, { blockSize: BLOCK_SIZE, ...naming });
  blocks.allocateOrThrow(count).stage(sequence).register().dispose();
}

/** Counts how often what is there was asked for. */
function counting(blocks: BlockManager): BlockEventSource & { snapshots: number } {
  const source = {
    snapshots: 0,
    tier: blocks.tier,
    blockSize: blocks.blockSize,
    events: (options?: { readonly snapshot?: boolean }) => {
      source.snapshots += 1;
      return blocks.events(options);
    },
  };
  return source;
}

/** Changes all blocks many times at once; gives the prompt whose blocks are there in the end. */
function churn(blocks: BlockManager): typeof tokens {
  const prompts = Array.from({ length: 20 }, (_, index) => tokens.map((id) => id + (index + 1) * 5000));
  for (const prompt of prompts) cache(blocks, prompt, 8);
  return prompts.at(-1) as typeof tokens;
}

/** A router that hears what a publisher tells from now on. */
async function router(
  deployment: Deployment,
  { runtime: { instanceId }, worker }: Awaited<ReturnType<Deployment['serve']>>,
  publisher = worker.kvPublisher as KvPublisher,
): Promise<KvRouter> {
  const runtime = await deployment.runtime();
  const made = await KvRouter.create(runtime.endpoint(PATH), { blockSize: BLOCK_SIZE });
  onTestFinished(() => made.close());
  await connected(made, publisher, instanceId);
  return made;
}

const overlap = async (of: KvRouter, prompt = tokens, naming: Partial<RoutingRequest> = {}) => {
  const [worker] = await of.overlapScores({ tokens: prompt, ...naming });
  return worker && [worker.deviceBlocks, worker.hostBlocks];
};

const hears = (of: KvRouter, wanted: [number, number], prompt = tokens) =>
  waitFor(
    `overlap ${wanted}`,
    () => overlap(of, prompt),
    (seen) => String(seen) === String(wanted),
    30_000,
  );

describe('a worker whose blocks a manager keeps', () => {
  it('is known by them to routers, with one option', async () => {
    const deployment = deploy();
    const blocks = manager('device');
    cache(blocks, tokens, 4);
    const served = await deployment.serve(new CountingEngine('counting'), { kvBlocks: blocks });
    const kv = await router(deployment, served);
    await hears(kv, [4, 0]);
    expect((await kv.select({ tokens })).workerId).toBe(served.runtime.instanceId);

    // What is evicted goes: eight blocks of another prompt need the room of all.
    const other = tokens.map((id) => id + 5000);
    cache(blocks, other, 8);
    await hears(kv, [8, 0], other);
    await hears(kv, [0, 0]);
  });

  it.each<[string, { loraName?: string; salt?: string }, Partial<RoutingRequest>]>([
    ['an adapter', { loraName: 'poet' }, { loraName: 'poet' }],
    ['a salt', { salt: 'tenant' }, { cacheSalt: 'tenant' }],
    ['both', { loraName: 'poet', salt: 'tenant' }, { loraName: 'poet', cacheSalt: 'tenant' }],
  ])('is known by blocks of %s to requests that name it, and to no others', async (_, naming, request) => {
    const deployment = deploy();
    const blocks = manager('device');
    const served = await deployment.serve(new CountingEngine('counting'), { kvBlocks: blocks });
    cache(blocks, tokens, 5, naming);
    const kv = await router(deployment, served);
    await waitFor(
      'the blocks',
      () => overlap(kv, tokens, request),
      (seen) => String(seen) === '5,0',
    );
    expect(await overlap(kv)).toEqual([0, 0]);
    for (const other of [{ loraName: 'critic' }, { cacheSalt: 'other' }, { loraName: 'tenant', cacheSalt: 'poet' }])
      expect(await overlap(kv, tokens, other)).toEqual([0, 0]);
    cache(blocks, tokens, 3);
    await hears(kv, [3, 0]);
  });

  it('is known by its tiers, each for itself', async () => {
    const deployment = deploy();
    const [device, host] = [manager('device'), manager('host')];
    const served = await deployment.serve(new CountingEngine('counting'));
    const publisher = await KvPublisher.create(served.runtime.endpoint(PATH), {
      blockSize: BLOCK_SIZE,
      blocks: [device, host],
    });
    onTestFinished(() => publisher.close());
    const kv = await router(deployment, served, publisher);
    cache(device, tokens, 3);
    cache(host, tokens, 6);
    await hears(kv, [3, 3]);
    expect((await kv.explain({ tokens })).candidates[0]).toMatchObject({
      deviceBlocks: 3,
      hostBlocks: 3,
      overlapCredit: 3 + 3 * 0.75,
    });
    device.drainInactive();
    await waitFor(
      'the device’s end',
      () => overlap(kv),
      (seen) => seen?.[0] === 0,
    );
  });

  it('is known by its tiers with one option too', async () => {
    const deployment = deploy();
    const [device, host] = [manager('device'), manager('host')];
    const served = await deployment.serve(new CountingEngine('counting'), { kvBlocks: [device, host] });
    const kv = await router(deployment, served);
    cache(host, tokens, 7);
    cache(device, tokens, 2);
    await hears(kv, [2, 5]);
  });

  it('is known as it is though its blocks changed faster than was read', async () => {
    const deployment = deploy();
    const blocks = manager('device', { capacity: 2 });
    const source = counting(blocks);
    const served = await deployment.serve(new CountingEngine('counting'), { kvBlocks: source });
    const kv = await router(deployment, served);
    cache(blocks, tokens, 4);
    await hears(kv, [4, 0]);
    const last = churn(blocks);
    await hears(kv, [8, 0], last);
    await hears(kv, [0, 0]);
    expect(source.snapshots).toBeGreaterThan(1);
    blocks.drainInactive();
    await hears(kv, [0, 0], last);
  });

  it('keeps the blocks of one tier where those of another are told anew', async () => {
    const deployment = deploy();
    const [device, host] = [manager('device', { capacity: 2 }), manager('host')];
    const source = counting(device);
    const served = await deployment.serve(new CountingEngine('counting'), { kvBlocks: [source, host] });
    const kv = await router(deployment, served);
    cache(host, tokens, 6);
    cache(device, tokens, 3);
    await hears(kv, [3, 3]);
    const last = churn(device);
    await hears(kv, [8, 0], last);
    expect(source.snapshots).toBeGreaterThan(1);
    await waitFor(
      'the end of the device’s old blocks',
      () => overlap(kv),
      (seen) => seen?.[0] === 0,
    );
    cache(device, tokens, 1);
    await hears(kv, [1, 5]);
  });

  it('is known to have nothing once its manager is disposed of, and goes on', async () => {
    const deployment = deploy();
    const blocks = manager('device');
    const served = await deployment.serve(new CountingEngine('counting'), { kvBlocks: blocks });
    const kv = await router(deployment, served);
    cache(blocks, tokens, 4);
    await hears(kv, [4, 0]);
    blocks.dispose();
    await hears(kv, [0, 0]);
    const left = async () =>
      (await kv.dump())
        .flatMap((event) => (event.kind === 'stored' ? [...event.blockHashes] : []))
        .filter((name) => !CANARIES.has(name));
    expect(await left()).toEqual([]);
    served.worker.kvPublisher?.stored([1n], [2n]);
    await waitFor('what is published later', left, ({ length }) => length === 1);
  });

  it('keeps the blocks of one tier where the manager of another is disposed of', async () => {
    const deployment = deploy();
    const [device, host] = [manager('device'), manager('host')];
    const served = await deployment.serve(new CountingEngine('counting'), { kvBlocks: [device, host] });
    const kv = await router(deployment, served);
    cache(device, tokens, 3);
    cache(host, tokens, 6);
    await hears(kv, [3, 3]);
    host.dispose();
    await hears(kv, [3, 0]);
    cache(device, tokens, 5);
    await hears(kv, [5, 0]);
    device.dispose();
    await hears(kv, [0, 0]);
  });

  it('says what ended the publishing, and a close is no such thing', async () => {
    const deployment = deploy();
    let tell = (_: BlockEvent): void => {};
    const event: BlockEvent = { kind: 'removed', tier: 'device', eventId: 1n, blockHashes: new BigUint64Array(1) };
    async function* events(): AsyncGenerator<BlockEvent> {
      yield await new Promise<BlockEvent>((resolve) => (tell = resolve));
    }
    const told: BlockEventSource = { tier: 'device', blockSize: BLOCK_SIZE, events };
    const { worker } = await deployment.serve(new CountingEngine('counting'), { kvBlocks: told });
    const failure = (of: typeof worker) =>
      Promise.race([
        of.kvPublisher?.failed.catch((error: Error) => error.message),
        new Promise((resolve) => setImmediate(resolve, 'none')),
      ]);
    tell(event);
    await worker.kvPublisher?.close();
    expect(await failure(worker)).toBe('none');

    const broken = await deployment.serve(new CountingEngine('broken'), { kvBlocks: told });
    tell({ ...event, tier: 'tape' } as never);
    await expect(broken.worker.kvPublisher?.failed).rejects.toThrow(/\.tier: expected/);
  });

  it('must have blocks of the size that is published', async () => {
    const deployment = deploy();
    const runtime = await deployment.runtime();
    await expect(
      KvPublisher.create(runtime.endpoint(PATH), { blockSize: 64, blocks: manager('device') }),
    ).rejects.toThrow(/blocks\[0\]: expected blocks of 64 tokens, got 16/);
  });
});
