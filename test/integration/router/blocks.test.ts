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
} from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';
import { BLOCK_SIZE } from '../../helpers/llm/caching-engine.js';
import { type Deployment, deployments } from '../../helpers/llm/deployments.js';
import { CountingEngine } from '../../helpers/llm/engines.js';
import { CANARY_BLOCKS, waitForConnection } from '../../helpers/router/prompts.js';
import { waitFor } from '../../helpers/wait.js';

const PATH = 'test.backend.generate';
const tokens = Uint32Array.from({ length: 8 * BLOCK_SIZE + 3 }, (_, index) => index);

const deploy = deployments();

function manager(tier: 'device' | 'host', events: BlockManagerOptions['events'] = true): BlockManager {
  const made = new BlockManager({ tier, blockCount: 8, blockSize: BLOCK_SIZE, events });
  onTestFinished(() => made.dispose());
  return made;
}

/** Registers the first blocks of a prompt in a manager and releases them. They stay cached. */
function cache(
  blocks: BlockManager,
  prompt: Uint32Array,
  count: number,
  naming: Omit<TokenSequenceOptions, 'blockSize'> = {},
): void {
  using sequence = new TokenSequence(prompt, { blockSize: BLOCK_SIZE, ...naming });
  blocks.allocateOrThrow(count).stage(sequence).register().dispose();
}

