// Engines for `out=js:`.
import { fileURLToPath } from 'node:url';
import type { GenerateContext, LLMEngine, LLMEngineOutput, PreprocessedRequest } from 'dynamo-node';

export const modelPath = fileURLToPath(new URL('../../../../examples/tiny-llama/model', import.meta.url));

const PAUSE_MS = 20;
const MAX_TOKENS = 500;

/** One token every 20 ms, up to the limit of the request. */
export class SlowEngine implements LLMEngine {
  constructor(readonly pauseMs = PAUSE_MS) {}

  start() {
    return { model: 'slow', llm: { contextLength: 4096 } };
  }

  async *generate(request: PreprocessedRequest, context: GenerateContext): AsyncGenerator<LLMEngineOutput> {
    const most = request.stop_conditions.max_tokens ?? MAX_TOKENS;
    const prompt_tokens = request.token_ids.length;
    for (let index = 0; index < most && !context.signal.aborted; index++) {
      await new Promise((resolve) => setTimeout(resolve, this.pauseMs));
      yield { token_ids: [300 + (index % 200)] };
    }
    yield {
      token_ids: [],
      finish_reason: 'length',
      completion_usage: { prompt_tokens, completion_tokens: most, total_tokens: prompt_tokens + most },
    };
  }
}

/** A function that returns an engine is accepted too. */
export const createFastEngine = (): LLMEngine => new SlowEngine(0);

export const failing: LLMEngine = {
  start: () => ({ model: 'failing', llm: { contextLength: 4096 } }),
  async *generate() {
    throw new Error('out of memory');
  },
};

export const unstartable: LLMEngine = {
  start: () => Promise.reject(new Error('the weights are missing')),
  async *generate() {},
};

export const notAnEngine = { answer: 42 };
