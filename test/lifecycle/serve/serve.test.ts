import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

import { ServeTest } from '../../helpers/deploy/serve.js';
import { waitFor } from '../../helpers/wait.js';

const target = 'test/helpers/deploy/graphs/serve.ts';

describe('dynamo serve', () => {
  it('runs a graph, lists it in ps, answers through its dependencies, and ends with code 0 on SIGINT', async () => {
    await using test = new ServeTest();
    const serve = test.serve();
    await test.ready(serve);
    const [state] = await test.states();
    expect(state).toMatchObject({ graph: 'serve-test', phase: 'ready', pid: serve.pid });
    const workers = state!.services.flatMap(({ name, workers }) => workers.map((worker) => ({ name, ...worker })));
    expect(workers.map(({ name, phase }) => `${name} ${phase}`)).toEqual([
      'Splitter ready',
      'Upper ready',
      'Front ready',
    ]);
    expect(test.processes).toEqual(expect.arrayContaining(workers.map(({ pid }) => pid)));

    const client = await (await test.runtime()).endpoint<string, string>('dynamo.front.generate').client();
    await client.waitForInstances();
    expect(await client.unary('one two')).toBe('ONE-TWO');

    serve.kill('SIGINT');
    expect(await serve.exit()).toMatchObject({ code: 0 });
    expect(await test.states()).toEqual([]);
  });

  it('fails with the error of a service that throws in its start, and starts nothing after it', async () => {
    await using test = new ServeTest();
    const serve = test.serve(['--Splitter.mode=throw']);
    expect(await serve.exit()).toMatchObject({ code: 1 });
    expect(serve.output).toContain('error[E_WORKER_FAILED]: Splitter#0 did not start: no such model');
    expect(serve.output).toMatch(/\[Splitter#0\] +at _?Splitter\.start/);
    expect(serve.output).not.toContain('Upper#0 is ready');
  });

  it('kills everything at once on a second signal', async () => {
    await using test = new ServeTest();
    const serve = test.serve(['--Splitter.mode=hang-in-shutdown', '--grace', '600']);
    await test.ready(serve);
    serve.kill('SIGINT');
    await waitFor(
      'the drain',
      () => test.states(),
      ([state]) => state?.phase === 'draining',
    );
    serve.kill('SIGINT');
    expect(await serve.exit()).toMatchObject({ code: 130 });
  });

  const loading = async (test: ServeTest, code: string) => {
    const module = join(test.folder, 'graph.mjs');
    writeFileSync(module, `console.log('loading');\n${code}`);
    const serve = test.serve([], module);
    await waitFor(
      'the module is loading',
      () => serve.output,
      (text) => text.includes('loading'),
    );
    return serve;
  };

  it('ends with one signal while a module waits for ever to be loaded', async () => {
    await using test = new ServeTest();
    const serve = await loading(test, 'await new Promise(() => {});');
    serve.kill('SIGINT');
    expect(await serve.exit()).toMatchObject({ code: 130 });
    expect(await test.states()).toEqual([]);
  });

  it('ends with some signals while a module computes for ever', async () => {
    await using test = new ServeTest();
    const serve = await loading(test, 'for (;;);');
    await waitFor(
      'its end',
      () => {
        if (serve.isRunning) serve.kill('SIGTERM');
        return serve.isRunning;
      },
      (isRunning) => !isRunning,
    );
    // Another signal may have reached it in its last moment.
    const { code, signal } = await serve.exit();
    expect([143, 'SIGTERM']).toContain(code ?? signal);
    expect(await test.states()).toEqual([]);
  });

  it('is listed, with its logs, although its supervisor does not answer', async () => {
    await using test = new ServeTest();
    const serve = test.serve();
    await test.ready(serve);
    const [state] = await test.states();
    process.kill(state!.supervisor.pid, 'SIGSTOP');
    try {
      expect(await test.states()).toMatchObject([{ graph: 'serve-test', pid: serve.pid }]);
      expect(await test.dynamo('logs', '--tail', '1')).toMatchObject({ code: 0 });
    } finally {
      process.kill(state!.supervisor.pid, 'SIGCONT');
    }
  });

  it('is ended at once by stop --now, although its supervisor does not answer', { timeout: 60_000 }, async () => {
    await using test = new ServeTest();
    const serve = test.serve();
    await test.ready(serve);
    const [state] = await test.states();
    const workers = state!.services.flatMap(({ workers: all }) => all.map(({ pid }) => pid as number));
    process.kill(state!.supervisor.pid, 'SIGSTOP');
    expect(await test.dynamo('stop', '--now')).toMatchObject({ code: 0, stdout: 'graph serve-test has stopped\n' });
    await waitFor('the end of the workers', () => workers.every((pid) => !existsSync(`/proc/${pid}`)));
    expect(await test.states()).toEqual([]);
  });

  it('refuses the same graph twice, and runs it under another name', async () => {
    await using test = new ServeTest();
    const first = test.serve();
    await test.ready(first);
    const second = test.serve();
    expect(await second.exit()).toMatchObject({ code: 73 });
    expect(second.output).toMatch(/error\[E_ALREADY_RUNNING\]: graph serve-test already runs here, as process \d+/);

    await test.ready(test.serve(['--name', 'other', '--service-name', 'Splitter']), 'other');
    const states = await test.states();
    expect(states.map(({ graph, services }) => `${graph} ${services.length}`).sort()).toEqual([
      'other 1',
      'serve-test 3',
    ]);
    expect(await test.dynamo('stop')).toMatchObject({ code: 64 });
    expect(await test.dynamo('stop', 'other')).toMatchObject({ code: 0, stdout: 'graph other has stopped\n' });
    expect((await test.states()).map(({ graph }) => graph)).toEqual(['serve-test']);
  });

  it('writes the graph with its configuration as JSON on a dry run', async () => {
    await using test = new ServeTest();
    const { code, stdout } = await test.dynamo('serve', target, '--dry-run', '--Splitter.mode=x');
    expect(code).toBe(0);
    const { spec } = JSON.parse(stdout) as { spec: { services: { name: string; config: object }[] } };
    expect(spec.services[0]).toMatchObject({ name: 'Splitter', config: { mode: 'x' } });
  });

  it('rejects a service that the graph does not have', async () => {
    await using test = new ServeTest();
    const { code, stderr } = await test.dynamo('serve', target, '--dry-run', '--service-name', 'Nobody');
    expect({ code, stderr }).toEqual({
      code: 65,
      stderr:
        "error[E_UNKNOWN_SERVICE]: graph serve-test has no service 'Nobody'; its services are Splitter, Upper, Front\n",
    });
  });
});

describe('dynamo scale', () => {
  it('adds and removes workers while calls are in flight, and no call fails', async () => {
    await using test = new ServeTest();
    const serve = test.serve(['--Splitter.delayMs=5']);
    await test.ready(serve);
    const runtime = await test.runtime();
    const client = await runtime.endpoint<string, string>('dynamo.front.generate').client();
    await client.waitForInstances();
    let isOver = false;
    const failures: unknown[] = [];
    let answers = 0;
    const call = async (): Promise<void> => {
      while (!isOver)
        await client.unary('a b').then(
          () => answers++,
          (error: unknown) => failures.push(error),
        );
    };
    const callers = Array.from({ length: 8 }, call);

    const grown = await test.dynamo('scale', 'Splitter=4');
    expect(grown).toMatchObject({ code: 0, stdout: 'graph serve-test has Splitter=4 Upper=1 Front=1\n' });
    const splitters = await runtime.endpoint<string, number>('dynamo.splitter.pid').client();
    await splitters.waitForInstances({ count: 4, timeoutMs: 10_000 });
    const pids = await Promise.all(splitters.instances().map(({ instanceId }) => splitters.unary('', { instanceId })));
    expect(new Set(pids).size).toBe(4);

    const before = answers;
    await waitFor('further answers', () => answers > before + 20);
    expect(await test.dynamo('scale', 'Splitter=1')).toMatchObject({ code: 0 });
    isOver = true;
    await Promise.all(callers);
    expect(failures).toEqual([]);
    expect((await test.states())[0]?.services[0]?.workers).toHaveLength(1);
  });

  it('waits for the start of the graph, and says so', async () => {
    await using test = new ServeTest();
    const { local } = await test.local({ Splitter: { mode: 'slow' } });
    const started = local.start();
    await waitFor(
      'the state',
      () => test.states(),
      (states) => states.length === 1,
    );
    const scaled = await test.dynamo('scale', 'Splitter=2');
    expect(scaled).toEqual({
      code: 0,
      stdout: 'graph serve-test has Splitter=2 Upper=1 Front=1\n',
      stderr: 'graph serve-test is starting; the change waits for it\n',
    });
    await started;
  });

  it('rejects an unknown service, a wrong form and a graph that does not run', async () => {
    await using test = new ServeTest();
    expect(await test.dynamo('scale', 'Splitter=2')).toMatchObject({ code: 69 });
    expect(await test.dynamo('scale', 'Splitter')).toMatchObject({ code: 64 });
    const { local } = await test.local();
    await local.start();
    const failures = await Promise.all(
      ['Nobody=1', 'Splitter', '2P1D', 'Splitter=99999'].map(async (word) => (await test.dynamo('scale', word)).stderr),
    );
    expect(failures).toEqual([
      "error[E_SCALE]: graph serve-test has no service 'Nobody'; its services are Splitter, Upper, Front\n",
      "error[E_SCALE]: 'Splitter': expected SERVICE=COUNT or a text like '3P2D'\n",
      'error[E_SCALE]: graph serve-test has no service of role prefill\n',
      'error[E_SCALE]: Splitter: expected at most 1024 workers, got 99999\n',
    ]);
  });
});