/** Counts the snapshots that are requested. */
function countingSource(blocks: BlockManager): BlockEventSource & { snapshots: number } {
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

/** Changes all blocks many times in one turn. Returns the prompt whose blocks remain. */
function churn(blocks: BlockManager): typeof tokens {
  const prompts = Array.from({ length: 20 }, (_, index) => tokens.map((id) => id + (index + 1) * 5000));
  for (const prompt of prompts) cache(blocks, prompt, 8);
  return prompts.at(-1) as typeof tokens;
}

/** A router that is connected to a publisher. */
async function router(
  deployment: Deployment,
  { runtime: { instanceId }, worker }: Awaited<ReturnType<Deployment['serve']>>,
  publisher = worker.kvPublisher as KvPublisher,
): Promise<KvRouter> {
  const runtime = await deployment.runtime();
  const made = await KvRouter.create(runtime.endpoint(PATH), { blockSize: BLOCK_SIZE });
  onTestFinished(() => made.close());
  await waitForConnection(made, publisher, instanceId);
  return made;
}

const overlap = async (of: KvRouter, prompt = tokens, naming: Partial<RoutingRequest> = {}) => {
  const [worker] = await of.overlapScores({ tokens: prompt, ...naming });
  return worker && [worker.deviceBlocks, worker.hostBlocks];
};

const waitForOverlap = (of: KvRouter, wanted: [number, number], prompt = tokens) =>
  waitFor(
    `overlap ${wanted}`,
    () => overlap(of, prompt),
    (seen) => String(seen) === String(wanted),
    30_000,
  );

describe('a publisher with block managers', () => {
  it('publishes the blocks of a manager with one option', async () => {
    const deployment = deploy();
    const blocks = manager('device');
    cache(blocks, tokens, 4);
    const served = await deployment.serve(new CountingEngine('counting'), { kvBlocks: blocks });
    const kv = await router(deployment, served);
    await waitForOverlap(kv, [4, 0]);
    expect((await kv.select({ tokens })).workerId).toBe(served.runtime.instanceId);

    // The blocks of the other prompt need the whole capacity and evict these.
    const other = tokens.map((id) => id + 5000);
    cache(blocks, other, 8);
    await waitForOverlap(kv, [8, 0], other);
    await waitForOverlap(kv, [0, 0]);
  });

  it.each<[string, { loraName?: string; salt?: string }, Partial<RoutingRequest>]>([
    ['an adapter', { loraName: 'poet' }, { loraName: 'poet' }],
    ['a salt', { salt: 'tenant' }, { cacheSalt: 'tenant' }],
    ['both', { loraName: 'poet', salt: 'tenant' }, { loraName: 'poet', cacheSalt: 'tenant' }],
  ])('publishes blocks of %s only for requests that name it', async (_, naming, request) => {
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
    await waitForOverlap(kv, [3, 0]);
  });

  it('publishes each tier with a separate publisher', async () => {
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
    await waitForOverlap(kv, [3, 3]);
    expect((await kv.explain({ tokens })).candidates[0]).toMatchObject({
      deviceBlocks: 3,
      hostBlocks: 3,
      overlapCredit: 3 + 3 * 0.75,
    });
    device.drainInactive();
    await waitFor(
      'no blocks on the device',
      () => overlap(kv),
      (seen) => seen?.[0] === 0,
    );
  });

  it('publishes several tiers with one option', async () => {
    const deployment = deploy();
    const [device, host] = [manager('device'), manager('host')];
    const served = await deployment.serve(new CountingEngine('counting'), { kvBlocks: [device, host] });
    const kv = await router(deployment, served);
    cache(host, tokens, 7);
    cache(device, tokens, 2);
    await waitForOverlap(kv, [2, 5]);
  });

  it('publishes the final state after events were lost', async () => {
    const deployment = deploy();
    const blocks = manager('device', { capacity: 2 });
    const source = countingSource(blocks);
    const served = await deployment.serve(new CountingEngine('counting'), { kvBlocks: source });
    const kv = await router(deployment, served);
    cache(blocks, tokens, 4);
    await waitForOverlap(kv, [4, 0]);
    const last = churn(blocks);
    await waitForOverlap(kv, [8, 0], last);
    await waitForOverlap(kv, [0, 0]);
    expect(source.snapshots).toBeGreaterThan(1);
    blocks.drainInactive();
    await waitForOverlap(kv, [0, 0], last);
  });

  it('keeps the blocks of one tier if another sends a snapshot again', async () => {
    const deployment = deploy();
    const [device, host] = [manager('device', { capacity: 2 }), manager('host')];
    const source = countingSource(device);
    const served = await deployment.serve(new CountingEngine('counting'), { kvBlocks: [source, host] });
    const kv = await router(deployment, served);
    cache(host, tokens, 6);
    cache(device, tokens, 3);
    await waitForOverlap(kv, [3, 3]);
    const last = churn(device);
    await waitForOverlap(kv, [8, 0], last);
    expect(source.snapshots).toBeGreaterThan(1);
    await waitFor(
      'no old blocks on the device',
      () => overlap(kv),
      (seen) => seen?.[0] === 0,
    );
    cache(device, tokens, 1);
    await waitForOverlap(kv, [1, 5]);
  });

  it('clears the blocks of a disposed manager, and stays open', async () => {
    const deployment = deploy();
    const blocks = manager('device');
    const served = await deployment.serve(new CountingEngine('counting'), { kvBlocks: blocks });
    const kv = await router(deployment, served);
    cache(blocks, tokens, 4);
    await waitForOverlap(kv, [4, 0]);
    blocks.dispose();
    await waitForOverlap(kv, [0, 0]);
    const left = async () =>
      (await kv.dump())
        .flatMap((event) => (event.kind === 'stored' ? [...event.blockHashes] : []))
        .filter((name) => !CANARY_BLOCKS.has(name));
    expect(await left()).toEqual([]);
    served.worker.kvPublisher?.stored([1n], [2n]);
    await waitFor('what is published later', left, ({ length }) => length === 1);
  });

  it('keeps the blocks of one tier if the manager of another is disposed', async () => {
    const deployment = deploy();
    const [device, host] = [manager('device'), manager('host')];
    const served = await deployment.serve(new CountingEngine('counting'), { kvBlocks: [device, host] });
    const kv = await router(deployment, served);
    cache(device, tokens, 3);
    cache(host, tokens, 6);
    await waitForOverlap(kv, [3, 3]);
    host.dispose();
    await waitForOverlap(kv, [3, 0]);
    cache(device, tokens, 5);
    await waitForOverlap(kv, [5, 0]);
    device.dispose();
    await waitForOverlap(kv, [0, 0]);
  });

  it('rejects `failed` with the error of a source, but not after close', async () => {
    const deployment = deploy();
    let emit = (_: BlockEvent): void => {};
    const event: BlockEvent = { kind: 'removed', tier: 'device', eventId: 1n, blockHashes: new BigUint64Array(1) };
    async function* events(): AsyncGenerator<BlockEvent> {
      yield await new Promise<BlockEvent>((resolve) => (emit = resolve));
    }
    const source: BlockEventSource = { tier: 'device', blockSize: BLOCK_SIZE, events };
    const { worker } = await deployment.serve(new CountingEngine('counting'), { kvBlocks: source });
    const failure = (of: typeof worker) =>
      Promise.race([
        of.kvPublisher?.failed.catch((error: Error) => error.message),
        new Promise((resolve) => setImmediate(resolve, 'none')),
      ]);
    emit(event);
    await worker.kvPublisher?.close();
    expect(await failure(worker)).toBe('none');

    const broken = await deployment.serve(new CountingEngine('broken'), { kvBlocks: source });
    emit({ ...event, tier: 'tape' } as never);
    await expect(broken.worker.kvPublisher?.failed).rejects.toThrow(/\.tier: expected/);
  });

  it('rejects managers with another block size', async () => {
    const deployment = deploy();
    const runtime = await deployment.runtime();
    await expect(
      KvPublisher.create(runtime.endpoint(PATH), { blockSize: 64, blocks: manager('device') }),
    ).rejects.toThrow(/blocks\[0\]: expected blocks of 64 tokens, got 16/);
  });
});
