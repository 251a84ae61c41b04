import { createServer } from 'node:net';
import {
  BuiltInWorker,
  DistributedRuntime,
  DynamoError,
  Frontend,
  type HttpFrontendOptions,
  serveEngine,
} from 'dynamo-node';
import { describe, expect, it } from 'vitest';
import { modelPath } from '../../../examples/tiny-llama/engine.js';
import { closeAfterEach } from '../../helpers/closing.js';
import { CountingEngine } from '../../helpers/llm/engines.js';
import { privateCluster } from '../../helpers/runtime/cluster.js';

const onEnd = closeAfterEach();

function cluster() {
  const made = privateCluster();
  onEnd(() => made.remove());
  return made;
}

async function frontend(options: HttpFrontendOptions, runtime = cluster().options): Promise<Frontend> {
  const started = await Frontend.start(runtime, { host: '127.0.0.1', port: 0, ...options });
  onEnd(() => started.close());
  await started.ready;
  return started;
}

async function chat({ url }: Frontend, model: string): Promise<{ content: string; tokens: number | undefined }> {
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model, messages: [{ role: 'user', content: 'one two three' }], max_tokens: 8 }),
  });
  expect(response.status, await response.clone().text()).toBe(200);
  const { choices, usage } = (await response.json()) as {
    choices: { message: { content: string } }[];
    usage?: { completion_tokens: number };
  };
  return { content: choices[0]?.message.content ?? '', tokens: usage?.completion_tokens };
}

