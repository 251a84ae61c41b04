import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BlockManager, Frontend, KvRouter, TokenSequence } from 'dynamo-node';
import { expect, it, onTestFinished } from 'vitest';
import { modelPath } from '../../../examples/tiny-llama/engine.js';
import { missingPeers, type Peer, startPeer } from '../../helpers/interop/peers.js';
import { BLOCK_SIZE, CachingEngine } from '../../helpers/llm/caching-engine.js';
import { type Deployment, deployments } from '../../helpers/llm/deployments.js';
import { kserveInfer } from '../../helpers/llm/kserve.js';
import { waitForRow } from '../../helpers/router/prompts.js';
import { freePort } from '../../helpers/runtime/cluster.js';
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

/** Python's mocker with the model `mixed`. */
function mocker(deployment: Deployment): Peer {
  const model = ['--model-path', modelPath, '--model-name', 'mixed', '--max-model-len', '4096'];
  const engine = ['--speedup-ratio', '100', '--block-size', String(BLOCK_SIZE)];
  return peer(deployment, '-m', 'dynamo.mocker', ...model, ...engine);
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
      const mockers = [1, 2].map(() => mocker(deployment));
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
      const mockers = [1, 2].map(() => mocker(deployment));
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
});
