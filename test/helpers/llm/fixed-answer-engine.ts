import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LLMEngine, PreprocessedRequest } from 'dynamo-node';
import { modelPath } from '../../../examples/tiny-llama/engine.js';

const { model } = JSON.parse(readFileSync(join(modelPath, 'tokenizer.json'), 'utf8')) as {
  model: { vocab: Record<string, number> };
};

/** The tokens of the characters of a text, from the byte-level vocabulary. */
export const spell = (text: string): number[] =>
  [...text].map((character) => model.vocab[character.replace(' ', 'Ġ').replace('\n', 'Ċ')] as number);

/** Answers every request with the same text, and records the requests. */
export class FixedAnswerEngine implements LLMEngine {
  readonly requests: PreprocessedRequest[] = [];

  constructor(readonly answer: string) {}

  start() {
    return { model: 'parrot', llm: { contextLength: 4096 } };
  }

  async *generate(request: PreprocessedRequest) {
    this.requests.push(request);
    for (const id of spell(this.answer)) yield { token_ids: [id] };
    yield { token_ids: [], finish_reason: 'stop' as const };
  }
}
