import type { LLMEngine, PreprocessedRequest } from 'dynamo-node';
import { describe, expect, it } from 'vitest';
import { chat, deployments } from '../../helpers/llm/deployments.js';
import { FixedAnswerEngine } from '../../helpers/llm/fixed-answer-engine.js';
import { waitFor } from '../../helpers/wait.js';

const deployment = deployments();
const PIXEL_PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
const PIXEL = `data:image/png;base64,${PIXEL_PNG}`;

describe('an encode worker', () => {
  it('receives the media first, and its result is added to the request', async () => {
    const here = deployment();
    const looked: PreprocessedRequest[] = [];
    const eyes: LLMEngine = {
      start: () => ({ model: 'parrot' }),
      async *generate(request) {
        looked.push(request);
        const prompt_tokens = request.token_ids.length;
        yield {
          token_ids: [],
          finish_reason: 'stop',
          encoder_result: { images: (request.multi_modal_data?.['image_url'] ?? []).length },
          completion_usage: { prompt_tokens, completion_tokens: 0, total_tokens: prompt_tokens },
        };
      },
    };
    const mouth = new FixedAnswerEngine('yes');
    await here.serve(mouth, { routeToEncoder: true });
    const frontend = await here.frontend();
    const ask = async (content: unknown): Promise<number> => {
      const response = await chat(frontend, { model: 'parrot', messages: [{ role: 'user', content }] });
      await response.text();
      return response.status;
    };
    const image = { type: 'image_url', image_url: { url: PIXEL } };
    await waitFor(
      'the refusal while nobody has eyes',
      () => ask('hello'),
      (status) => status === 503,
    );
    await here.serve(eyes, { workerType: 'encode', endpoint: 'test.encode.generate' });
    await frontend.waitForModel('parrot');
    await waitFor(
      'a look',
      async () => (
        expect(await ask([{ type: 'text', text: 'what is it?' }, image, image])).toBe(200), looked.length > 0
      ),
    );
    const [seen, answered] = [looked.at(-1), mouth.requests.at(-1)] as [PreprocessedRequest, PreprocessedRequest];
    expect(seen.multi_modal_data).toEqual({ image_url: [{ Url: PIXEL }, { Url: PIXEL }] });
    expect(answered.encoder_result).toEqual({ images: 2 });
    expect(answered.token_ids).toEqual(seen.token_ids);
    const before = looked.length;
    expect(await ask('only words')).toBe(200);
    expect([looked.length, mouth.requests.at(-1)?.encoder_result ?? null]).toEqual([before, null]);
  });
});
