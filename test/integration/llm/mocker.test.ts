import { BuiltInWorker } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';
import { modelPath } from '../../../examples/tiny-llama/engine.js';
import { chat, deployments, serverSentEvents } from '../../helpers/llm/deployments.js';
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
    const whole = await ask();
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
