import { readFileSync } from 'node:fs';
import type { TraceView } from 'dynamo-node/dashboard';
import { describe, expect, it } from 'vitest';
import type { Child } from '../../helpers/child.js';
import { instancesOf, serviceOf, ViewClient } from '../../helpers/dashboard/view.js';
import { openEvents } from '../../helpers/dashboard/viewer.js';
import { ServeTest } from '../../helpers/deploy/serve.js';
import { MODEL } from '../../helpers/router/disaggregated-engines.js';
import { waitFor, waitForModel } from '../../helpers/wait.js';

const target = 'test/helpers/deploy/graphs/disaggregated.ts';
const NAME = 'disaggregated-test';
const PROMPT = 'a b c d e f g h';

const commandOf = (pid: number): string => readFileSync(`/proc/${pid}/cmdline`, 'utf8');

/** What a command in a process has written, when it has ended. */
async function resultOf(child: Child): Promise<{ code: number | null; output: string }> {
  const { code } = await child.exit();
  return { code, output: child.output };
}

describe('dynamo serve --ui', () => {
  it('shows the graph, its traffic, a request, logs and a change of its workers until it ends', async () => {
    await using serving = new ServeTest({ DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS: '1' });
    const serve = serving.serve(['--ui'], target);
    await serving.ready(serve, NAME);
    const view = await ViewClient.of(serve);
    const viewer = await openEvents(view.origin);

    // The graph, joined with discovery.
    const started = await view.until(
      'all instances in discovery',
      (snapshot) =>
        ['Prefill', 'Decode'].every((name) => instancesOf(snapshot, name)[0]?.address !== undefined) &&
        serviceOf(snapshot, 'Frontend')?.ready === 1,
    );
    expect(started.graph).toMatchObject({ name: NAME, phase: 'ready' });
    expect(started.services.map(({ name, role }) => [name, role]).sort()).toEqual([
      ['Decode', 'decode'],
      ['Frontend', 'frontend'],
      ['Prefill', 'prefill'],
    ]);
    expect(started.edges).toContainEqual({ from: 'Prefill', to: 'Decode', kind: 'transfer' });
    expect(started.edges.filter(({ kind }) => kind === 'request').map(({ from, to }) => [from, to])).toEqual(
      expect.arrayContaining([
        ['Frontend', 'Prefill'],
        ['Frontend', 'Decode'],
      ]),
    );
    expect(started.warnings).toEqual([]);
    const { pid, instanceId } = instancesOf(started, 'Decode')[0] ?? {};
    expect(pid).toBeGreaterThan(1);
    expect(instanceId).toMatch(/^\d+$/);

    // Without the token there are no actions.
    expect((await fetch(`${view.origin}/api/logs?instance=Decode%230`)).status).toBe(401);

    // A request, with what the frontend and both workers measured. A frontend that knows no prefill worker yet has the
    // decode worker prefill.
    const trace = await waitFor(
      'a traced request of both workers',
      () => view.trace({ prompt: PROMPT, model: MODEL, maxTokens: 6 }),
      ({ outcome, spans }) => outcome === 'ok' && spans.some(({ instance }) => instance === 'Prefill#0'),
    );
    expect(trace.outputTokens).toBe(6);
    expect(trace.notes).toEqual([]);
    expect(trace.spans.map(({ name, source, instance }) => [name, source, instance])).toEqual(
      expect.arrayContaining([
        ['request', 'client', undefined],
        ['queue', 'frontend', undefined],
        ['prefill', 'worker', 'Prefill#0'],
        ['decode', 'worker', 'Decode#0'],
      ]),
    );

    // Traffic.
    let isOver = false;
    const clients = Array.from({ length: 2 }, async () => {
      while (!isOver) await view.call('/api/trace', { prompt: PROMPT, model: MODEL, maxTokens: 4 });
    });
    const busy = await view.until(
      'traffic',
      ({ flow, ttft }) => (flow.requestsPerSecond ?? 0) > 0 && ttft?.p50Ms !== undefined,
    );
    expect(busy.ttft?.meanMs).toBeGreaterThan(0);
    expect(busy.traces.length).toBeGreaterThan(0);
    expect(JSON.stringify(busy)).not.toContain(PROMPT);

    // A change of the number of workers, while requests run.
    const scaled = await view.call('/api/scale', { service: 'Decode', workers: 2 });
    expect([200, 202]).toContain(scaled.status);
    await view.until('two decode workers', (snapshot) => serviceOf(snapshot, 'Decode')?.ready === 2);
    const refused = await view.call('/api/scale', { service: 'Nobody', workers: 2 });
    expect(refused.status).toBe(400);
    expect(((await refused.json()) as { error: { message: string } }).error.message).toContain('Nobody');
    isOver = true;
    await Promise.all(clients);

    // A crash.
    process.kill(instancesOf(await view.snapshot(), 'Decode')[1]?.pid as number, 'SIGKILL');
    const crashed = await view.until('the crash', (snapshot) => instancesOf(snapshot, 'Decode')[1]?.restarts === 1);
    expect(instancesOf(crashed, 'Decode')[0]?.restarts).toBe(0);

    // Logs.
    const logs = (await (await view.call('/api/logs?instance=Frontend%230&tail=5')).json()) as { lines: unknown[] };
    expect(logs.lines.length).toBeLessThanOrEqual(5);
    expect((await view.call('/api/logs?instance=..%2F..%2Flock')).status).toBe(404);

    // The end.
    expect(await serving.dynamo('stop')).toMatchObject({ code: 0 });
    expect(await serve.exit()).toMatchObject({ code: 0 });
    await expect.poll(() => viewer.events.at(-1)?.event).toBe('end');
    viewer.close();
    expect(serving.processes).toEqual([]);
  });

  it('says that the view has ended, and the graph goes on', async () => {
    await using serving = new ServeTest();
    const serve = serving.serve(['--ui'], 'test/helpers/deploy/graphs/chat.ts');
    await serving.ready(serve, 'chat-test');
    const view = await ViewClient.of(serve);
    await view.snapshot();
    const [pid] = serving.processes.filter((one) => commandOf(one).includes('\0ui\0'));
    process.kill(pid as number, 'SIGKILL');
    await waitFor(
      'the note',
      () => serve.output,
      (output) => output.includes('the live view has ended'),
    );
    expect((await serving.states())[0]).toMatchObject({ phase: 'ready' });
  });
});

