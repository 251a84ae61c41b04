import { BuiltInWorker } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';
import { modelPath } from '../../../examples/tiny-llama/engine.js';
import { cardOf, chat, deployments, post, serverSentEvents } from '../../helpers/llm/deployments.js';
import { waitFor } from '../../helpers/wait.js';

const deployment = deployments();

describe('the built-in mocker', () => {
  it('prefills and decodes for a frontend, with one worker for each part', async () => {
    const here = deployment();
    const serve = async (workerType: 'prefill' | 'decode', config?: Record<string, unknown>) => {
      const runtime = await here.runtime();
      const worker = await BuiltInWorker.start(runtime, `test.${workerType}.generate`, {
        kind: 'mocker',
        modelPath,
        modelName: 'mocked',
        workerType,
        ...(config === undefined ? {} : { config }),
      });
      onTestFinished(() => worker.close({ timeoutMs: 2000 }));
      await worker.ready;
      return runtime.instanceId;
    };
    const frontend = await here.frontend();
    const ask = (stream = false) =>
      chat(frontend, { model: 'mocked', max_tokens: 5, stream, nvext: { extra_fields: ['worker_id'] } });
    const decoder = await serve('decode', { engine: { speedup_ratio: 100 } });
    await waitFor(
      'the decode worker alone',
      async () => (await ask()).status,
      (status) => status === 503,
    );
    const prefiller = await serve('prefill');
    await frontend.waitForModel('mocked');
    // The model is listed before the router of the prefill workers takes requests: until then the answer is 503.
    const whole = await waitFor('both routers', ask, ({ status }) => status !== 503);
    const answer = await whole.text();
    expect(whole.status, answer).toBe(200);
    expect(JSON.parse(answer)).toMatchObject({
      choices: [{ finish_reason: 'length' }],
      usage: { completion_tokens: 5 },
    });
    // Instance ids exceed the range of JSON numbers.
    expect(answer).toContain(`"worker_id":{"prefill_worker_id":${prefiller},"decode_worker_id":${decoder}}`);
    const events = await serverSentEvents(await ask(true));
    expect(events.at(-1)?.data).toBe('[DONE]');
    expect(
      events.filter(({ data }) => data.includes(`"prefill_worker_id":${prefiller},"decode_worker_id":${decoder}`))
        .length,
    ).toBeGreaterThanOrEqual(5);
  });

  it.each([
    ['the default', {}, 16],
    ['kvCacheBlockSize', { kvCacheBlockSize: 32 }, 32],
    ['the configuration', { config: { engine: { block_size: 8 } } }, 8],
    ['both', { kvCacheBlockSize: 8, config: { engine: { block_size: 8 } } }, 8],
  ])('has one block size for its card and its engine: that of %s', async (_, options, blockSize) => {
    const here = deployment();
    const runtime = await here.runtime();
    const worker = await BuiltInWorker.start(runtime, 'test.backend.generate', {
      kind: 'mocker',
      modelPath,
      modelName: 'mocked',
      ...options,
    });
    onTestFinished(() => worker.close({ timeoutMs: 2000 }));
    await worker.ready;
    expect(cardOf(here, runtime.instanceId)['kv_cache_block_size']).toBe(blockSize);
    const frontend = await here.frontend({ router: { mode: 'kv', kv: { router_temperature: 0 } } });
    await frontend.waitForModel('mocked');
    const prompt = Array.from({ length: 129 }, (_, index) => 300 + index);
    const hitRate = async (): Promise<number> => {
      const request = { model: 'mocked', prompt, max_tokens: 2, nvext: { extra_fields: ['timing'] } };
      const response = await post(frontend, '/v1/completions', request);
      const body = await response.text();
      expect(response.status, body).toBe(200);
      return (JSON.parse(body) as { nvext: { timing: { kv_hit_rate: number } } }).nvext.timing.kv_hit_rate;
    };
    await waitFor('a hit', hitRate, (rate) => rate > 0.7, 15_000);
  });

  it('rejects two block sizes', async () => {
    const here = deployment();
    expect(() =>
      BuiltInWorker.start(here.options, 'test.backend.generate', {
        kind: 'mocker',
        modelPath,
        kvCacheBlockSize: 16,
        config: { engine: { block_size: 64 } },
      }),
    ).toThrow('BuiltInWorker.start engine.config.engine.block_size: expected kvCacheBlockSize (16), got 64');
  });

  it('rejects a configuration whose engine is not an object', async () => {
    const here = deployment();
    expect(() =>
      BuiltInWorker.start(here.options, 'test.prefill.generate', {
        kind: 'mocker',
        modelPath,
        workerType: 'prefill',
        config: { engine: 1 },
      }),
    ).toThrow('BuiltInWorker.start engine.config.engine: expected an object, got 1');
  });
});
