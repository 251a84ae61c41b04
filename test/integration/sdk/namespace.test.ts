import { builtInService, type ClientOf, defineService, depends, frontendService, graph } from 'dynamo-node/sdk';
import { startCluster, startGraph, type TestCluster, waitFor, waitForModel } from 'dynamo-node/testing';
import { afterEach, describe, expect, it } from 'vitest';

const VARIABLES = [
  'DYN_NAMESPACE',
  'DYN_NAMESPACE_PREFIX',
  'DYN_NAMESPACE_WORKER_SUFFIX',
  'DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS',
] as const;
type Variables = { readonly [Name in (typeof VARIABLES)[number]]?: string };

/** The variables that services read when they start. */
function set(variables: Variables): void {
  for (const name of VARIABLES) {
    const value = variables[name];
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
  process.env['DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS'] = '0';
}
afterEach(() => set({}));

/** A worker that answers with its place and a mark, and a front that calls it. */
function wordsOf(mark: string) {
  const Worker = defineService('Worker').endpoint('mark', async (_: string, { namespace }) => `${mark} ${namespace}`);
  const Front = defineService('Front', { role: 'frontend', deps: { worker: depends(Worker) } }).endpoint(
    'ask',
    async (text: string, { deps }) => deps.worker.mark(text, { attempts: 3 }),
  );
  return { Worker, Front };
}

const generation = async (cluster: TestCluster, suffix: string, mark = suffix) => {
  set({ DYN_NAMESPACE: 'prod', DYN_NAMESPACE_WORKER_SUFFIX: suffix });
  const { Worker } = wordsOf(mark);
  return await startGraph(graph('workers', Worker), { cluster });
};

describe('DYN_NAMESPACE', () => {
  it('keeps two graphs in one discovery apart', async (test) => {
    const cluster = await startCluster({ test });
    const answers: string[] = [];
    const fronts: ClientOf<{ ask(text: string): Promise<string> }>[] = [];
    for (const name of ['one', 'two']) {
      set({ DYN_NAMESPACE: name });
      const { Front } = wordsOf(name);
      const running = await startGraph(graph('words', Front), { cluster });
      expect(running.workers('Worker').map(({ namespace }) => namespace)).toEqual([name]);
      fronts.push(await running.client(Front));
    }
    for (let call = 0; call < 4; call++) answers.push(...(await Promise.all(fronts.map((front) => front.ask('')))));
    expect(new Set(answers)).toEqual(new Set(['one one', 'two two']));
    expect(answers.filter((_, index) => index % 2 === 0)).toEqual(Array(4).fill('one one'));
  });

  it('limits a frontend to the models of its graph', async (test) => {
    const cluster = await startCluster({ test });
    const frontends: (string | undefined)[] = [];
    for (const name of ['one', 'two']) {
      set({ DYN_NAMESPACE: name });
      const Echo = builtInService('Echo', { kind: 'echo', modelName: `model-${name}` });
      const running = await startGraph(graph('chat', frontendService('Front')).with(Echo), { cluster });
      frontends.push(running.url);
    }
    for (const [index, name] of ['one', 'two'].entries())
      expect(await waitForModel(frontends[index] as string, `model-${name}`)).toEqual([`model-${name}`]);
  });
});

describe('DYN_NAMESPACE_WORKER_SUFFIX', () => {
  it('lets callers with the prefix use old and new workers of a rolling update, and no call fails', async (test) => {
    const cluster = await startCluster({ test });
    const old = await generation(cluster, 'v1');
    expect(old.workers('Worker')[0]?.namespace).toBe('prod-v1');

    set({ DYN_NAMESPACE: 'prod', DYN_NAMESPACE_PREFIX: 'prod' });
    const { Front, Worker } = wordsOf('unused');
    const front = await startGraph(graph('words', Front).scale({ Worker: 0 }), { cluster });
    const client = await front.client(Front);
    const marks: string[] = [];
    const failures: unknown[] = [];
    let isOver = false;
    const calls = (async () => {
      while (!isOver)
        await client.ask('').then(
          (mark) => marks.push(mark),
          (error) => failures.push(error),
        );
    })();
    await waitFor('an answer of the old workers', () => marks.includes('v1 prod-v1'));
    await generation(cluster, 'v2');
    await waitFor('an answer of the new workers', () => marks.includes('v2 prod-v2'));
    await old.remove(Worker.name);
    const from = marks.length;
    await waitFor('further answers', () => marks.length > from + 50);
    isOver = true;
    await calls;
    expect(failures).toEqual([]);
    expect(new Set(marks.slice(from + 1))).toEqual(new Set(['v2 prod-v2']));
  });

  it('lets a caller of the same generation use only its own', async (test) => {
    const cluster = await startCluster({ test });
    await generation(cluster, 'v1');
    await generation(cluster, 'v2');
    const { Front } = wordsOf('unused');
    const front = await startGraph(graph('words', Front).scale({ Worker: 0 }), { cluster });
    const client = await front.client(Front);
    const marks = await Promise.all(Array.from({ length: 8 }, () => client.ask('')));
    expect(new Set(marks)).toEqual(new Set(['v2 prod-v2']));
  });
});
