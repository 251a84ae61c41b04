import {
  DistributedRuntime,
  DynamoError,
  Frontend,
  type LLMEngine,
  registerModel,
  type ServeEngineOptions,
  serveEngine,
  unregisterModel,
} from 'dynamo-node';
import { describe, expect, it } from 'vitest';
import { modelPath } from '../../../examples/tiny-llama/engine.js';
import { closeAfterEach } from '../../helpers/closing.js';
import { CountingEngine } from '../../helpers/llm/engines.js';
import { privateCluster } from '../../helpers/runtime/cluster.js';
import { waitFor } from '../../helpers/wait.js';

process.env['DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS'] = '0';

const onEnd = closeAfterEach();

async function deployment() {
  const cluster = privateCluster();
  onEnd(() => cluster.remove());
  const runtime = await DistributedRuntime.create(cluster.options);
  onEnd(() => runtime.close());
  return { cluster, runtime };
}

async function served(engine: LLMEngine, options: ServeEngineOptions = { modelPath }) {
  const { cluster, runtime } = await deployment();
  const worker = await serveEngine(runtime.endpoint('test.backend.generate'), engine, options);
  onEnd(() => worker.close());
  return { cluster, runtime, worker };
}

async function frontendOf(cluster: ReturnType<typeof privateCluster>) {
  const frontend = await Frontend.start(cluster.options, { host: '127.0.0.1', port: 0 });
  onEnd(() => frontend.close());
  return frontend;
}

function ask({ url }: Frontend, body: object) {
  return fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'counting', messages: [{ role: 'user', content: 'hello there' }], ...body }),
  });
}

describe('serveEngine', () => {
  it('starts the engine, registers it, and cleans it up once', async () => {
    const engine = new CountingEngine('counting');
    const { worker, runtime } = await served(engine);
    await worker.ready;
    expect(engine.started).toBe(1);
    expect((await runtime.instances()).map(({ endpoint }) => endpoint)).toEqual(['generate']);
    await worker.close();
    await worker.close();
    expect(engine.cleaned).toBe(1);
    expect(await runtime.instances()).toEqual([]);
  });

  it('passes the prompt as tokens, and the request id, to the engine', async () => {
    let got: unknown;
    const engine: LLMEngine = {
      start: () => ({ model: 'counting' }),
      async *generate(request, context) {
        got = {
          tokens: request.token_ids instanceof Uint32Array && request.token_ids.length,
          most: request.stop_conditions.max_tokens,
          id: context.id,
        };
        yield { token_ids: Uint32Array.of(300), finish_reason: 'stop' };
      },
    };
    const { cluster } = await served(engine);
    const frontend = await frontendOf(cluster);
    await frontend.waitForModel('counting');
    expect((await ask(frontend, { max_tokens: 77 })).status).toBe(200);
    expect(got).toMatchObject({ tokens: expect.any(Number), most: 77, id: expect.stringMatching(/.+/) });
  });

  it('rejects `ready` with the error of engine.start', async () => {
    const { worker } = await served({
      start: () => Promise.reject(new Error('no weights here')),
      async *generate() {},
    });
    await expect(worker.ready).rejects.toThrow(/no weights here/);
    await expect(worker.ended).rejects.toThrow(/no weights here/);
  });

  it('rejects a second endpoint with the same name on one runtime', async () => {
    const { runtime } = await served(new CountingEngine('counting'));
    const second = serveEngine(runtime.endpoint('test.other.generate'), new CountingEngine('other'));
    await expect(second).rejects.toMatchObject({ code: 'DYN_CONFLICT' });
  });

  it.each([
    ['before the first item', 0],
    ['after an item', 1],
  ])('reports an error %s to the client', async (_when, items) => {
    const { cluster } = await served({
      start: () => ({ model: 'counting' }),
      async *generate() {
        for (let index = 0; index < items; index++) yield { token_ids: [300] };
        throw new DynamoError('InvalidRequest', 'for the log', {
          details: { type: 'message', message: 'the engine tripped' },
        });
      },
    });
    const frontend = await frontendOf(cluster);
    await frontend.waitForModel('counting');
    const response = await ask(frontend, {});
    expect(response.status).toBe(400);
    expect(await response.text()).toContain('the engine tripped');
  });

  it('waits for running requests before cleanup', async () => {
    const engine = new CountingEngine('counting', 10);
    const { cluster, worker } = await served(engine);
    const frontend = await frontendOf(cluster);
    await frontend.waitForModel('counting');
    const response = ask(frontend, { max_tokens: 500 });
    await waitFor(
      'the request',
      () => worker.inFlight,
      (running) => running === 1,
    );
    await worker.close();
    expect(engine.cleaned).toBe(1);
    const { choices } = (await (await response).json()) as { choices: { finish_reason: string }[] };
    expect(choices[0]?.finish_reason).toBe('length');
  });

  it('calls drain before cleanup', async () => {
    const calls: string[] = [];
    class Draining extends CountingEngine {
      drain() {
        calls.push(`drain, ${this.cleaned} cleaned`);
      }
      override cleanup() {
        super.cleanup();
        calls.push('cleanup');
      }
    }
    const { worker } = await served(new Draining('counting'));
    await worker.ready;
    await worker.close();
    expect(calls).toEqual(['drain, 0 cleaned', 'cleanup']);
  });

  it('cancels requests when the close times out', async () => {
    const engine = new CountingEngine('counting', 10);
    const { cluster, worker } = await served(engine);
    const frontend = await frontendOf(cluster);
    await frontend.waitForModel('counting');
    const response = ask(frontend, { max_tokens: 3000 });
    await waitFor(
      'the request',
      () => worker.inFlight,
      (running) => running === 1,
    );
    await worker.close({ timeoutMs: 100 });
    expect(worker.inFlight).toBe(0);
    await (await response).text();
  });
});

