import type { LLMEngine, LLMEngineOutput, PreprocessedRequest } from 'dynamo-node';

/** A model whose tokens are characters. It answers with its prompt. */
export class ParrotEngine implements LLMEngine {
  start() {
    return { model: 'parrot' };
  }

  async *generate({ token_ids, stop_conditions }: PreprocessedRequest): AsyncGenerator<LLMEngineOutput> {
    for (const id of token_ids.slice(0, stop_conditions.max_tokens ?? undefined)) yield { token_ids: [id] };
    yield { token_ids: [], finish_reason: 'stop' };
  }
}
