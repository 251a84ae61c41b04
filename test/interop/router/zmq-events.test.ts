import { type KvEventSource, KvPublisher, KvRouter, SelectionService } from 'dynamo-node';
import { expect, it, onTestFinished } from 'vitest';
import { type Child, pythonPeer } from '../../helpers/child.js';
import { missingPeers } from '../../helpers/interop/peers.js';
import { BLOCK_SIZE } from '../../helpers/llm/caching-engine.js';
import { deployments } from '../../helpers/llm/deployments.js';
import { CountingEngine } from '../../helpers/llm/engines.js';
import { temporaryFolder } from '../../helpers/runtime/runtime.js';
import { describeUnless } from '../../helpers/skipping.js';
import { waitFor } from '../../helpers/wait.js';

if (missingPeers !== undefined) console.log(`skipped: ${missingPeers}`);

const deploy = deployments();

/** A Python process that publishes events in vLLM's format, with its ports. */
async function engineOf(): Promise<{ engine: Child; endpoint: string; replayEndpoint: string }> {
  const engine = pythonPeer('router.py', ['relay', 'tcp://127.0.0.1'], temporaryFolder());
  onTestFinished(() => engine.stop());
  const { port, replay } = await engine.event('ready');
  return { engine, endpoint: `tcp://127.0.0.1:${port}`, replayEndpoint: `tcp://127.0.0.1:${replay}` };
}

/** The tokens of `count` blocks. Those of different groups share no block. */
const blocksOf = (group: number, count: number): number[] => [
  290 - group,
  ...Array.from({ length: count * BLOCK_SIZE - 1 }, (_, at) => 300 + ((at * (group + 3)) % 200)),
];

const storedOf = (block_hashes: readonly number[], token_ids: readonly number[], parent: number | null = null) => ({
  type: 'BlockStored',
  ...{ block_hashes, parent_block_hash: parent, token_ids, block_size: BLOCK_SIZE, lora_id: null },
});

describeUnless(missingPeers, "an engine's ZMQ events in vLLM's format", () => {
  it.each(['our publisher', 'a worker whose engine names their source'])(
    'reach routers through %s',
    async (through) => {
      const deployment = deploy();
      const { engine, endpoint } = await engineOf();
      if (through === 'our publisher') {
        const { runtime } = await deployment.serve(new CountingEngine('counting'));
        const publisher = await KvPublisher.create(runtime.endpoint('test.backend.generate'), {
          blockSize: BLOCK_SIZE,
          zmq: { endpoint },
        });
        onTestFinished(() => publisher.close());
      } else {
        const kvEventSources = (): KvEventSource[] => [{ kind: 'zmq', endpoint }];
        await deployment.serve(Object.assign(new CountingEngine('counting'), { kvEventSources }));
      }
      const away = await deployment.runtime();
      await using router = await KvRouter.create(away.endpoint('test.backend.generate'), { blockSize: BLOCK_SIZE });
      const tokens = blocksOf(0, 4);
      const has = async (of: readonly number[] = tokens) =>
        (await router.overlapScores({ tokens: of }).catch(() => []))[0]?.deviceBlocks;
      // A subscriber misses events before its connection, so the engine repeats its first events. It needs two blocks,
      // because one may come from the index of the worker.
      for (const [name, first] of [
        [21, blocksOf(1, 1)],
        [11, blocksOf(0, 1)],
      ] as const) {
        await waitFor(
          'the first block',
          async () => (engine.send({ events: [storedOf([name], first)] }), await has(first)),
          (blocks) => blocks === 1,
        );
      }
      engine.send({ events: [storedOf([12, 13, 14], tokens.slice(BLOCK_SIZE), 11)] });
      await waitFor('the stored blocks', has, (blocks) => blocks === 4);
      engine.send({ events: [{ type: 'BlockRemoved', block_hashes: [13, 14] }] });
      await waitFor('the removal', has, (blocks) => blocks === 2);
      engine.send({ events: [{ type: 'AllBlocksCleared' }] });
      await waitFor('the cleared cache', has, (blocks) => blocks === 0);
    },
  );

  it('reach routers only with the chosen topic', async () => {
    const deployment = deploy();
    const { engine, endpoint } = await engineOf();
    const { runtime } = await deployment.serve(new CountingEngine('counting'));
    const publisher = await KvPublisher.create(runtime.endpoint('test.backend.generate'), {
      blockSize: BLOCK_SIZE,
      zmq: { endpoint, topic: 'wanted' },
    });
    onTestFinished(() => publisher.close());
    await using router = await KvRouter.create((await deployment.runtime()).endpoint('test.backend.generate'), {
      blockSize: BLOCK_SIZE,
    });
    const [wanted, other, later] = [0, 1, 2].map((group) => blocksOf(group, 1)) as [number[], number[], number[]];
    const has = async (tokens: number[]) => (await router.overlapScores({ tokens }).catch(() => []))[0]?.deviceBlocks;
    const stored = (topic: string, hash: number, tokens: number[]) =>
      engine.send({ topic, events: [storedOf([hash], tokens)] });
    await waitFor(
      'the block of the topic',
      () => (stored('wanted', 11, wanted), has(wanted)),
      (blocks) => blocks === 1,
    );
    // The event of the other topic is sent first, so it would have arrived by now.
    stored('other', 21, other);
    stored('wanted', 31, later);
    await waitFor(
      'a later block of the topic',
      () => has(later),
      (blocks) => blocks === 1,
    );
    expect(await has(other)).toBe(0);
  });

  it.each([
    ['are replayed to a selection service with a replay endpoint', true],
    ['are lost without a replay endpoint', false],
  ])('that were missed %s', async (_, replays) => {
    const { engine, endpoint, replayEndpoint } = await engineOf();
    await using router = await SelectionService.create();
    await router.putWorker({
      workerId: 1n,
      blockSize: BLOCK_SIZE,
      kvEventsEndpoints: [endpoint],
      ...(replays ? { replayEndpoint } : {}),
    });
    const [first, missed, last] = [0, 1, 2].map((group) => blocksOf(group, 1)) as [number[], number[], number[]];
    const has = async (tokens: number[]) => (await router.overlapScores({ tokens }))[0]?.deviceBlocks;
    const stored = (hash: number, tokens: number[], more = {}) =>
      engine.send({ ...more, events: [storedOf([hash], tokens)] });
    await waitFor(
      'the first block',
      () => (stored(11, first), has(first)),
      (blocks) => blocks === 1,
    );
    stored(21, missed, { missed: true });
    stored(31, last);
    // Missed events are applied before the event that reveals the gap.
    await waitFor(
      'the block after it',
      () => has(last),
      (blocks) => blocks === 1,
    );
    expect(await has(missed)).toBe(replays ? 1 : 0);
  });

  it('reach a selection service with its endpoint', async () => {
    const { engine, endpoint } = await engineOf();
    await using router = await SelectionService.create();
    await router.putWorker({ workerId: 1n, blockSize: BLOCK_SIZE });
    await router.putWorker({ workerId: 2n, blockSize: BLOCK_SIZE, kvEventsEndpoints: [endpoint] });
    const tokens = blocksOf(0, 4);
    await waitFor(
      'the stored blocks',
      async () => {
        engine.send({ events: [storedOf([11, 12, 13, 14], tokens)] });
        return (await router.overlapScores({ tokens })).find(({ workerId }) => workerId === 2n)?.deviceBlocks;
      },
      (blocks) => blocks === 4,
    );
    expect((await router.select({ tokens })).workerId).toBe(2n);
    await router.removeWorker(2n);
    expect((await router.select({ tokens })).workerId).toBe(1n);
  });
});
