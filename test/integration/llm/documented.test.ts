import type { Frontend, LLMEngine, PreprocessedRequest } from 'dynamo-node';
import OpenAI from 'openai';
import { describe, expect, it } from 'vitest';
import { chat, deployments, post } from '../../helpers/llm/deployments.js';
import { spell } from '../../helpers/llm/fixed-answer-engine.js';

const deployment = deployments();

/** A frontend with a worker that ends each response as cancelled, and the requests that it received. */
async function start(): Promise<{ frontend: Frontend; requests: PreprocessedRequest[]; instanceId: bigint }> {
  const here = deployment();
  const requests: PreprocessedRequest[] = [];
  const engine: LLMEngine = {
    start: () => ({ model: 'model', llm: { contextLength: 4096 } }),
    async *generate(request) {
      requests.push(request);
      yield { token_ids: spell('yes'), finish_reason: 'cancelled' };
    },
  };
  const { runtime } = await here.serve(engine);
  const frontend = await here.frontend({ anthropicApi: true });
  await frontend.waitForModel('model');
  return { frontend, requests, instanceId: runtime.instanceId };
}

/** What docs/frontend.md says about the crates. */
describe('a frontend, as documented,', () => {
  it('reports a response that the engine ended as cancelled with `stop`', async () => {
    const { frontend } = await start();
    const response = await chat(frontend, { model: 'model' });
    expect(await response.json()).toMatchObject({ choices: [{ finish_reason: 'stop' }] });
  });

  it('makes `x-tenant-id` the cache salt, before one in the body', async () => {
    const { frontend, requests } = await start();
    const body = { model: 'model', nvext: { cache_salt: 'body' } };
    await chat(frontend, body);
    await chat(frontend, body, { headers: { 'x-tenant-id': 'tenant' } });
    expect(requests.map(({ routing }) => routing)).toEqual([{ cache_salt: 'body' }, { cache_salt: 'tenant' }]);
  });

  it('estimates the tokens of a message as a third of its length', async () => {
    const { frontend } = await start();
    const messages = [{ role: 'user', content: 'x'.repeat(296) }];
    const response = await post(frontend, '/v1/messages/count_tokens', { model: 'model', messages });
    expect(await response.json()).toEqual({ input_tokens: 100 });
  });

  it('has worker ids in JSON that numbers of JavaScript do not represent', async () => {
    const { frontend, instanceId } = await start();
    const response = await chat(frontend, { model: 'model', nvext: { extra_fields: ['worker_id'] } });
    const text = await response.text();
    expect(text).toContain(`"decode_worker_id":${instanceId}`);
    expect(instanceId).toBeGreaterThan(2n ** 53n);
  });

  it('sends annotations that end the stream of the `openai` client', async () => {
    const { frontend } = await start();
    const client = new OpenAI({ baseURL: `${frontend.url}/v1`, apiKey: 'none', maxRetries: 0 });
    const request = { model: 'model', stream: true as const, messages: [{ role: 'user' as const, content: 'hello' }] };
    const read = async (annotations: string[]): Promise<number> => {
      let parts = 0;
      const annotated = { ...request, nvext: { annotations } };
      for await (const _ of await client.chat.completions.create(annotated)) parts++;
      return parts;
    };
    expect(await read([])).toBeGreaterThan(0);
    await expect(read(['formatted_prompt'])).rejects.toBeInstanceOf(SyntaxError);
  });
});
