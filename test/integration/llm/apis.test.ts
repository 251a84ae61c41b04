import {
  type PreprocessedRequest,
  type RawEngine,
  registerModel,
  unregisterModel,
  updateModelTaints,
} from 'dynamo-node';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { modelPath } from '../../../examples/tiny-llama/engine.js';
import { chat, deployments, post } from '../../helpers/llm/deployments.js';
import { CountingEngine } from '../../helpers/llm/engines.js';
import { waitFor } from '../../helpers/wait.js';

const deployment = deployments();

/** A frontend with a worker that receives the requests of an API unchanged. */
async function text(
  modelType: 'embedding' | 'classify' | 'rerank' | 'pooling' | 'audios' | 'videos',
  answer: (request: Record<string, unknown>) => unknown,
) {
  const here = deployment();
  const runtime = await here.runtime();
  const endpoint = runtime.endpoint<Record<string, unknown>, unknown>('test.text.generate');
  await endpoint.serve((request) => answer(request) as never);
  await registerModel(endpoint, { modelName: 'words', modelTypes: [modelType], modelInput: 'text' });
  const frontend = await here.frontend();
  await frontend.waitForModel('words');
  return frontend;
}

describe('a TypeScript worker', () => {
  it('serves embeddings', async () => {
    const frontend = await text('embedding', ({ input }) => ({
      object: 'list',
      model: 'words',
      data: (input as string[]).map((one, index) => ({ index, object: 'embedding', embedding: [one.length, 0.5] })),
      usage: { prompt_tokens: 3, total_tokens: 3 },
    }));
    const response = await post(frontend, '/v1/embeddings', { model: 'words', input: ['a', 'bcd'] });
    expect(response.status, await response.clone().text()).toBe(200);
    expect(await response.json()).toMatchObject({
      object: 'list',
      data: [
        { index: 0, embedding: [1, 0.5] },
        { index: 1, embedding: [3, 0.5] },
      ],
    });
  });

  it('serves rerank', async () => {
    const frontend = await text('rerank', ({ documents }) =>
      (documents as string[]).map((document, index) => ({ index, score: document.length, document })),
    );
    const response = await post(frontend, '/v1/rerank', { model: 'words', query: 'q', documents: ['a', 'bcd'] });
    expect(response.status, await response.clone().text()).toBe(200);
    expect(await response.text()).toContain('bcd');
  });

  it('serves classification and pooling', async () => {
    const usage = { prompt_tokens: 1, total_tokens: 1, completion_tokens: 0 };
    const head = { id: 'one', object: 'list', created: 1, model: 'words', usage };
    const classify = await text('classify', () => ({
      ...head,
      data: [{ index: 0, label: 'good', probs: [0.25, 0.75], num_classes: 2 }],
    }));
    const classes = await post(classify, '/v1/classify', { model: 'words', input: 'fine' });
    expect(classes.status, await classes.clone().text()).toBe(200);
    expect(await classes.json()).toMatchObject({ data: [{ label: 'good', probs: [0.25, 0.75] }] });
    const pooling = await text('pooling', () => ({ ...head, data: [{ index: 0, object: 'pooling', data: [0.5] }] }));
    const pooled = await post(pooling, '/v1/pooling', { model: 'words', input: 'fine', task: 'embed' });
    expect(pooled.status, await pooled.clone().text()).toBe(200);
    expect(await pooled.json()).toMatchObject({ data: [{ data: [0.5] }] });
  });

  it('serves speech and videos', async () => {
    const sound = Buffer.from('the sound of words');
    const head = { id: 'one', model: 'words', status: 'completed', progress: 100, created: 1 };
    const speech = await text('audios', () => ({
      ...head,
      object: 'audio.speech',
      data: [{ output_format: 'mp3', b64_json: sound.toString('base64') }],
    }));
    const spoken = await post(speech, '/v1/audio/speech', {
      model: 'words',
      input: 'hello',
      voice: 'alloy',
      response_format: 'mp3',
    });
    expect(spoken.status, await spoken.clone().text()).toBe(200);
    expect(Buffer.from(await spoken.arrayBuffer())).toEqual(sound);
    const films = await text('videos', () => ({
      ...head,
      object: 'video',
      data: [{ output_format: 'mp4', url: 'https://films.invalid/1' }],
    }));
    const filmed = await post(films, '/v1/videos', { model: 'words', prompt: 'blocks that move' });
    expect(filmed.status, await filmed.clone().text()).toBe(200);
    expect(await filmed.json()).toMatchObject({ data: [{ url: 'https://films.invalid/1' }] });
  });

  it('serves images with a raw engine', async () => {
    const here = deployment();
    const requests: unknown[] = [];
    const painter: RawEngine = {
      start: () => ({ model: 'painter' }),
      async *generate(request) {
        requests.push(request);
        yield { created: 1, data: [{ url: 'data:image/png;base64,AA==' }] };
      },
    };
    await here.serve(painter, { raw: true, modelTypes: ['images'] });
    const frontend = await here.frontend();
    await frontend.waitForModel('painter');
    const response = await post(frontend, '/v1/images/generations', {
      model: 'painter',
      prompt: 'a block of the KV cache',
    });
    expect(response.status, await response.clone().text()).toBe(200);
    expect(await response.json()).toMatchObject({ data: [{ url: 'data:image/png;base64,AA==' }] });
    expect(requests).toEqual([expect.objectContaining({ prompt: 'a block of the KV cache' })]);
  });

  it('serves responses and completions with a token engine', async () => {
    const here = deployment();
    await here.serve(new CountingEngine('counting'));
    const frontend = await here.frontend();
    await frontend.waitForModel('counting');
    const completion = await post(frontend, '/v1/completions', { model: 'counting', prompt: 'hello', max_tokens: 3 });
    expect(await completion.json()).toMatchObject({
      object: 'text_completion',
      usage: { completion_tokens: 3 },
      choices: [{ finish_reason: 'length' }],
    });
    const answer = await post(frontend, '/v1/responses', { model: 'counting', input: 'hello', max_output_tokens: 3 });
    expect(answer.status, await answer.clone().text()).toBe(200);
    const { output, object } = (await answer.json()) as {
      object: string;
      output: { content: { type: string; text: string }[] }[];
    };
    expect(object).toBe('response');
    expect(output[0]?.content[0]).toMatchObject({ type: 'output_text', text: expect.stringMatching(/./) });
  });

  it("serves Anthropic's messages with a token engine, streamed or not", async () => {
    const here = deployment();
    await here.serve(new CountingEngine('counting'));
    const frontend = await here.frontend({ anthropicApi: true });
    await frontend.waitForModel('counting');
    const body = { model: 'counting', max_tokens: 3, messages: [{ role: 'user', content: 'hello' }] };
    const whole = await post(frontend, '/v1/messages', body);
    expect(await whole.json()).toMatchObject({
      type: 'message',
      role: 'assistant',
      content: [{ type: 'text' }],
      stop_reason: 'max_tokens',
      usage: { output_tokens: 3 },
    });
    const events = await (await post(frontend, '/v1/messages', { ...body, stream: true })).text();
    const names = [...events.matchAll(/^event: (\w+)$/gm)].map(([, name]) => name);
    expect(names[0]).toBe('message_start');
    expect(names).toContain('content_block_delta');
    expect(names.at(-1)).toBe('message_stop');
    const counted = await post(frontend, '/v1/messages/count_tokens', { model: 'counting', messages: body.messages });
    expect((await counted.json()) as object).toMatchObject({ input_tokens: expect.any(Number) });
  });
});

