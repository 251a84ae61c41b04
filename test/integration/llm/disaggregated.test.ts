import { expect, it } from 'vitest';
import type { LLMEngine, PreprocessedRequest } from '../../../lib/index.js';
import { chat, deployments } from '../../helpers/llm/deployments.js';
import { waitFor } from '../../helpers/wait.js';

const deployment = deployments();

it('a prefill worker hands what it made to the decode worker, which answers', async () => {
  const here = deployment();
  const asked: PreprocessedRequest[] = [];
  const handed: PreprocessedRequest[] = [];
  const config = { model: 'parts', llm: { contextLength: 4096, kvCacheBlockSize: 16, totalKvBlocks: 256 } };
  const prefill: LLMEngine = {
    start: () => config,
    // Nobody reads its blocks any more: without this it is kept for them at its close.
    isQuiescent: () => true,
    async *generate(request) {
      asked.push(request);
      yield {
        token_ids: [300],
        finish_reason: 'length',
        disaggregated_params: { blocks: [1, 2, 3], prompt: request.token_ids.length },
      };
    },
  };
  const decode: LLMEngine = {
    start: () => config,
    async *generate(request) {
      handed.push(request);
      yield { token_ids: [301, 302] };
      yield { token_ids: [303], finish_reason: 'length' };
    },
  };
  await here.serve(prefill, { workerType: 'prefill', endpoint: 'test.prefill.generate' });
  await here.serve(decode, { workerType: 'decode' });
  const frontend = await here.frontend();
  await frontend.waitForModel('parts');
  const ask = async () => (await chat(frontend, { model: 'parts', max_tokens: 3 })).json();
  const answer = await waitFor('an answer of both', ask, () => handed.length > 0);
  expect(answer).toMatchObject({ model: 'parts', choices: [{ finish_reason: 'length' }] });
  const [last] = handed as [PreprocessedRequest];
  expect(last.prefill_result?.disaggregated_params).toMatchObject({ blocks: [1, 2, 3], prompt: last.token_ids.length });
  // One token is all that a prefill worker is asked for, whatever the client wants.
  expect(asked.at(-1)).toMatchObject({ token_ids: last.token_ids, stop_conditions: { max_tokens: 1 } });
  expect(last.stop_conditions.max_tokens).toBe(3);
});

it('a prefill worker is cleaned up once its engine says that nobody reads its blocks any more', async () => {
  const told: string[] = [];
  const engine: LLMEngine = {
    start: () => ({ model: 'parts', llm: { contextLength: 4096, kvCacheBlockSize: 16, totalKvBlocks: 256 } }),
    async *generate() {},
    isQuiescent() {
      const quiet = told.length === 2;
      told.push(quiet ? 'quiet' : 'read');
      return quiet;
    },
    cleanup: () => void told.push('cleanup'),
  };
  const { worker } = await deployment().serve(engine, { workerType: 'prefill' });
  expect(told).toEqual([]);
  await worker.close();
  expect(told).toEqual(['read', 'read', 'quiet', 'cleanup']);
});
