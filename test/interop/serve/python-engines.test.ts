import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type PythonEngineOptions, pythonEngine } from 'dynamo-node/sdk';
import { describe, expect, it } from 'vitest';
import { ServeTest } from '../../helpers/deploy/serve.js';
import { missingPeers } from '../../helpers/interop/peers.js';
import { root } from '../../helpers/project.js';
import { describeUnless } from '../../helpers/skipping.js';
import { waitFor } from '../../helpers/wait.js';

if (missingPeers !== undefined) console.log(`skipped: ${missingPeers}`);

const START_MS = 90_000;
const python = join(root, '.peers/bin/python');
const run = promisify(execFile);

/** What the parser of an engine's worker in Dynamo's wheel reads. */
async function parsed(options: PythonEngineOptions): Promise<Record<string, unknown>> {
  const { module, args = [] } = pythonEngine(options);
  const program = join(root, 'test/interop/peers/engine_args.py');
  const env = { ...process.env, DYN_LOG: 'error', DYN_NAMESPACE: 'dynamo' };
  const { stdout } = await run(python, [program, module.replace('dynamo.', ''), ...args], { env });
  return JSON.parse(stdout.trim().split('\n').at(-1) as string) as Record<string, unknown>;
}

const options = {
  model: 'org/model',
  modelName: 'name',
  tensorParallelSize: 2,
  kvCacheBlockSize: 16,
  contextLength: 99,
} as const;

describeUnless(missingPeers, "the arguments of Dynamo's Python engines", () => {
  it.each(['prefill', 'decode'] as const)('are read by the parser of TensorRT-LLM, for %s', async (mode) => {
    const overlap = mode === 'prefill' ? { disable_overlap_scheduler: true } : {};
    expect(await parsed({ ...options, engine: 'trtllm', disaggregationMode: mode })).toEqual({
      endpoint: `dynamo.${mode === 'prefill' ? 'prefill' : 'backend'}.generate`,
      model: 'org/model',
      name: 'name',
      mode,
      tensorParallelSize: 2,
      blockSize: 16,
      contextLength: 99,
      overrides: { cache_transceiver_config: { backend: 'NIXL' }, ...overlap },
    });
  });

  it.each(['vllm', 'sglang', 'trtllm'] as const)('are read by the mocker in the place of %s', async (engine) => {
    expect(await parsed({ ...options, engine, disaggregationMode: 'prefill', standIn: true })).toEqual({
      endpoint: 'dynamo.prefill.generate',
      model: 'org/model',
      name: 'name',
      mode: 'prefill',
      engine,
      blockSize: 16,
      contextLength: 99,
    });
  });

  it("leave those of SGLang to SGLang's own parser", async () => {
    const { rest } = await parsed({ ...options, engine: 'sglang', disaggregationMode: 'decode' });
    expect(rest).toEqual(
      (
        '--model-path org/model --served-model-name name --context-length 99 --page-size 16 --tp-size 2 ' +
        '--disaggregation-mode decode --disaggregation-transfer-backend nixl'
      ).split(' '),
    );
  });

  it("leave those of vLLM to vLLM's own parser, and the role to Dynamo's", async () => {
    const { rest, mode } = await parsed({ ...options, engine: 'vllm', disaggregationMode: 'prefill' });
    expect(mode).toBe('prefill');
    expect(rest).toEqual([
      ...'--served-model-name name --max-model-len 99 --block-size 16 --tensor-parallel-size 2'.split(' '),
      ...['--kv-transfer-config', '{"kv_connector":"NixlConnector","kv_role":"kv_producer"}'],
    ]);
  });

  describe.each(['sglang', 'trtllm'] as const)('in a graph with stand-ins for %s', (engine) => {
    it(
      'start a prefill and a decode worker, both of which take part in an answer',
      async () => {
        await using test = new ServeTest({
          DYN_PYTHON: python,
          DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS: '0',
          HF_HUB_OFFLINE: '1',
          DYN_LOG: 'error',
          STAND_IN: engine,
        });
        const serve = test.serve([], join(root, 'test/helpers/deploy/graphs/stand-ins.ts'));
        await test.ready(serve, 'stand-ins', START_MS);
        const [state] = await test.states();
        const [url] = state!.urls;
        const workers = await waitFor(
          'an answer of both workers',
          () => workersOf(url as string),
          (ids) => ids.length === 2,
          START_MS,
        );
        expect(workers[0]).not.toBe(workers[1]);
        expect(await test.dynamo('stop')).toMatchObject({ code: 0 });
        expect(await serve.exit()).toMatchObject({ code: 0 });
      },
      3 * START_MS,
    );
  });
});

/** The ids of the workers that prefilled and decoded an answer, as far as the frontend reports them. */
async function workersOf(url: string): Promise<unknown[]> {
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      model: 'mocked',
      messages: [{ role: 'user', content: 'What is KVBM?' }],
      max_tokens: 5,
      nvext: { extra_fields: ['worker_id'] },
    }),
  });
  if (!response.ok) return [];
  const { nvext } = (await response.json()) as {
    nvext?: { worker_id?: { prefill_worker_id?: unknown; decode_worker_id?: unknown } };
  };
  const { prefill_worker_id: prefill, decode_worker_id: decode } = nvext?.worker_id ?? {};
  return [prefill, decode].filter((id) => id !== undefined && id !== null);
}
