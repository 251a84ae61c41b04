import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { modelPath } from '../../../examples/tiny-llama/engine.js';
import type { LLMEngine, PreprocessedRequest } from '../../../lib/index.js';

const { model } = JSON.parse(readFileSync(join(modelPath, 'tokenizer.json'), 'utf8')) as {
  model: { vocab: Record<string, number> };
};

/** A text in the tokens of its single characters, as a byte-level vocabulary has them. */
export const spell = (text: string): number[] =>
  [...text].map((character) => model.vocab[character.replace(' ', 'Ġ').replace('\n', 'Ċ')] as number);

/** Says the same to everybody, and keeps what it was asked. */
export class Parrot implements LLMEngine {
  readonly asked: PreprocessedRequest[] = [];

  constructor(readonly says: string) {}

  start() {
    return { model: 'parrot', llm: { contextLength: 4096 } };
  }

  async *generate(request: PreprocessedRequest) {
    this.asked.push(request);
    for (const id of spell(this.says)) yield { token_ids: [id] };
    yield { token_ids: [], finish_reason: 'stop' as const };
  }
}