describe('a frontend', () => {
  it('answers on the port that it reports until its close', async () => {
    const started = await frontend({});
    expect(started.port).toBeGreaterThan(0);
    expect(started.url).toBe(`http://127.0.0.1:${started.port}`);
    expect(await started.models()).toEqual([]);
    await started.close();
    await started.close();
    await expect(fetch(`${started.url}/live`)).rejects.toThrow();
    await started.ended;
  });

  it('waits at close for a response of 7 s, up to timeoutMs', { timeout: 60_000 }, async () => {
    const here = cluster();
    const runtime = await DistributedRuntime.create(here.options);
    onEnd(() => runtime.close());
    const worker = await serveEngine(runtime.endpoint('test.backend.generate'), new CountingEngine('counting', 100), {
      modelPath,
    });
    onEnd(() => worker.close({ timeoutMs: 1000 }));
    const whileAnswering = async (timeoutMs: number): Promise<{ seconds: number; answer: Promise<string> }> => {
      const started = await Frontend.start(here.options, { host: '127.0.0.1', port: 0 });
      await started.waitForModel('counting');
      const response = await fetch(`${started.url}/v1/chat/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({
          model: 'counting',
          messages: [{ role: 'user', content: 'count' }],
          max_tokens: 70,
          stream: true,
        }),
      });
      const begun = performance.now();
      await started.close({ timeoutMs });
      return { seconds: (performance.now() - begun) / 1000, answer: response.text() };
    };
    const patient = await whileAnswering(30_000);
    expect(patient.seconds).toBeGreaterThan(6);
    expect(await patient.answer).toMatch(/data: \[DONE\]/);
    const hasty = await whileAnswering(1000);
    expect(hasty.seconds).toBeLessThan(6);
    await hasty.answer.catch(() => {});
  });

  it('rejects a port that is in use before it starts anything', async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    onEnd(() => new Promise((resolve) => taken.close(resolve)));
    const { port } = taken.address() as { port: number };
    const refused = Frontend.start(cluster().options, { host: '127.0.0.1', port });
    await expect(refused).rejects.toMatchObject({
      code: 'DYN_UNAVAILABLE',
      reason: 'frontend.bind',
      details: { host: '127.0.0.1', port },
    });
    await expect(refused).rejects.toThrow(`127.0.0.1:${port}`);
  });

  it('closes its runtime', async () => {
    const runtime = await DistributedRuntime.create(cluster().options);
    const started = await Frontend.start(runtime, { host: '127.0.0.1', port: 0 });
    await started.ready;
    await started.close();
    expect(() => runtime.endpoint('a.b.c')).toThrow(expect.objectContaining({ code: 'DYN_CLOSED' }));
  });

  it('rejects invalid arguments, and calls after close', async () => {
    const started = await frontend({});
    await expect(started.models(3 as never)).rejects.toThrow('frontend.models options: expected an object, got 3');
    await expect(started.models({ nope: 1 } as never)).rejects.toThrow(/frontend.models options.nope: unknown option/);
    await expect(started.models({ signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow('enough');
    await started.close();
    const closed = { code: 'DYN_CLOSED', message: 'the Frontend is closed' };
    await expect(started.models()).rejects.toMatchObject(closed);
    await expect(started.waitForModel('echo')).rejects.toMatchObject(closed);
  });

  it('answers with the built-in echo', async () => {
    const started = await frontend({ engine: { kind: 'echo', modelName: 'echo' } });
    expect(await started.models()).toEqual(['echo']);
    expect((await chat(started, 'echo')).content).toContain('one two three');
  });

  it.each(['round_robin', 'random', 'power_of_two_choices', 'kv', 'least_loaded', 'device_aware_weighted'] as const)(
    'discovers the built-in mocker on an endpoint and routes by %s',
    async (mode) => {
      const made = cluster();
      const worker = await BuiltInWorker.start(made.options, 'test.backend.generate', {
        kind: 'mocker',
        modelPath,
        modelName: 'mocked',
        config: { engine: { speedup_ratio: 0 } },
      });
      onEnd(() => worker.close());
      await worker.ready;
      const started = await frontend({ router: { mode }, migrationLimit: 2, namespace: 'test' }, made.options);
      await started.waitForModel('mocked');
      expect((await chat(started, 'mocked')).tokens).toBe(8);
    },
  );

  it('discovers the built-in echo on an endpoint', async () => {
    const made = cluster();
    const worker = await BuiltInWorker.start(made.options, 'test.backend.generate', {
      kind: 'echo',
      modelName: 'echo',
    });
    onEnd(() => worker.close());
    await worker.ready;
    const started = await frontend({}, made.options);
    await started.waitForModel('echo');
    expect((await chat(started, 'echo')).content).toContain('one two three');
  });

  it('offers only models of its namespace option', async () => {
    const made = cluster();
    const worker = await BuiltInWorker.start(made.options, 'here.backend.generate', {
      kind: 'echo',
      modelName: 'echo',
    });
    onEnd(() => worker.close());
    await worker.ready;
    const elsewhere = await frontend({ namespace: 'there' }, made.options);
    const here = await frontend({ namespacePrefix: 'he' }, made.options);
    await here.waitForModel('echo');
    expect(await elsewhere.models()).toEqual([]);
  });

  it('offers the Anthropic API if anthropicApi is set', async () => {
    const ask = async (options: HttpFrontendOptions) => {
      const { url } = await frontend({ engine: { kind: 'echo', modelName: 'echo' }, ...options });
      const response = await fetch(`${url}/v1/messages`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'anthropic-version': '2023-06-01' },
        body: JSON.stringify({ model: 'echo', max_tokens: 16, messages: [{ role: 'user', content: 'one two' }] }),
      });
      return { status: response.status, body: await response.text() };
    };
    expect((await ask({ anthropicApi: false })).status).toBe(404);
    const { status, body } = await ask({ anthropicApi: true });
    expect(status, body).toBe(200);
    expect(body).toContain('one two');
  });

  it('rejects unknown options of the crates', async () => {
    const refused = () =>
      Frontend.start(cluster().options, { port: 0, router: { mode: 'kv', kv: { overlap: 1 } as never } });
    expect(refused).toThrow(/router\.kv\.overlap: unknown option/);
  });

  it('rejects missing certificates', async () => {
    const started = await Frontend.start(cluster().options, {
      host: '127.0.0.1',
      port: 0,
      tls: { certPath: '/none.pem', keyPath: '/none.pem' },
    });
    onEnd(() => started.close().catch(() => {}));
    await expect(started.ready).rejects.toThrow(/none\.pem/);
    await expect(started.ended).rejects.toBeInstanceOf(DynamoError);
  });

  it('serves KServe over gRPC', async () => {
    const started = await Frontend.start(cluster().options, {
      input: 'grpc',
      port: 0,
      metricsPort: 0,
      engine: { kind: 'echo', modelName: 'echo' },
    });
    onEnd(() => started.close());
    await started.ready;
    expect(started.url).toMatch(/^grpc:\/\/127\.0\.0\.1:\d+$/);
  });
});
