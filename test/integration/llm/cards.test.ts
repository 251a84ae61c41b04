import { realpathSync, symlinkSync } from 'node:fs';
import { join, relative } from 'node:path';
import {
  computeBlockHashes,
  computeSequenceHashes,
  type EngineWorker,
  type Frontend,
  type LLMEngine,
  type LlmRegistration,
  type ModelOptions,
  type PreprocessedRequest,
  registerModel,
  unregisterModel,
} from 'dynamo-node';
import { describe, expect, it } from 'vitest';
import { modelPath } from '../../../examples/tiny-llama/engine.js';
import { cardOf, chat, type Deployment, deployments, post } from '../../helpers/llm/deployments.js';
import { CountingEngine } from '../../helpers/llm/engines.js';
import { spell } from '../../helpers/llm/fixed-answer-engine.js';
import { temporaryFolder } from '../../helpers/runtime/runtime.js';
import { waitFor } from '../../helpers/wait.js';

const deployment = deployments();

/** Serves `test.COMPONENT.COMPONENT` on a new runtime, as model `card`, and records the requests. */
async function register(here: Deployment, component: string, options: ModelOptions) {
  const runtime = await here.runtime();
  const endpoint = runtime.endpoint<PreprocessedRequest, unknown>(`test.${component}.${component}`);
  const requests: PreprocessedRequest[] = [];
  await endpoint.serve((request) => {
    requests.push(request);
    return { token_ids: spell('yes'), finish_reason: 'stop' };
  });
  await registerModel(endpoint, { modelPath, modelName: 'card', ...options });
  return { requests, endpoint, runtime, card: cardOf(here, runtime.instanceId) };
}

const readiness = async ({ url }: Frontend): Promise<unknown> => (await fetch(`${url}/v1/models/card/ready`)).json();
const status = async (frontend: Frontend, body: object = {}): Promise<number> =>
  (await chat(frontend, { model: 'card', ...body })).status;

/** The metrics of a frontend about the model `card`. */
async function figures({ url }: Frontend): Promise<Record<string, number>> {
  const text = await (await fetch(`${url}/metrics`)).text();
  return Object.fromEntries(
    [...text.matchAll(/^dynamo_frontend_model_(\w+)\{model="card"\} (\d+)$/gm)].map(([, name, value]) => [
      name,
      Number(value),
    ]),
  );
}