describe('registerModel', () => {
  it('offers a served endpoint as a model until unregisterModel', async () => {
    const { cluster, runtime } = await deployment();
    const endpoint = runtime.endpoint<{ token_ids: number[] }, unknown>('test.plain.generate');
    await endpoint.serve(async function* (request) {
      yield { token_ids: request.token_ids.slice(0, 3) };
      yield { token_ids: [], finish_reason: 'stop' };
    });
    await registerModel(endpoint, { modelPath, modelName: 'plain' });
    const frontend = await frontendOf(cluster);
    await frontend.waitForModel('plain');
    expect((await ask(frontend, { model: 'plain' })).status).toBe(200);
    await unregisterModel(endpoint);
    await waitFor(
      'the models',
      () => frontend.models(),
      (models) => models.length === 0,
    );
  });

  it('accepts only a name', async () => {
    const { cluster, runtime } = await deployment();
    const endpoint = runtime.endpoint('test.text.generate');
    await endpoint.serve(async function* () {});
    await registerModel(endpoint, {
      modelName: 'words',
      modelInput: 'text',
      modelTypes: ['chat'],
      modelAliases: ['mots'],
    });
    const frontend = await frontendOf(cluster);
    await frontend.waitForModel('words');
  });

  it('rejects invalid options', async () => {
    const { runtime } = await deployment();
    const endpoint = runtime.endpoint('test.text.generate');
    await expect(registerModel(endpoint, {})).rejects.toThrow('registerModel options: expected modelPath or modelName');
    await expect(registerModel(endpoint, { modelName: 'a', modelTypes: ['chatt' as 'chat'] })).rejects.toThrow(
      'modelTypes[0]',
    );
    await expect(registerModel(endpoint, { modelName: 'a', tokens: 1 } as object)).rejects.toThrow('unknown option');
    await expect(registerModel(endpoint, { modelPath: './nowhere' })).rejects.toThrow(/nowhere/);
  });
});
