import type { LLMEngine, PreprocessedRequest } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';
import { deployments, post } from '../../helpers/llm/deployments.js';

const deploy = deployments();

/** Looks like parameters of a transfer, but names no memory of any process. */
const PARAMS = { do_remote_prefill: false };
const ROUTE = 'DYN_VLLM_ENABLE_INFERENCE_V1_GENERATE';

class RecordingEngine implements LLMEngine {
  readonly requests: PreprocessedRequest[] = [];

  start() {
    return {
      model: 'tiny',
      runtimeData: { vllm_inference_v1_generate: true },
      llm: { contextLength: 4096, kvCacheBlockSize: 16, totalKvBlocks: 256 },
    };
  }

  async *generate(request: PreprocessedRequest) {
    this.requests.push(request);
    yield { token_ids: [300], finish_reason: 'length' as const };
  }
}

/** Opens the route of the frontend on which clients can set the parameters. */
function openRoute(value = '1'): void {
  process.env[ROUTE] = value;
  onTestFinished(() => void delete process.env[ROUTE]);
}

const chat = { model: 'tiny', messages: [{ role: 'user', content: 'hi' }], max_tokens: 1 };
const completion = { model: 'tiny', prompt: 'hi', max_tokens: 1 };
const generation = { model: 'tiny', token_ids: [1, 4, 5], sampling_params: { max_tokens: 1 } };

describe('kv_transfer_params of a client', () => {
  it.each<[string, string, object]>([
    ['/v1/chat/completions', 'in the body', { ...chat, kv_transfer_params: PARAMS }],
    ['/v1/chat/completions', 'in nvext', { ...chat, nvext: { kv_transfer_params: PARAMS } }],
    ['/v1/chat/completions', 'in vllm_xargs', { ...chat, vllm_xargs: { kv_transfer_params: 'x' } }],
    ['/v1/chat/completions', 'in extra_args', { ...chat, extra_args: { kv_transfer_params: PARAMS } }],
    ['/v1/completions', 'in the body', { ...completion, kv_transfer_params: PARAMS }],
    ['/v1/completions', 'in nvext', { ...completion, nvext: { kv_transfer_params: PARAMS } }],
    ['/inference/v1/generate', 'in the body', { ...generation, kv_transfer_params: PARAMS }],
    [
      '/inference/v1/generate',
      'in the sampling parameters',
      { ...generation, sampling_params: { max_tokens: 1, extra_args: { kv_transfer_params: PARAMS } } },
    ],
  ])('are refused with 400 on %s %s, and do not reach the engine', async (path, _where, body) => {
    openRoute();
    const cluster = deploy();
    const engine = new RecordingEngine();
    await cluster.serve(engine);
    const frontend = await cluster.frontend({ kvTransferParams: 'accept' });
    await frontend.waitForModel('tiny');
    const response = await post(frontend, path, body);
    expect(response.status).toBe(400);
    expect(await response.text()).toMatch(/kv_transfer_params|vllm_xargs|extra_args/);
    expect(engine.requests).toEqual([]);
  });

  it('reach an engine that is served with kvTransferParams: accept', async () => {
    openRoute();
    const cluster = deploy();
    const engine = new RecordingEngine();
    await cluster.serve(engine, { kvTransferParams: 'accept' });
    const frontend = await cluster.frontend({ kvTransferParams: 'accept' });
    await frontend.waitForModel('tiny');
    const response = await post(frontend, '/inference/v1/generate', { ...generation, kv_transfer_params: PARAMS });
    expect(response.status).toBe(200);
    expect(engine.requests[0]?.extra_args).toMatchObject({ kv_transfer_params: PARAMS });
  });

  it('keep a frontend from starting if a variable opens their route and it does not accept them', async () => {
    openRoute('true');
    const failure = {
      class: 'InvalidRequest',
      reason: 'frontend.kv_transfer',
      message: expect.stringContaining(ROUTE),
    };
    const cluster = deploy();
    // The check is synchronous, as those of other options are.
    await expect((async () => cluster.frontend())()).rejects.toMatchObject(failure);
    process.env[ROUTE] = '0';
    await cluster.frontend();
  });
});
