import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { BuiltInWorker, Frontend, type HttpFrontendOptions, type RouterOptions, type RoutingBatch } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';
import { modelPath } from '../../../examples/tiny-llama/engine.js';
import { BLOCK_SIZE, CachingEngine } from '../../helpers/llm/caching-engine.js';
import { type Deployment, deployments, post } from '../../helpers/llm/deployments.js';
import { kserveInfer } from '../../helpers/llm/kserve.js';
import { waitForRow } from '../../helpers/router/prompts.js';
import { waitFor } from '../../helpers/wait.js';

const deploy = deployments();

const shared = Array.from({ length: 12 * BLOCK_SIZE }, (_, index) => 300 + (index % 200));
/** A prompt that shares its prefix with its group and has a unique end. */
const promptOf = (group: number, index: number): number[] => [290 - group, ...shared, 10 + index, 11 + index];

async function two(deployment: Deployment): Promise<{ engines: CachingEngine[]; ids: bigint[] }> {
  const engines = [new CachingEngine('cached'), new CachingEngine('cached')];
  const ids: bigint[] = [];
  for (const engine of engines) ids.push((await deployment.serve(engine)).runtime.instanceId);
  return { engines, ids };
}

const KV: RouterOptions = { mode: 'kv', kv: { router_temperature: 0 } };

async function frontend(
  deployment: Deployment,
  router: RouterOptions,
  options: HttpFrontendOptions = {},
): Promise<Frontend> {
  const started = await deployment.frontend({ router, ...options });
  await started.waitForModel('cached');
  return started;
}

async function complete(to: Frontend, prompt: readonly number[]): Promise<number | undefined> {
  const response = await post(to, '/v1/completions', { model: 'cached', prompt, max_tokens: 2 });
  const body = await response.text();
  expect(response.status, body).toBe(200);
  return (JSON.parse(body) as { usage: { prompt_tokens_details?: { cached_tokens?: number } } }).usage
    .prompt_tokens_details?.cached_tokens;
}

/** For each group, the number of workers that cached its prefix. Without KV routing all of them do. */
const workersOfGroups = (engines: readonly CachingEngine[], groups: readonly number[]): number[] =>
  groups.map((group) => engines.filter((engine) => engine.has(promptOf(group, 0), 12)).length);

/** Sends prompts of a group until the router knows its blocks. */
async function waitUntilKnown(to: Frontend, group: number): Promise<void> {
  let index = 1000;
  await waitForRow(
    `a router that knows group ${group}`,
    async () => ((await complete(to, promptOf(group, index++))) ?? 0) > 0,
  );
}

describe('an HTTP frontend in mode kv', () => {
  it('sends each prefix to the worker that has it, and reports cached tokens', async () => {
    const deployment = deploy();
    const { engines } = await two(deployment);
    const to = await frontend(deployment, KV);
    const groups = [0, 1, 2, 3, 4, 5, 6, 7];
    for (const group of groups) await waitUntilKnown(to, group);
    const before = engines.map(({ cached }) => cached.length);
    for (let index = 0; index < 3; index++) {
      for (const group of groups) expect(await complete(to, promptOf(group, index))).toBe(12 * BLOCK_SIZE);
    }
    const hits = engines.flatMap(({ cached }, which) => cached.slice(before[which]));
    expect(hits).toEqual(Array.from({ length: 24 }, () => 12 * BLOCK_SIZE));
    expect(workersOfGroups(engines, groups).filter((count) => count === 1).length).toBeGreaterThanOrEqual(4);
  });

  it('keeps a session on its worker even if another has the prefix', async () => {
    const deployment = deploy();
    const { engines } = await two(deployment);
    const to = await frontend(deployment, { ...KV, sessionAffinitySeconds: 60 });
    await waitUntilKnown(to, 0);
    const home = engines.findIndex((engine) => engine.has(promptOf(0, 0), 12));
    const other = engines[1 - home] as CachingEngine;
    const inSession = async (session: string, prompt: readonly number[]): Promise<void> => {
      const headers = { 'x-dynamo-session-id': session };
      expect((await post(to, '/v1/completions', { model: 'cached', prompt, max_tokens: 2 }, { headers })).status).toBe(
        200,
      );
    };
    // The first request of one of these sessions goes to the worker without the prefix.
    let session = 0;
    await waitFor('a session there', async () => {
      const before = other.cached.length;
      await inSession(String(++session), promptOf(50 + session, 0));
      return other.cached.length > before;
    });
    const before = other.cached.length;
    for (let index = 0; index < 4; index++) await inSession(String(session), promptOf(0, index));
    expect(other.cached.slice(before)).toHaveLength(4);
    expect(await complete(to, promptOf(0, 9)), 'without a session').toBe(12 * BLOCK_SIZE);
  });

  it('differs from round-robin, which spreads each prefix', async () => {
    const deployment = deploy();
    const { engines } = await two(deployment);
    const to = await frontend(deployment, { mode: 'round_robin' });
    const groups = [0, 1, 2, 3];
    for (const group of groups) for (let index = 0; index < 2; index++) await complete(to, promptOf(group, index));
    expect(workersOfGroups(engines, groups)).toEqual([2, 2, 2, 2]);
  });
});