describe('a traced request of a KV router', () => {
  it('is shown with what each worker had in its cache', async () => {
    await using serving = new ServeTest();
    const serve = serving.serve(['--ui', '--port', '0'], 'examples/kv-router/graph.ts');
    await serving.ready(serve, 'kv-router');
    const view = await ViewClient.of(serve);
    const { graph } = await view.until('both workers in discovery', (snapshot) => {
      const workers = instancesOf(snapshot, 'Worker');
      return workers.length === 2 && workers.every(({ address }) => address !== undefined);
    });
    await waitForModel(graph.urls[0] as string, 'tiny-llama');
    const ask = (prompt: string): Promise<TraceView> => view.trace({ prompt, maxTokens: 3 });
    // The router learns what is in a cache after the answer. A second prompt that comes before goes to any worker, so
    // each try has a beginning of its own, which is long enough for several blocks.
    let tries = 0;
    const { first, known } = await waitFor(
      'a request whose beginning is in a cache',
      async () => {
        const beginning = `Try ${tries++}: a beginning that no other prompt has, for some blocks of a cache. `.repeat(
          3,
        );
        return { first: await ask(`${beginning}one`), known: await ask(`${beginning}two`) };
      },
      (answers) => answers.first.outcome === 'ok' && (answers.known.routing?.candidates[0]?.cachedBlocks ?? 0) > 0,
      60_000,
    );
    const { routing } = known;
    expect(routing).toMatchObject({ service: 'Worker', reason: expect.stringMatching(/^the lowest cost: it had \d+/) });
    expect(routing?.candidates.map(({ isWinner, cachedBlocks }) => [isWinner, cachedBlocks > 0])).toEqual([
      [true, true],
      [false, false],
    ]);
    const server = ({ spans }: TraceView): string | undefined => spans.find(({ name }) => name === 'decode')?.instance;
    expect(routing?.candidates[0]?.instance).toBe(server(known));
    expect(server(known)).toBe(server(first));
    expect(known.cachedTokens).toBeGreaterThan(0);
  });
});

describe('dynamo ui and dynamo top', () => {
  it('show a graph by its name, and end with it', async () => {
    await using serving = new ServeTest();
    const serve = serving.serve([], 'test/helpers/deploy/graphs/chat.ts');
    await serving.ready(serve, 'chat-test');
    const ui = serving.start(['ui', 'chat-test']);
    const view = await ViewClient.of(ui);
    expect((await view.snapshot()).graph).toMatchObject({ name: 'chat-test', phase: 'ready' });

    const top = await resultOf(serving.start(['top', '--once', '--json', '--interval-seconds', '0.2']));
    expect(top).toMatchObject({ code: 0 });
    expect(JSON.parse(top.output)).toMatchObject({ schema: 'dynamo-node.dashboard/v1', graph: { name: 'chat-test' } });
    const text = await resultOf(serving.start(['top', 'chat-test', '--interval-seconds', '0.2']));
    expect(text.output).toMatch(/chat-test {2}ready {2}Chat \(frontend\) 1\/1/);

    await serving.dynamo('stop');
    expect(await ui.exit()).toMatchObject({ code: 0 });
  });

  it('say that no such graph runs, and that a port is taken', async () => {
    await using serving = new ServeTest();
    expect(await serving.dynamo('ui', 'nobody')).toMatchObject({ code: 69 });
    expect(await serving.dynamo('top', 'nobody')).toMatchObject({ code: 69 });
    const wrong = await serving.dynamo('ui', '--frontend', 'ftp://x');
    expect(wrong).toMatchObject({ code: 64 });
    expect(wrong.stderr).toContain('--frontend: expected an address');
    const open = await serving.dynamo('ui', '--frontend', 'http://127.0.0.1:1', '--host', '0.0.0.0');
    expect(open).toMatchObject({ code: 64 });
    expect(open.stderr).toContain('loopback');
  });
});
