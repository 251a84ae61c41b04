import type { LLMEngine, PreprocessedRequest } from 'dynamo-node';
import { describe, expect, it } from 'vitest';
import { chat, deployments } from '../../helpers/llm/deployments.js';
import { waitFor } from '../../helpers/wait.js';

const deployment = deployments();

describe('a prefill worker', () => {
  it('sends its result to the decode worker, which answers', async () => {
    const here = deployment();
    const requests: PreprocessedRequest[] = [];
    const handoffs: PreprocessedRequest[] = [];
    const config = { model: 'parts', llm: { contextLength: 4096, kvCacheBlockSize: 16, totalKvBlocks: 256 } };
    const prefill: LLMEngine = {
      start: () => config,
      // No other worker reads its blocks. Without this, the close would wait for readers.
      isQuiescent: () => true,
      async *generate(request) {
        requests.push(request);
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
        handoffs.push(request);
        yield { token_ids: [301, 302] };
        yield { token_ids: [303], finish_reason: 'length' };
      },
    };
    await here.serve(prefill, { workerType: 'prefill', endpoint: 'test.prefill.generate' });
    await here.serve(decode, { workerType: 'decode' });
    const frontend = await here.frontend();
    await frontend.waitForModel('parts');
    const ask = async () => (await chat(frontend, { model: 'parts', max_tokens: 3 })).json();
    const answer = await waitFor('an answer of both', ask, () => handoffs.length > 0);
    expect(answer).toMatchObject({ model: 'parts', choices: [{ finish_reason: 'length' }] });
    const [last] = handoffs as [PreprocessedRequest];
    expect(last.prefill_result?.disaggregated_params).toMatchObject({
      blocks: [1, 2, 3],
      prompt: last.token_ids.length,
    });
    // A prefill worker receives requests for one token, whatever the client's limit is.
    expect(requests.at(-1)).toMatchObject({ token_ids: last.token_ids, stop_conditions: { max_tokens: 1 } });
    expect(last.stop_conditions.max_tokens).toBe(3);
  });

  it('is cleaned up after its engine is quiescent', async () => {
    const calls: string[] = [];
    const engine: LLMEngine = {
      start: () => ({ model: 'parts', llm: { contextLength: 4096, kvCacheBlockSize: 16, totalKvBlocks: 256 } }),
      async *generate() {},
      isQuiescent() {
        const quiet = calls.length === 2;
        calls.push(quiet ? 'quiet' : 'read');
        return quiet;
      },
      cleanup: () => void calls.push('cleanup'),
    };
    const { worker } = await deployment().serve(engine, { workerType: 'prefill' });
    expect(calls).toEqual([]);
    await worker.close();
    expect(calls).toEqual(['read', 'read', 'quiet', 'cleanup']);
  });
});
