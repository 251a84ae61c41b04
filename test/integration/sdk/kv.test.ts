import { KvRouter, type LLMEngineOutput, type PreprocessedRequest } from 'dynamo-node';
import { builtInService, defineService, depends, engineService, type GraphSpec, graph } from 'dynamo-node/sdk';
import { describe, expect, it } from 'vitest';

import { modelPath } from '../../../examples/tiny-llama/engine.js';
import { BLOCK_SIZE, CachingEngine } from '../../helpers/llm/caching-engine.js';
import { hostings } from '../../helpers/sdk/hosting.js';

process.env['DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS'] = '0';

const hosting = hostings();

const requestOf = (tokens: readonly number[]): PreprocessedRequest => ({
  model: 'mock',
  token_ids: Uint32Array.from(tokens),
  stop_conditions: { max_tokens: 4 },
  sampling_options: {},
  output_options: {},
  eos_token_ids: [],
  annotations: [],
});

const Mocker = builtInService('Mocker', {
  kind: 'mocker',
  modelPath,
  modelName: 'mock',
  kvCacheBlockSize: BLOCK_SIZE,
  config: { engine: { speedup_ratio: 100, block_size: BLOCK_SIZE } },
});

const Caller = defineService('Caller', { deps: { mocker: depends(Mocker, { mode: 'kv', blockSize: BLOCK_SIZE }) } })
  .endpoint('run', async (tokens: number[], { deps }) => {
    const items: readonly LLMEngineOutput[] = await deps.mocker.generate(requestOf(tokens)).collect();
    return items.flatMap(({ token_ids: generated }) => [...generated]).length;
  })
  .endpoint('untokenized', async (text: string, { deps }) => deps.mocker.generate({ text } as never).collect());

const kv = graph('kv', Caller);

describe('a dependency of mode kv', () => {
  it('sends requests with token ids to an engine, and rejects others with TypeError', async () => {
    const one = hosting();
    await one.start(kv, Mocker);
    await one.start(kv, Mocker);
    await one.start(kv, Caller);
    const runtime = await one.runtime();
    const client = await runtime.endpoint<number[], number>('dynamo.caller.run').client();
    await client.waitForInstances({ timeoutMs: 10_000 });
    const prompt = Array.from({ length: 64 }, (_, index) => index + 1);
    await expect.poll(() => client.unary(prompt).catch(String)).toBe(4);
    expect(await Promise.all([client.unary(prompt), client.unary(prompt)])).toEqual([4, 4]);
    const untokenized = await runtime.endpoint<string>('dynamo.caller.untokenized').client();
    await untokenized.waitForInstances({ timeoutMs: 10_000 });
    await expect(untokenized.unary('text')).rejects.toThrow(
      'dynamo.mocker.generate request.token_ids: expected token ids for the mode kv, got undefined',
    );
  });

  it('sends a prompt to the engine that has its blocks', async () => {
    const engines: CachingEngine[] = [];
    const Cached = engineService('Cached', () => {
      const engine = new CachingEngine('cached');
      engines.push(engine);
      return { engine, modelPath };
    });
    const routed = depends(Cached, { mode: 'kv', blockSize: BLOCK_SIZE });
    const Asker = defineService('Asker', { deps: { routed } }).endpoint('run', async (tokens: number[], { deps }) => {
      await deps.routed.generate(requestOf(tokens)).collect();
    });
    const one = hosting();
    const cached = graph('cached', Asker);
    await one.start(cached, Cached);
    await one.start(cached, Cached);
    await one.start(cached, Asker);
    const runtime = await one.runtime();
    const client = await runtime.endpoint<number[], null>('dynamo.asker.run').client();
    await client.waitForInstances({ timeoutMs: 10_000 });
    await using router = await KvRouter.create(runtime.endpoint('dynamo.cached.generate'), { blockSize: BLOCK_SIZE });
    const tokens = Array.from({ length: 256 }, (_, index) => index + 1);
    await expect.poll(() => client.unary(tokens).then(() => 'answered', String)).toBe('answered');
    const knows = async () => (await router.overlapScores({ tokens })).some(({ deviceBlocks }) => deviceBlocks > 0);
    await expect.poll(knows).toBe(true);
    for (let times = 0; times < 6; times++) await client.unary(tokens);
    expect(engines.map((engine) => engine.cached).sort()).toEqual([[], [0, 256, 256, 256, 256, 256, 256]]);
  });

  it('is part of the spec, and needs the size of a block', () => {
    const { services } = JSON.parse(JSON.stringify(kv)) as GraphSpec;
    expect(services[1]?.dependencies).toEqual([
      { property: 'mocker', service: 'Mocker', mode: 'kv', blockSize: BLOCK_SIZE },
    ]);
    expect(() => depends(Mocker, { mode: 'kv' })).toThrow(
      'depends options.blockSize: expected a number if and only if the mode is kv, got undefined',
    );
    expect(() => depends(Mocker, { blockSize: 4 })).toThrow('depends options.blockSize: expected a number if and only');
  });

  it('rejects the start of a service whose endpoint answers with one value', async () => {
    const One = defineService('One').endpoint('run', async () => 1);
    const Two = defineService('Two', { deps: { one: depends(One, { mode: 'kv', blockSize: 4 }) } });
    await expect(hosting().start(graph('g', Two), Two)).rejects.toThrow(
      'dynamo.one.run: mode kv is for endpoints that answer with a stream',
    );
  });
});