describe('a LoRA adapter', () => {
  it('is offered as a model in addition to its base', async () => {
    const here = deployment();
    const runtime = await here.runtime();
    const endpoint = runtime.endpoint<{ routing?: { lora_name?: string } }, unknown>('test.lora.generate');
    const requests: unknown[] = [];
    await endpoint.serve(async function* ({ routing }) {
      requests.push(routing?.lora_name);
      yield { token_ids: [300], finish_reason: 'stop' };
    });
    await registerModel(endpoint, { modelPath, modelName: 'base' });
    await registerModel(endpoint, { modelPath, modelName: 'adapter', lora: { name: 'adapter', maxGpuLoraCount: 2 } });
    const frontend = await here.frontend();
    await frontend.waitForModel('base');
    await frontend.waitForModel('adapter');
    for (const model of ['base', 'adapter']) expect((await chat(frontend, { model })).status).toBe(200);
    expect(requests).toEqual([undefined, 'adapter']);
    await unregisterModel(endpoint, { loraName: 'adapter' });
    await waitFor(
      'the models',
      () => frontend.models(),
      (models) => models.join() === 'base',
    );
    expect((await chat(frontend, { model: 'base' })).status).toBe(200);
  });
});

describe('maxGpuLoraCount', () => {
  it.each<[string, number | undefined, number | undefined, number]>([
    ['one of an engine', 1, undefined, 1],
    ['two of an engine', 2, undefined, 2],
    ['one of an adapter', undefined, 1, 1],
    ['two of an adapter', undefined, 2, 2],
    ['one of an engine before two of an adapter', 1, 2, 1],
  ])(
    'is the number of adapters that a frontend places on a worker: %s',
    { timeout: 60_000 },
    async (name, ofEngine, ofAdapter, replicas) => {
      onTestFinished(() => void vi.unstubAllEnvs());
      vi.stubEnv('DYN_LORA_ENABLED', 'true');
      vi.stubEnv('DYN_LORA_ALLOCATION_TIMESTEP_SECS', '1');
      const here = deployment();
      // The gauges belong to the process, with labels for endpoint and adapter.
      const adapters = ['first', 'second'].map((adapter) => `${adapter}-${name.replaceAll(' ', '-')}`);
      const requests: string[][] = [[], []];
      const limit = (maxGpuLoraCount: number | undefined) => (maxGpuLoraCount === undefined ? {} : { maxGpuLoraCount });
      for (const received of requests) {
        const { runtime } = await here.serve({
          start: () => ({ model: 'base', llm: { contextLength: 4096, ...limit(ofEngine) } }),
          async *generate({ routing }: PreprocessedRequest) {
            received.push(String(routing?.['lora_name']));
            yield { token_ids: [300], finish_reason: 'stop' };
          },
        });
        for (const adapter of adapters)
          await registerModel(runtime.endpoint('test.backend.generate'), {
            modelPath,
            modelName: adapter,
            lora: { name: adapter, ...limit(ofAdapter) },
          });
      }
      const frontend = await here.frontend({ router: { mode: 'round_robin' } });
      for (const adapter of adapters) await frontend.waitForModel(adapter);
      const ask = async (times: number): Promise<void> => {
        for (const model of adapters)
          for (let time = 0; time < times; time++) expect((await chat(frontend, { model })).status).toBe(200);
      };
      await ask(4);
      const figures = async (): Promise<unknown> => {
        const text = await (await fetch(`${frontend.url}/metrics`)).text();
        const gauge = (what: string, adapter: string): string | undefined =>
          new RegExp(`^dynamo_frontend_lora_${what}\\{.*lora="${adapter}"\\} (\\d+)$`, 'm').exec(text)?.[1];
        return adapters.map((adapter) => [gauge('is_active', adapter), gauge('replica_factor', adapter)]);
      };
      await waitFor(
        'the places of the adapters',
        figures,
        (seen) => JSON.stringify(seen) === JSON.stringify(adapters.map(() => ['1', String(replicas)])),
        25_000,
      );
      const before = requests.map(({ length }) => length);
      await ask(4);
      const homes = adapters.map(
        (adapter) => requests.filter((received, index) => received.slice(before[index]).includes(adapter)).length,
      );
      expect(homes).toEqual([replicas, replicas]);
    },
  );
});