describe('a KServe frontend in mode kv', () => {
  it('sends each prefix to the worker that has it', async () => {
    const deployment = deploy();
    const { engines } = await two(deployment);
    const to = await Frontend.start(deployment.options, { input: 'grpc', port: 0, metricsPort: 0, router: KV });
    onTestFinished(() => to.close({ timeoutMs: 5000 }));
    await to.ready;
    const infer = kserveInfer(to, 'cached');
    const text = (group: number, index: number): string =>
      `${['Alpha', 'Beta', 'Gamma'][group]} ${'blocks of a cache that lie there '.repeat(40)} ${index}`;
    let index = 1000;
    for (const group of [0, 1, 2]) {
      await waitForRow(`a router that knows group ${group}`, async () => {
        const before = engines.map(({ cached }) => cached.length);
        await infer(text(group, index++)).catch(() => undefined);
        return engines.some(({ cached }, which) =>
          cached.slice(before[which]).some((tokens) => tokens > 10 * BLOCK_SIZE),
        );
      });
    }
    const before = engines.map(({ cached }) => cached.length);
    for (let round = 0; round < 4; round++) for (const group of [0, 1, 2]) await infer(text(group, round));
    const hits = engines.flatMap(({ cached }, which) => cached.slice(before[which]));
    expect(hits).toHaveLength(12);
    expect(Math.min(...hits)).toBeGreaterThan(10 * BLOCK_SIZE);
  });
});

