import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DecisionRecord, PlannerServiceOptions, PlannerState } from 'dynamo-node/planner';
import { describe, expect, it } from 'vitest';
import type { LocalGraphOptions } from '../../../lib/deploy/local/local-graph.js';
import { LocalScaler } from '../../../lib/deploy/local/scaler.js';
import { ServeTest } from '../../helpers/deploy/serve.js';
import { root } from '../../helpers/project.js';
import { waitFor } from '../../helpers/wait.js';

const GRAPH = join(root, 'test/helpers/planner/graphs/mocked.ts');

const OPTIONS: PlannerServiceOptions = {
  config: {
    ...{ objective: 'throughput', intervalMs: 250, coldStartMs: 1000, maxGpus: 3 },
    pools: { worker: { kvTokens: 4000, maxRequests: 4 } },
  },
};

const { signal } = new AbortController();

/** The graph, with these options of its planner. */
async function planned(serve: ServeTest, options = OPTIONS, how: Partial<LocalGraphOptions> = {}) {
  const { local, lines } = await serve.local({ Planner: options } as never, how, GRAPH);
  const service = (name: string) => local.state.services.find((one) => one.name === name);
  const url = () => local.state.urls[0] as string;
  return {
    local,
    lines,
    url,
    /** Starts the graph, and waits until its frontend knows the worker. */
    async start(): Promise<void> {
      await local.start();
      await waitFor('an answer', async () => (await ask(url(), 1)) === 1);
    },
    scaler: (planner = 'Planner#0') =>
      new LocalScaler({ folder: join(serve.folder, 'planned'), services: { worker: 'Worker' }, planner }),
    ready: () => service('Worker')?.workers.filter(({ phase }) => phase === 'ready').length,
    desired: () => service('Worker')?.desired,
    decisions: () =>
      readFileSync(join(serve.folder, 'planned', 'decisions.jsonl'), 'utf8')
        .split('\n')
        .slice(0, -1)
        .map((line) => JSON.parse(line) as DecisionRecord),
  };
}

/** One request. Returns the number of its tokens, or what went wrong. */
async function ask(url: string, tokens: number): Promise<number | string> {
  const body = JSON.stringify({ model: 'mocked', prompt: 'one two three four', max_tokens: tokens, ignore_eos: true });
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(`${url}/v1/completions`, { method: 'POST', headers, body });
  const text = await response.text();
  if (!response.ok) return `${response.status} ${text}`;
  return (JSON.parse(text) as { usage: { completion_tokens: number } }).usage.completion_tokens;
}

describe('a planner of a served graph', () => {
  it('starts processes under load and drains them after it, without a failed request', async () => {
    await using serve = new ServeTest();
    const { start, url, ready, desired, decisions, lines } = await planned(serve);
    await start();
    expect(ready()).toBe(1);
    const results: (number | string)[] = [];
    const isLoaded = { value: true };
    const users = Array.from({ length: 12 }, async () => {
      while (isLoaded.value) results.push(await ask(url(), 100));
    });
    await waitFor('three workers', () => ready() === 3, undefined, 60_000);
    isLoaded.value = false;
    await Promise.all(users);
    await waitFor('one worker', () => ready() === 1 && desired() === 1, undefined, 60_000);
    expect(new Set(results)).toEqual(new Set([100]));
    const all = decisions();
    expect(all.flatMap(({ errors }) => errors)).toEqual([]);
    expect(all.filter(({ outcome }) => outcome === 'scaled').map(({ targets }) => targets.worker)).toContain(3);
    expect(lines.join('\n')).toMatch(
      /\[Planner#0\] scaled: worker \d to 3: a worker is at or above the upper threshold/,
    );
  });

  it('lets a removed worker complete requests that take longer than the grace of the graph', async () => {
    await using serve = new ServeTest();
    const idle = { ...OPTIONS, advisory: true };
    const { start, url, ready, scaler } = await planned(serve, idle, { graceMs: 500 });
    await start();
    const planner = scaler();
    await planner.scale({ worker: 2 }, { signal });
    await waitFor('two workers', () => ready() === 2, undefined, 60_000);
    // More requests than one worker takes, so that both have some.
    const answers = Array.from({ length: 8 }, () => ask(url(), 300));
    await waitFor('both work', async () => {
      const text = await (await fetch(`${url()}/metrics`)).text();
      return /dynamo_frontend_inflight_requests\{.*\} 8/.test(text);
    });
    await planner.scale({ worker: 1 }, { signal });
    expect(await Promise.all(answers)).toEqual(answers.map(() => 300));
    await waitFor('one worker', () => ready() === 1);
  });

  it('refuses a second planner, and takes orders of a person', async () => {
    await using serve = new ServeTest();
    const { local, scaler, desired } = await planned(serve, { ...OPTIONS, advisory: true });
    await local.start();
    const second = scaler('second');
    await expect(second.current({ signal })).rejects.toMatchObject({ code: 'E_PLANNER_CONFLICT' });
    await expect(second.scale({ worker: 2 }, { signal })).rejects.toMatchObject({ code: 'E_PLANNER_CONFLICT' });
    expect(desired()).toBe(1);
    const { code } = await serve.dynamo('scale', 'Worker=2', '--graph', 'planned');
    expect([code, desired()]).toEqual([0, 2]);
  });

  it('continues with what it has learned after a crash of its process', async () => {
    await using serve = new ServeTest();
    const { local, decisions, desired } = await planned(serve);
    await local.start();
    await waitFor('decisions', () => decisions().length > 5);
    const file = join(serve.folder, 'planned', 'planner.json');
    // It is written once a second at most, and the first time with nothing learned.
    const before = await waitFor(
      'three samples',
      () => JSON.parse(readFileSync(file, 'utf8')) as PlannerState,
      ({ requests }) => requests.length >= 3,
    );
    const { pid } = local.state.services.find(({ name }) => name === 'Planner')?.workers[0] ?? {};
    process.kill(pid as number, 'SIGKILL');
    const again = await waitFor(
      'its next decision',
      () => decisions().find(({ tick }, at) => tick === 1 && at > 0),
      undefined,
      60_000,
    );
    expect(again?.reasons.map(({ code }) => code)).toContain('clock-jump');
    expect(again?.targets).toEqual({ worker: 1 });
    const after = await waitFor('more traffic', () => {
      const state = JSON.parse(readFileSync(file, 'utf8')) as PlannerState;
      return state.requests.length > before.requests.length ? state : undefined;
    });
    expect(after?.requests.slice(0, 3).map(({ amount }) => amount)).toEqual(
      before.requests.slice(0, 3).map(({ amount }) => amount),
    );
    expect(desired()).toBe(1);
  });

  it('keeps serving if the workers that it adds never become ready, and starts no others instead', async () => {
    await using serve = new ServeTest({ PLANNED_HANG: '1' });
    const { local, start, url, ready, desired, decisions } = await planned(serve);
    await start();
    const isLoaded = { value: true };
    const results: (number | string)[] = [];
    const users = Array.from({ length: 12 }, async () => {
      while (isLoaded.value) results.push(await ask(url(), 50));
    });
    await waitFor('three wanted workers', () => desired() === 3, undefined, 60_000);
    const before = decisions().length;
    await waitFor('further decisions', () => decisions().length > before + 8);
    expect([ready(), desired()]).toEqual([1, 3]);
    expect(local.state.services.find(({ name }) => name === 'Worker')?.workers).toHaveLength(3);
    isLoaded.value = false;
    await Promise.all(users);
    expect(new Set(results)).toEqual(new Set([50]));
    await waitFor('the excess to be cancelled', () => desired() === 1, undefined, 60_000);
  });
});