describe('the worker of a request', () => {
  async function three(options: Parameters<ReturnType<typeof deployment>['frontend']>[0]) {
    const here = deployment();
    const engines = [0, 1, 2].map(() => new CountingEngine('counting'));
    const runtimes = [];
    for (const engine of engines) runtimes.push((await here.serve(engine)).runtime);
    const frontend = await here.frontend(options);
    await frontend.waitForModel('counting');
    const client = await (runtimes[0] as (typeof runtimes)[0]).endpoint('test.backend.generate').client();
    await client.waitForInstances({ count: 3 });
    return { engines, runtimes, frontend, seen: () => engines.map(({ seen }) => seen.length) };
  }

  it('has the taints that the request requires', async () => {
    const { runtimes, frontend, seen } = await three({ router: { mode: 'kv', kv: { router_temperature: 0 } } });
    await updateModelTaints((runtimes[1] as (typeof runtimes)[0]).endpoint('test.backend.generate'), ['gold']);
    const ask = () =>
      chat(frontend, {
        model: 'counting',
        max_tokens: 1,
        nvext: { routing_constraints: { required_taints: ['gold'] } },
      });
    await waitFor(
      'a worker with the taint',
      async () => (await ask()).status,
      (status) => status === 200,
    );
    const before = seen();
    for (let index = 0; index < 12; index++) expect((await ask()).status).toBe(200);
    expect(seen().map((count, index) => count - (before[index] as number))).toEqual([0, 12, 0]);
  });

  it('stays the same within a session', async () => {
    const { frontend, seen } = await three({
      router: { mode: 'random', sessionAffinitySeconds: 60, sessionAffinityMode: 'soft' },
    });
    const ask = (session: string) =>
      chat(frontend, { model: 'counting', max_tokens: 1 }, { headers: { 'x-dynamo-session-id': session } });
    for (let index = 0; index < 12; index++) expect((await ask('one')).status).toBe(200);
    expect(seen().sort()).toEqual([0, 0, 12]);
    let index = 0;
    await waitFor(
      'other sessions elsewhere',
      async () => (await ask(`other-${index++}`), seen()),
      (counts) => Math.min(...counts) > 0,
    );
  });
});