describe('the options of registerModel', () => {
  const options: ModelOptions = {
    modelAliases: ['carte', 'Karte'],
    modelTypes: ['chat'],
    workerType: 'decode',
    needs: [['prefill', 'encode'], ['aggregated']],
    lora: { name: 'adapter', maxGpuLoraCount: 3 },
    kvCacheBlockSize: 32,
    migrationLimit: 5,
    userData: { owner: ['us', 1.5, null] },
    runtimeConfig: { context_length: 64, total_kv_blocks: 7, taints: ['gold'] },
    router: {
      mode: 'least_loaded',
      busy: { activeDecodeBlocks: 0.9, activePrefillTokens: 10, activePrefillTokensShare: 1.5 },
      sessionAffinitySeconds: 9,
      sessionAffinityMode: 'soft',
    },
    mediaDecoder: { image: { limits: { max_image_width: 64 } } },
    mediaFetcher: { user_agent: 'card/1' },
  };
  const fields = {
    display_name: 'card',
    aliases: ['carte', 'Karte'],
    model_type: 'Chat',
    model_input: 'Tokens',
    worker_type: 'decode',
    needs: [['prefill', 'encode'], ['aggregated']],
    lora: { name: 'adapter', max_gpu_lora_count: 3 },
    kv_cache_block_size: 32,
    migration_limit: 5,
    user_data: { owner: ['us', 1.5, null] },
    runtime_config: { context_length: 64, total_kv_blocks: 7, taints: ['gold'], data_parallel_size: 1 },
    router_config: {
      router_mode: 'least_loaded',
      load_threshold_config: {
        active_decode_blocks_threshold: 0.9,
        active_prefill_tokens_threshold: 10,
        active_prefill_tokens_threshold_frac: 1.5,
      },
      session_affinity_ttl_secs: 9,
      session_affinity_mode: 'soft',
    },
    media_decoder: { image: { limits: { max_image_width: 64 } } },
    media_fetcher: { user_agent: 'card/1' },
  };

  it('are on the card of a model with a folder and of a model with only a name', async () => {
    const here = deployment();
    const { card } = await register(here, 'folder', options);
    expect(card).toMatchObject({ ...fields, source_path: modelPath, architectural_max_context_length: 4096 });
    const runtime = await here.runtime();
    const { modelTypes: _, ...named } = options;
    await registerModel(runtime.endpoint('test.named.named'), {
      ...named,
      modelName: 'card',
      modelTypes: ['tensor', 'realtime'],
      modelInput: 'tensor',
    });
    const alone = cardOf(here, runtime.instanceId);
    expect(alone).toMatchObject({ ...fields, model_type: 'TensorBased | Realtime', model_input: 'Tensor' });
    expect(alone).not.toHaveProperty('source_path');
  });

  it('have the documented defaults', async () => {
    const { card } = await register(deployment(), 'plain', {});
    expect(card).toMatchObject({
      model_type: 'Chat | Completions',
      model_input: 'Tokens',
      worker_type: 'aggregated',
      needs: [],
      kv_cache_block_size: 16,
      migration_limit: 0,
      media_decoder: null,
      media_fetcher: null,
    });
    for (const absent of ['aliases', 'lora', 'user_data', 'router_config']) expect(card).not.toHaveProperty(absent);
  });

  it('are in the metrics of a frontend', async () => {
    const here = deployment();
    await register(here, 'sizes', {
      kvCacheBlockSize: 32,
      migrationLimit: 5,
      runtimeConfig: { context_length: 64, total_kv_blocks: 7, max_num_seqs: 3, max_num_batched_tokens: 99 },
    });
    const frontend = await here.frontend();
    await frontend.waitForModel('card');
    const expected = {
      kv_cache_block_size: 32,
      migration_limit: 5,
      context_length: 64,
      total_kv_blocks: 7,
      max_num_seqs: 3,
      max_num_batched_tokens: 99,
    };
    await waitFor(
      'the figures',
      () => figures(frontend),
      (seen) => Object.entries(expected).every(([name, value]) => seen[name] === value),
    );
  });

  it('define aliases that clients may use', async () => {
    const here = deployment();
    await register(here, 'named', { modelAliases: ['carte', 'Karte'] });
    const frontend = await here.frontend();
    await frontend.waitForModel('card');
    for (const model of ['card', 'carte', 'Karte'])
      expect([model, await status(frontend, { model })]).toEqual([model, 200]);
    expect(await status(frontend, { model: 'charta' })).toBe(404);
  });

  it('hide the model until one set of `needs` is complete', async () => {
    const here = deployment();
    const decode = await register(here, 'decode', {
      workerType: 'decode',
      needs: [['prefill', 'encode'], ['aggregated']],
    });
    const frontend = await here.frontend();
    const missing = (...missing_worker_types: string[]) => ({
      ready: false,
      namespaces: { test: { missing_worker_types } },
    });
    await waitFor(
      'the model',
      () => readiness(frontend),
      (state) => 'ready' in (state as object),
    );
    expect(await readiness(frontend)).toMatchObject(missing('aggregated', 'encode', 'prefill'));
    expect(await frontend.models()).toEqual([]);
    expect(await status(frontend)).toBe(503);
    await register(here, 'prefill', { workerType: 'prefill', needs: [['decode']] });
    await waitFor(
      'half a set',
      () => readiness(frontend),
      (state) => JSON.stringify(state).includes('"present":["decode","prefill"]'),
    );
    expect(await status(frontend)).toBe(503);
    const whole = await register(here, 'whole', { workerType: 'aggregated' });
    await frontend.waitForModel('card');
    expect(await readiness(frontend)).toMatchObject({
      ready: true,
      namespaces: {
        test: { worker_types: { decode: { workers: 1, needs: [['prefill', 'encode'], ['aggregated']] } } },
      },
    });
    await unregisterModel(whole.endpoint);
    await waitFor(
      'the refusal',
      () => status(frontend),
      (code) => code === 503,
    );
    expect(decode.requests).toEqual([]);
  });

  it('offer no model for a prefill worker alone', async () => {
    const here = deployment();
    await register(here, 'prefill', { workerType: 'prefill' });
    const frontend = await here.frontend();
    await waitFor(
      'the worker',
      () => readiness(frontend),
      (state) => JSON.stringify(state).includes('"present":["prefill"]'),
    );
    expect(await status(frontend)).not.toBe(200);
  });

  it('replace the router options of the frontend', async () => {
    const turns = async (options: ModelOptions): Promise<number[]> => {
      const here = deployment();
      const workers = [await register(here, 'turns', options), await register(here, 'turns', options)];
      const frontend = await here.frontend({ router: { mode: 'random', sessionAffinitySeconds: 60 } });
      await waitFor(
        'both workers',
        () => readiness(frontend),
        (state) => JSON.stringify(state).includes('"workers":2'),
      );
      const ask = async (session: string) =>
        expect(await chat(frontend, { model: 'card' }, { headers: { 'x-dynamo-session-id': session } })).toMatchObject({
          status: 200,
        });
      // A router may discover a worker later than the frontend does.
      for (let index = 0; workers.some(({ requests }) => requests.length === 0); index++) await ask(`other ${index}`);
      const before = workers.map(({ requests }) => requests.length);
      for (let index = 0; index < 24; index++) await ask('one');
      return workers.map(({ requests }, which) => requests.length - (before[which] as number)).sort((a, b) => a - b);
    };
    expect(await turns({}), 'the session stays').toEqual([0, 24]);
    expect(await turns({ router: { mode: 'round_robin' } }), 'without sessions').toEqual([12, 12]);
  });
});