describe('a policy in an HTTP frontend', () => {
  it('overrides the default costs', async () => {
    const deployment = deploy();
    const { engines, ids } = await two(deployment);
    const batches: RoutingBatch[] = [];
    let wanted = ids[0] as bigint;
    const to = await frontend(deployment, {
      ...KV,
      policy: {
        timeoutMs: 1000,
        score: (batch) => {
          batches.push(batch);
          return Array.from(batch.workerIds, (id) => (id === wanted ? 0 : 1));
        },
      },
    });
    const cachedAt = ({ workerIds, deviceBlocks }: RoutingBatch, id: bigint | undefined): number =>
      deviceBlocks[workerIds.indexOf(id as bigint)] ?? 0;
    await waitFor('both workers, and what the first has', async () => {
      await complete(to, promptOf(0, batches.length));
      const last = batches.at(-1) as RoutingBatch;
      return last.length === 2 && cachedAt(last, ids[0]) > 0;
    });
    // The first worker has the prefix, but the policy chooses the second.
    wanted = ids[1] as bigint;
    const before = engines.map(({ cached }) => cached.length) as [number, number];
    for (let index = 0; index < 5; index++) await complete(to, promptOf(0, 50 + index));
    expect(engines.map(({ cached }) => cached.length)).toEqual([before[0], before[1] + 5]);
    const batch = batches.find((each) => cachedAt(each, ids[0]) > 0) as RoutingBatch;
    const row = batch.workerIds.indexOf(ids[0] as bigint);
    expect(batch.deviceBlocks[row]).toBe(12);
    expect(batch.costs[row]).toBeLessThan(batch.costs[1 - row] as number);
    expect(to.policyCounts?.scored).toBe(batches.length);
    const metrics = await (await fetch(`${to.url}/metrics`)).text();
    expect(metrics).toMatch(
      new RegExp(`router_policy_requests_total\\{[^}]*outcome="scored"[^}]*\\} ${batches.length}`),
    );
  });

  it('that blocks for a second falls back to the default costs, and is counted', async () => {
    const deployment = deploy();
    await two(deployment);
    let busy = 0;
    const to = await frontend(deployment, {
      ...KV,
      policy: {
        score: ({ costs }) => {
          const until = performance.now() + busy;
          while (performance.now() < until);
          return costs;
        },
      },
    });
    await waitUntilKnown(to, 1);
    const before = to.policyCounts as NonNullable<Frontend['policyCounts']>;
    busy = 1000;
    expect(await complete(to, promptOf(1, 1))).toBe(12 * BLOCK_SIZE);
    busy = 0;
    await waitFor(
      'the count',
      () => to.policyCounts,
      (counts) => (counts?.timedOut ?? 0) > before.timedOut,
    );
    const metrics = await (await fetch(`${to.url}/metrics`)).text();
    expect(metrics).toMatch(/router_policy_requests_total\{[^}]*outcome="timed_out"[^}]*\} [1-9]/);
  });

  it('that blocks for seconds does not delay a client in another process', async () => {
    const deployment = deploy();
    // Both sides of the router are native. Only the policy needs this event loop.
    const worker = await BuiltInWorker.start(deployment.options, 'test.backend.generate', {
      kind: 'mocker',
      modelPath,
      modelName: 'cached',
      kvCacheBlockSize: BLOCK_SIZE,
      config: { engine: { block_size: BLOCK_SIZE, speedup_ratio: 100 } },
    });
    onTestFinished(() => worker.close({ timeoutMs: 2000 }));
    await worker.ready;
    let busy = 0;
    const to = await frontend(deployment, {
      ...KV,
      policy: {
        score: ({ costs }) => {
          const until = performance.now() + busy;
          while (performance.now() < until);
          return costs;
        },
      },
    });
    await complete(to, promptOf(0, 0));
    const body = JSON.stringify({ model: 'cached', prompt: promptOf(0, 1), max_tokens: 2 });
    const client = `const post = async () => { const begin = performance.now();
      const headers = { 'content-type': 'application/json' };
      const request = { method: 'POST', headers, body: ${JSON.stringify(body)} };
      const response = await fetch('${to.url}/v1/completions', request);
      await response.text(); return [response.status, performance.now() - begin]; };
      await (await fetch('${to.url}/live')).text();
      console.log(JSON.stringify(await post()));`;
    busy = 6000;
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', client]);
    busy = 0;
    const [status, ms] = JSON.parse(stdout) as [number, number];
    expect(status).toBe(200);
    expect(ms).toBeLessThan(3000);
    expect(to.policyCounts?.timedOut).toBeGreaterThan(0);
  });

  it('is rejected with TypeError where Dynamo supports none', async () => {
    const { options } = deploy();
    const policy = { score: () => [] };
    expect(() => Frontend.start(options, { input: 'grpc', port: 0, router: { mode: 'kv', policy } })).toThrow(
      expect.objectContaining({ code: 'DYN_NOT_IMPLEMENTED' }),
    );
    expect(() =>
      Frontend.start(options, { port: 0, engine: { kind: 'echo' }, router: { mode: 'kv', policy } }),
    ).toThrow(expect.objectContaining({ code: 'DYN_NOT_IMPLEMENTED' }));
    expect(() => Frontend.start(options, { port: 0, router: { policy } })).toThrow(/router\.policy: expected mode kv/);
  });
});
