import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  BlockManager,
  Frontend,
  type KvEventSource,
  KvPublisher,
  KvRouter,
  SelectionService,
  TokenSequence,
} from 'dynamo-node';
import { expect, it, onTestFinished } from 'vitest';
import { modelPath } from '../../../examples/tiny-llama/engine.js';
import { pythonPeer } from '../../helpers/child.js';
import { missingPeers, type Peer, startPeer } from '../../helpers/interop/peers.js';
import { BLOCK_SIZE, CachingEngine } from '../../helpers/llm/caching-engine.js';
import { type Deployment, deployments } from '../../helpers/llm/deployments.js';
import { CountingEngine } from '../../helpers/llm/engines.js';
import { kserveInfer } from '../../helpers/llm/kserve.js';
import { waitForRow } from '../../helpers/router/prompts.js';
import { freePort, privateCluster } from '../../helpers/runtime/cluster.js';
import { temporaryFolder } from '../../helpers/runtime/runtime.js';
import { describeUnless } from '../../helpers/skipping.js';
import { waitFor } from '../../helpers/wait.js';

if (missingPeers !== undefined) console.log(`skipped: ${missingPeers}`);

const START_UP_MS = 90_000;
const BLOCKS = 12;

const deploy = deployments();
const dirOf = ({ options }: Deployment): string => (options.discovery as { dir: string }).dir;

function peer(deployment: Deployment, ...args: string[]): Peer {
  const started = startPeer(dirOf(deployment), ...args);
  onTestFinished(() => started.stop());
  return started;
}

/** A prompt that shares its prefix with its group and has a unique end. */
const promptOf = (group: number, index: number): number[] => [
  290 - group,
  ...Array.from({ length: BLOCKS * BLOCK_SIZE - 1 }, (_, at) => 300 + ((at * (group + 3)) % 200)),
  10 + (index % 200),
  11 + Math.floor(index / 200),
];

/** Keeps its blocks in a manager, whose events are published instead of its own. */
class ManagedEngine extends CachingEngine {
  readonly manager = new BlockManager({ tier: 'device', blockCount: 1024, blockSize: BLOCK_SIZE, events: true });

  override kvEventSources(): [] {
    return [];
  }

  override store(tokens: Uint32Array): number {
    using sequence = new TokenSequence(tokens, { blockSize: BLOCK_SIZE });
    using found = this.manager.matchPrefix(sequence);
    const first = found?.length ?? 0;
    if (first < sequence.blockCount)
      this.manager
        .allocateOrThrow(sequence.blockCount - first)
        .stage(sequence, first)
        .register()
        .dispose();
    for (const name of sequence.sequenceHashes()) this.blocks.add(name);
    return first * BLOCK_SIZE;
  }
}