describe('a modelPath', () => {
  /** Other names of the model's folder. */
  function spellings(): Record<string, string> {
    const link = join(temporaryFolder(), 'link');
    symlinkSync(modelPath, link);
    const here = relative(process.cwd(), modelPath);
    return {
      plain: modelPath,
      slash: `${modelPath}/`,
      relative: here,
      dotted: `./${here}`,
      link,
      up: `${modelPath}/../model`,
    };
  }

  it('has the same card in each spelling', async () => {
    const here = deployment();
    for (const path of Object.values(spellings())) {
      const { card } = await register(here, 'spelled', { modelPath: path });
      expect(card['source_path'], path).toBe(realpathSync(modelPath));
    }
  });

  it('is also the default name, as it is given', async () => {
    const here = deployment();
    const runtime = await here.runtime();
    const path = `${modelPath}/`;
    await registerModel(runtime.endpoint('test.named.named'), { modelPath: path });
    expect(cardOf(here, runtime.instanceId)).toMatchObject({ display_name: path, source_path: modelPath });
  });

  it('shares the requests among the workers of one model in each spelling', async () => {
    const here = deployment();
    const paths = Object.values(spellings());
    const engines = await Promise.all(
      paths.map(async (path) => {
        const engine = new CountingEngine('card');
        await here.serve(engine, { modelPath: path });
        return engine;
      }),
    );
    const frontend = await here.frontend();
    await frontend.waitForModel('card');
    await waitFor(
      'a request for each worker',
      async () => (expect(await status(frontend, { max_tokens: 1 })).toBe(200), engines.map(({ seen }) => seen.length)),
      (counts) => counts.every((count) => count > 0),
      15_000,
    );
  });
});

describe('the result of engine.start', () => {
  const engine = (llm: LlmRegistration, requests: PreprocessedRequest[] = []): LLMEngine => ({
    start: () => ({ model: 'card', llm }),
    isQuiescent: () => true,
    async *generate(request) {
      requests.push(request);
      yield { token_ids: spell('y'), finish_reason: 'length', disaggregated_params: {} };
    },
  });

  it('is on the card and in the metrics of a frontend', async () => {
    const here = deployment();
    const { runtime } = await here.serve(
      engine({
        contextLength: 512,
        kvCacheBlockSize: 32,
        totalKvBlocks: 2 ** 40,
        maxNumSeqs: 7,
        maxNumBatchedTokens: 8192,
        maxGpuLoraCount: 5,
        dataParallelSize: 4,
        dataParallelStartRank: 8,
        enableEagle: true,
        bootstrapHost: '10.0.0.1',
        bootstrapPort: 7000,
      }),
    );
    expect(cardOf(here, runtime.instanceId)).toMatchObject({
      kv_cache_block_size: 32,
      runtime_config: {
        context_length: 512,
        total_kv_blocks: 2 ** 40,
        max_num_seqs: 7,
        max_num_batched_tokens: 8192,
        max_gpu_lora_count: 5,
        data_parallel_size: 4,
        data_parallel_start_rank: 8,
        enable_eagle: true,
        disaggregated_endpoint: { bootstrap_host: '10.0.0.1', bootstrap_port: 7000 },
      },
    });
    const frontend = await here.frontend();
    await frontend.waitForModel('card');
    const expected = {
      context_length: 512,
      kv_cache_block_size: 32,
      total_kv_blocks: 2 ** 40,
      max_num_seqs: 7,
      max_num_batched_tokens: 8192,
    };
    await waitFor(
      'the figures',
      () => figures(frontend),
      (seen) => Object.entries(expected).every(([name, value]) => seen[name] === value),
    );
  });

  it('does not advertise absent fields', async () => {
    const here = deployment();
    const { runtime } = await here.serve(engine({}));
    const { runtime_config } = cardOf(here, runtime.instanceId) as { runtime_config: Record<string, unknown> };
    expect(runtime_config).toMatchObject({
      data_parallel_size: 1,
      data_parallel_start_rank: 0,
      enable_eagle: false,
      total_kv_blocks: null,
      max_num_seqs: null,
      max_num_batched_tokens: null,
    });
    for (const absent of ['context_length', 'disaggregated_endpoint'])
      expect(runtime_config).not.toHaveProperty(absent);
  });

  it('defines the ranks from which a KV router chooses', async () => {
    const here = deployment();
    const requests: PreprocessedRequest[] = [];
    await here.serve(
      engine({ kvCacheBlockSize: 16, totalKvBlocks: 256, dataParallelSize: 3, dataParallelStartRank: 4 }, requests),
    );
    const frontend = await here.frontend({ router: { mode: 'kv', kv: { router_temperature: 1 } } });
    await frontend.waitForModel('card');
    const ranks = (): number[] => [...new Set(requests.map(({ routing }) => routing?.['dp_rank'] as number))].sort();
    await waitFor(
      'all ranks',
      async () => (expect(await status(frontend)).toBe(200), ranks()),
      (seen) => seen.length === 3,
    );
    expect(ranks()).toEqual([4, 5, 6]);
  });

  it.each([true, false])(
    'defines with enableEagle %s how a KV router hashes the published blocks',
    async (enableEagle) => {
      const here = deployment();
      let worker: EngineWorker | undefined;
      const llm = { kvCacheBlockSize: 16, totalKvBlocks: 256, contextLength: 4096, enableEagle };
      await here.serve({
        ...engine(llm),
        start: (given) => ((worker = given), { model: 'card', llm }),
        kvEventSources: () => [{ kind: 'push' }],
      });
      const frontend = await here.frontend({ router: { mode: 'kv', kv: { router_temperature: 0 } } });
      await frontend.waitForModel('card');
      // One token more than four blocks: a block of pairs includes the first token of the next block.
      const [known, strange] = [300, 400].map((from) => Array.from({ length: 65 }, (_, index) => from + index)) as [
        number[],
        number[],
      ];
      const store = (tokens: number[], eagle: boolean): boolean | undefined => {
        const hashes = computeBlockHashes(tokens.slice(0, eagle ? 65 : 64), 16, { eagle });
        const blocks = Array.from(computeSequenceHashes(hashes), (block_hash, index) => ({
          block_hash,
          tokens_hash: hashes[index] as bigint,
        }));
        expect(blocks).toHaveLength(4);
        return worker?.publishKvEvents([
          { event_id: tokens[0] as number, data: { stored: { parent_hash: null, start_position: 0, blocks } } },
        ]);
      };
      expect([store(strange, !enableEagle), store(known, enableEagle)]).toEqual([true, true]);
      const hitRate = async (prompt: number[]): Promise<number> => {
        const response = await post(frontend, '/v1/completions', {
          model: 'card',
          prompt,
          max_tokens: 1,
          nvext: { extra_fields: ['timing'] },
        });
        const body = await response.text();
        expect(response.status, body).toBe(200);
        return (JSON.parse(body) as { nvext: { timing: { kv_hit_rate: number } } }).nvext.timing.kv_hit_rate;
      };
      expect(
        await waitFor(
          'a hit',
          () => hitRate(known),
          (rate) => rate > 0,
        ),
      ).toBeGreaterThan(0.7);
      expect(await hitRate(strange)).toBe(0);
    },
  );

  it.each([
    ['is shown to clients and does not limit prompts', undefined, 200],
    [
      'limits prompts if the engine has a token budget',
      { token_budget: { combined_limit: 64, reject_prompt_overflow: true } },
      400,
    ],
  ])('has a context length that %s', async (_, runtimeData, expected) => {
    const here = deployment();
    const requests: PreprocessedRequest[] = [];
    const llm = { contextLength: 64 };
    await here.serve({
      ...engine(llm, requests),
      start: () => ({ model: 'card', llm, ...(runtimeData === undefined ? {} : { runtimeData }) }),
    });
    const frontend = await here.frontend();
    await frontend.waitForModel('card');
    expect(await (await fetch(`${frontend.url}/v1/models/card`)).json()).toMatchObject({
      id: 'card',
      context_window: 64,
    });
    expect(await status(frontend)).toBe(200);
    const long = await chat(frontend, { model: 'card', messages: [{ role: 'user', content: 'block '.repeat(100) }] });
    expect([long.status, requests.length]).toEqual([expected, expected === 200 ? 2 : 1]);
    if (expected === 400) expect(await long.text()).toContain('64');
  });

  it('accepts counts beyond 32 bits, as load and blocks do', async () => {
    const here = deployment();
    let worker: EngineWorker | undefined;
    const large: LLMEngine = {
      ...engine({}),
      start: (given) => {
        worker = given;
        return { model: 'card', llm: { kvCacheBlockSize: 16, totalKvBlocks: 2 ** 40 }, runtimeData: { born: 2 ** 41 } };
      },
      kvEventSources: () => [{ kind: 'push' }],
      metricsRanks: [0],
    };
    const { runtime } = await here.serve(large, { highWaterBytes: 2 ** 33 });
    expect(JSON.stringify(cardOf(here, runtime.instanceId))).toMatch(
      /"total_kv_blocks":1099511627776,.*"born":2199023255552\b[^.]/,
    );
    const blocks = [{ block_hash: 2 ** 50, tokens_hash: 2 ** 51 }];
    expect(
      worker?.publishKvEvents([
        { event_id: 2 ** 34, data: { stored: { parent_hash: null, start_position: null, blocks } } },
      ]),
    ).toBe(true);
    expect(worker?.publishLoad({ kvUsedBlocks: 2 ** 38, kvTotalBlocks: 2 ** 40 })).toBe(true);
    await waitFor(
      'the gauge',
      () => runtime.metricsText(),
      (text) => /gpu_cache_usage\S* 0\.25/.test(text),
    );
  });

  it('gives a decode worker the bootstrap address before the prefill is complete', async () => {
    const here = deployment();
    const [prefilled, decoded]: [PreprocessedRequest[], PreprocessedRequest[]] = [[], []];
    await here.serve(
      engine({ kvCacheBlockSize: 16, totalKvBlocks: 256, bootstrapHost: '10.0.0.1', bootstrapPort: 7000 }, prefilled),
      { workerType: 'prefill', endpoint: 'test.prefill.generate' },
    );
    await here.serve(engine({ kvCacheBlockSize: 16, totalKvBlocks: 256 }, decoded), { workerType: 'decode' });
    const frontend = await here.frontend();
    await frontend.waitForModel('card');
    const met = (): PreprocessedRequest | undefined =>
      decoded.find(({ bootstrap_info }) => bootstrap_info !== undefined && bootstrap_info !== null);
    // The model is listed before the router of the prefill workers takes requests: until then the answer is 503.
    await waitFor('a meeting', async () => (expect([200, 503]).toContain(await status(frontend)), met()));
    expect(met()?.bootstrap_info).toMatchObject({ bootstrap_host: '10.0.0.1', bootstrap_port: 7000 });
    const room = met()?.bootstrap_info?.['bootstrap_room'];
    await waitFor(
      'the prefill worker',
      () => prefilled.map(({ bootstrap_info }) => bootstrap_info?.['bootstrap_room']),
      (rooms) => rooms.includes(room),
    );
  });
});