async function complete(
  url: string,
  model: string,
  prompt: readonly number[],
): Promise<{ status: number; cached: number }> {
  const response = await fetch(`${url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model, prompt, max_tokens: 2 }),
  });
  const body = await response.text();
  if (response.status !== 200) return { status: response.status, cached: -1 };
  const { usage } = JSON.parse(body) as { usage?: { prompt_tokens_details?: { cached_tokens?: number } } };
  return { status: 200, cached: usage?.prompt_tokens_details?.cached_tokens ?? 0 };
}

/** Sends requests until one is answered. A failure contains the output of the peer. */
async function untilServed(python: Peer, url: string, model: string): Promise<void> {
  const answered = waitFor(
    'an answer',
    () => complete(url, model, promptOf(40, 0)).catch(() => undefined),
    (answer) => answer?.status === 200 || python.process.exitCode !== null,
    START_UP_MS,
  );
  await answered.catch((error: Error) => Promise.reject(new Error(`${error.message}\n${python.log()}`)));
  if (python.process.exitCode !== null) throw new Error(`the peer ended early:\n${python.log()}`);
}

async function waitUntilKnown(url: string, model: string, group: number): Promise<void> {
  let index = 1000;
  await waitForRow(
    `a router that knows group ${group}`,
    async () => (await complete(url, model, promptOf(group, index++))).cached >= BLOCKS * BLOCK_SIZE,
  );
}

describeUnless(missingPeers, 'with the Python wheels', () => {
  it.each([
    ['that published it', CachingEngine],
    ['whose block manager has it', ManagedEngine],
  ] as const)(
    'the stock frontend in mode kv sends each prefix to the TypeScript worker %s',
    async (_, Engine) => {
      const deployment = deploy();
      const engines = [new Engine('cached'), new Engine('cached')];
      for (const engine of engines) {
        if (engine instanceof ManagedEngine) onTestFinished(() => engine.manager.dispose());
        await deployment.serve(engine, {
          endpoint: 'dynamo.backend.generate',
          ...(engine instanceof ManagedEngine ? { kvBlocks: engine.manager } : {}),
        });
      }
      const port = await freePort();
      const url = `http://127.0.0.1:${port}`;
      const python = peer(deployment, '-m', 'dynamo.frontend', '--http-port', String(port), '--router-mode', 'kv');
      await untilServed(python, url, 'cached');
      const groups = [0, 1, 2, 3, 4, 5, 6, 7];
      for (const group of groups) await waitUntilKnown(url, 'cached', group);
      const before = engines.map(({ cached }) => cached.length);
      for (let index = 0; index < 3; index++) {
        for (const group of groups) expect((await complete(url, 'cached', promptOf(group, index))).status).toBe(200);
      }
      const cached = engines.flatMap((engine, which) => engine.cached.slice(before[which]));
      expect(cached).toEqual(Array.from({ length: 24 }, () => BLOCKS * BLOCK_SIZE));
      // A router without events would send each prefix to both. That may happen only before its first event.
      const homes = groups.map((group) => engines.filter((engine) => engine.has(promptOf(group, 0), BLOCKS)).length);
      expect(homes.filter((count) => count === 1).length).toBeGreaterThanOrEqual(4);
      expect(engines.every(({ blocks }) => blocks.size > 0)).toBe(true);
    },
    3 * START_UP_MS,
  );

  it(
    'our frontend in mode kv receives the events of Python’s mocker, alone and in a mixed pool',
    async () => {
      const deployment = deploy();
      const mockers = [1, 2].map(() =>
        peer(
          deployment,
          '-m',
          'dynamo.mocker',
          '--model-path',
          modelPath,
          '--model-name',
          'mixed',
          '--speedup-ratio',
          '100',
          '--block-size',
          String(BLOCK_SIZE),
          '--max-model-len',
          '4096',
        ),
      );
      const frontend = await deployment.frontend({ router: { mode: 'kv', kv: { router_temperature: 0 } } });
      await untilServed(mockers[0] as Peer, frontend.url, 'mixed');
      const runtime = await deployment.runtime();
      const listed = async () =>
        (await runtime.instances()).filter(
          ({ component, endpoint }) => endpoint === 'generate' && component !== 'frontend',
        );
      const found = await waitFor('both mockers', listed, (all) => all.length === 2, START_UP_MS);
      const [{ namespace, component, endpoint }] = found as [(typeof found)[0]];
      await using router = await KvRouter.create(runtime.endpoint(`${namespace}.${component}.${endpoint}`), {
        blockSize: BLOCK_SIZE,
      });
      const overlaps = async (group: number) =>
        (await router.overlapScores({ tokens: promptOf(group, 0) }))
          .filter(({ deviceBlocks }) => deviceBlocks >= BLOCKS)
          .map(({ workerId }) => workerId);
      let others = 0;
      let alone = 0;
      for (const group of [0, 1, 2, 3, 4, 5, 6, 7]) {
        await waitUntilKnown(frontend.url, 'mixed', group);
        for (let index = 0; index < 3; index++) {
          expect(await complete(frontend.url, 'mixed', promptOf(group, index))).toEqual({
            status: 200,
            cached: BLOCKS * BLOCK_SIZE,
          });
        }
        // A router notices a lost event at the next one. Further prompts produce events.
        const homes = await waitFor(
          `a home of group ${group}`,
          async () => {
            await complete(frontend.url, 'mixed', promptOf(100 + (others++ % 100), 0));
            return overlaps(group);
          },
          ({ length }) => length > 0,
        );
        if (homes.length === 1) alone += 1;
      }
      // A router without events would send each prefix to both. That may happen only before its first event.
      expect(alone).toBeGreaterThanOrEqual(4);
      expect((await router.explain({ tokens: promptOf(0, 9) })).candidates).toHaveLength(2);

      const engine = new CachingEngine('mixed');
      const { runtime: own } = await deployment.serve(engine, { endpoint: `${namespace}.${component}.${endpoint}` });
      await waitFor(
        'three workers',
        () => router.overlapScores({ tokens: promptOf(0, 0) }),
        (all) => all.length === 3,
      );
      // Equal workers share requests. A group belongs to a worker if all its requests went there.
      let group = 10;
      await waitFor(
        'a group of the TypeScript worker',
        async () => {
          const before = engine.cached.length;
          group += 1;
          for (let index = 0; index < 6; index++)
            expect((await complete(frontend.url, 'mixed', promptOf(group, index))).status).toBe(200);
          return engine.cached.length - before;
        },
        (count) => count === 6,
        60_000,
      );
      await waitFor(
        'its blocks in a router',
        async () => {
          await complete(frontend.url, 'mixed', promptOf(100 + (others++ % 100), 0));
          return overlaps(group);
        },
        (homes) => homes.includes(own.instanceId),
        30_000,
      );
      const before = engine.cached.length;
      for (let index = 50; index < 53; index++) await complete(frontend.url, 'mixed', promptOf(group, index));
      expect(engine.cached.slice(before)).toEqual([BLOCKS, BLOCKS, BLOCKS].map((blocks) => blocks * BLOCK_SIZE));
    },
    3 * START_UP_MS,
  );

  it(
    'our KServe frontend in mode kv does the same, with mockers and with a mixed pool',
    async () => {
      const deployment = deploy();
      const args = [
        '-m',
        'dynamo.mocker',
        '--model-path',
        modelPath,
        '--model-name',
        'mixed',
        '--speedup-ratio',
        '100',
        '--block-size',
        String(BLOCK_SIZE),
        '--max-model-len',
        '4096',
      ];
      const mockers = [1, 2].map(() => peer(deployment, ...args));
      const runtime = await deployment.runtime();
      const listed = async () =>
        (await runtime.instances()).filter(
          ({ component, endpoint }) => endpoint === 'generate' && component !== 'frontend',
        );
      const [{ namespace, component, endpoint }] = (await waitFor(
        'both mockers',
        listed,
        (all) => all.length === 2,
        START_UP_MS,
      )) as [Awaited<ReturnType<typeof listed>>[0]];
      // A mocker needs the length of its answer. Over KServe only a template can set it.
      const requestTemplate = join(temporaryFolder(), 'template.json');
      writeFileSync(requestTemplate, JSON.stringify({ model: 'mixed', temperature: 0, max_completion_tokens: 2 }));
      const to = await Frontend.start(deployment.options, {
        input: 'grpc',
        port: 0,
        metricsPort: 0,
        requestTemplate,
        router: { mode: 'kv', kv: { router_temperature: 0 } },
      });
      onTestFinished(() => to.close({ timeoutMs: 5000 }));
      await to.ready;
      const infer = kserveInfer(to, 'mixed');
      const text = (group: number, index: number): string =>
        `Group ${group} ${'has blocks in a cache that lie there '.repeat(40)} ${index}`;
      await waitFor(
        'an answer',
        () =>
          infer(text(99, 0)).then(
            () => true,
            (error: Error) => `${error.message}\n${mockers.map((one) => one.log()).join('\n')}`,
          ),
        (answer) => answer === true,
        START_UP_MS,
      );
      await using router = await KvRouter.create(runtime.endpoint(`${namespace}.${component}.${endpoint}`), {
        blockSize: BLOCK_SIZE,
      });
      /** The workers of each cached block. */
      const holdersOf = async (): Promise<Map<bigint, Set<bigint>>> => {
        const holders = new Map<bigint, Set<bigint>>();
        for (const event of await router.dump()) {
          if (event.kind !== 'stored') continue;
          for (const name of event.blockHashes) holders.set(name, (holders.get(name) ?? new Set()).add(event.workerId));
        }
        return holders;
      };
      let [index, first] = [0, 100];
      // A router without events would send each prefix to both. New groups are tried until the first event arrives.
      await waitFor(
        'each prefix at one mocker',
        async () => {
          const before = await holdersOf();
          for (let round = 0; round < 4; round++)
            for (let group = 0; group < 8; group++) await infer(text(first + group, index++));
          first += 8;
          const counts = [...(await holdersOf())].filter(([name]) => !before.has(name)).map(([, { size }]) => size);
          return {
            one: counts.filter((count) => count === 1).length,
            more: counts.filter((count) => count > 1).length,
          };
        },
        ({ one, more }) => one > 8 * 10 && more < one / 2,
        60_000,
      );

      const engine = new CachingEngine('mixed');
      await deployment.serve(engine, { endpoint: `${namespace}.${component}.${endpoint}` });
      let group = 10;
      await waitFor(
        'a group of the TypeScript worker',
        async () => {
          const before = engine.cached.length;
          group += 1;
          for (let time = 0; time < 6; time++) await infer(text(group, index++));
          return engine.cached.length - before;
        },
        (count) => count === 6,
        60_000,
      );
      const before = engine.cached.length;
      for (let time = 0; time < 4; time++) await infer(text(group, index++));
      expect(engine.cached.slice(before)).toHaveLength(4);
      expect(Math.min(...engine.cached.slice(before))).toBeGreaterThan(10 * BLOCK_SIZE);
    },
    3 * START_UP_MS,
  );

  it.each(['our publisher', 'a worker whose engine names their source'])(
    'an engine’s ZMQ events in vLLM’s format reach routers through %s',
    async (through) => {
      const deployment = deploy();
      const cluster = privateCluster();
      onTestFinished(() => cluster.remove());
      const engine = pythonPeer('router.py', ['relay', 'tcp://127.0.0.1'], cluster.dir);
      onTestFinished(() => engine.stop());
      const port = Number((await engine.event('ready'))['port']);
      const endpoint = `tcp://127.0.0.1:${port}`;
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
      const tokens = promptOf(0, 0).slice(0, 4 * BLOCK_SIZE);
      const has = async (of: readonly number[] = tokens) =>
        (await router.overlapScores({ tokens: of }).catch(() => []))[0]?.deviceBlocks;
      const stored = (parent_block_hash: number | null, block_hashes: number[], token_ids: number[]) =>
        engine.send({
          events: [
            { type: 'BlockStored', block_hashes, parent_block_hash, token_ids, block_size: BLOCK_SIZE, lora_id: null },
          ],
        });
      // A subscriber misses events before its connection, so the engine repeats its first events. It needs two blocks,
      // because one may come from the index of the worker.
      for (const [name, prompt] of [
        [21, promptOf(1, 0)],
        [11, tokens],
      ] as const) {
        await waitFor(
          'the first block',
          async () => (stored(null, [name], prompt.slice(0, BLOCK_SIZE)), await has(prompt)),
          (blocks) => blocks === 1,
          30_000,
        );
      }
      stored(11, [12, 13, 14], tokens.slice(BLOCK_SIZE));
      await waitFor('the stored blocks', has, (blocks) => blocks === 4);
      engine.send({ events: [{ type: 'BlockRemoved', block_hashes: [13, 14] }] });
      await waitFor('the removal', has, (blocks) => blocks === 2);
      engine.send({ events: [{ type: 'AllBlocksCleared' }] });
      await waitFor('the cleared cache', has, (blocks) => blocks === 0);
    },
    180_000,
  );

  it('an engine’s ZMQ events reach routers only with the chosen topic', async () => {
    const deployment = deploy();
    const engine = pythonPeer('router.py', ['relay', 'tcp://127.0.0.1'], dirOf(deployment));
    onTestFinished(() => engine.stop());
    const endpoint = `tcp://127.0.0.1:${Number((await engine.event('ready'))['port'])}`;
    const { runtime } = await deployment.serve(new CountingEngine('counting'));
    const publisher = await KvPublisher.create(runtime.endpoint('test.backend.generate'), {
      blockSize: BLOCK_SIZE,
      zmq: { endpoint, topic: 'wanted' },
    });
    onTestFinished(() => publisher.close());
    await using router = await KvRouter.create((await deployment.runtime()).endpoint('test.backend.generate'), {
      blockSize: BLOCK_SIZE,
    });
    const [wanted, other] = [promptOf(0, 0), promptOf(1, 0)].map((tokens) => tokens.slice(0, BLOCK_SIZE)) as [
      number[],
      number[],
    ];
    const has = async (tokens: number[]) => (await router.overlapScores({ tokens }).catch(() => []))[0]?.deviceBlocks;
    const stored = (topic: string, hash: number, token_ids: number[]) =>
      engine.send({
        topic,
        events: [
          {
            type: 'BlockStored',
            block_hashes: [hash],
            parent_block_hash: null,
            token_ids,
            block_size: BLOCK_SIZE,
            lora_id: null,
          },
        ],
      });
    await waitFor(
      'the block of the topic',
      () => (stored('wanted', 11, wanted), has(wanted)),
      (blocks) => blocks === 1,
    );
    // The event of the other topic is sent first, so it would have arrived by now.
    const later = promptOf(2, 0).slice(0, BLOCK_SIZE);
    stored('other', 21, other);
    stored('wanted', 31, later);
    await waitFor(
      'a later block of the topic',
      () => has(later),
      (blocks) => blocks === 1,
    );
    expect(await has(other)).toBe(0);
  }, 60_000);

  it.each([
    ['are replayed to a selection service with a replay endpoint', true],
    ['are lost without a replay endpoint', false],
  ])(
    'missed ZMQ events of an engine %s',
    async (_, replays) => {
      const cluster = privateCluster();
      onTestFinished(() => cluster.remove());
      const engine = pythonPeer('router.py', ['relay', 'tcp://127.0.0.1'], cluster.dir);
      onTestFinished(() => engine.stop());
      const { port, replay } = await engine.event('ready');
      await using router = await SelectionService.create();
      const replayEndpoint = replays ? { replayEndpoint: `tcp://127.0.0.1:${Number(replay)}` } : {};
      await router.putWorker({
        workerId: 1n,
        blockSize: BLOCK_SIZE,
        kvEventsEndpoints: [`tcp://127.0.0.1:${Number(port)}`],
        ...replayEndpoint,
      });
      const [first, missed, last] = [0, 1, 2].map((group) => promptOf(group, 0).slice(0, BLOCK_SIZE)) as [
        number[],
        number[],
        number[],
      ];
      const has = async (tokens: number[]) => (await router.overlapScores({ tokens }))[0]?.deviceBlocks;
      const stored = (hash: number, token_ids: number[], more = {}) =>
        engine.send({
          ...more,
          events: [
            {
              type: 'BlockStored',
              block_hashes: [hash],
              parent_block_hash: null,
              token_ids,
              block_size: BLOCK_SIZE,
              lora_id: null,
            },
          ],
        });
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
    },
    60_000,
  );

  it('an engine’s ZMQ events reach a selection service with its endpoint', async () => {
    const cluster = privateCluster();
    onTestFinished(() => cluster.remove());
    const engine = pythonPeer('router.py', ['relay', 'tcp://127.0.0.1'], cluster.dir);
    onTestFinished(() => engine.stop());
    const port = Number((await engine.event('ready'))['port']);
    await using router = await SelectionService.create();
    await router.putWorker({ workerId: 1n, blockSize: BLOCK_SIZE });
    await router.putWorker({ workerId: 2n, blockSize: BLOCK_SIZE, kvEventsEndpoints: [`tcp://127.0.0.1:${port}`] });
    const tokens = promptOf(0, 0).slice(0, 4 * BLOCK_SIZE);
    await waitFor(
      'the stored blocks',
      async () => {
        engine.send({
          events: [
            {
              type: 'BlockStored',
              block_hashes: [11, 12, 13, 14],
              parent_block_hash: null,
              token_ids: tokens,
              block_size: BLOCK_SIZE,
              lora_id: null,
            },
          ],
        });
        return (await router.overlapScores({ tokens })).find(({ workerId }) => workerId === 2n)?.deviceBlocks;
      },
      (blocks) => blocks === 4,
    );
    expect((await router.select({ tokens })).workerId).toBe(2n);
    await router.removeWorker(2n);
    expect((await router.select({ tokens })).workerId).toBe(1n);
  }, 180_000);
});
