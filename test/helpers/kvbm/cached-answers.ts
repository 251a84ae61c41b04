import { modelPath } from '../../../examples/tiny-llama/engine.js';
import { generate, type TokenEvent } from '../../../examples/tiny-llama/generate.js';
import { Llama } from '../../../examples/tiny-llama/model.js';
import { KvPool } from '../../../examples/tiny-llama/paged-cache.js';
import { randomNumbers } from '../random.js';

const BLOCK_SIZE = 8;
const ANSWER = 4;
/** If the two best logits are closer than this, either may be chosen. */
const TIE = 1e-4;

export interface CachedAnswers {
  readonly equal: number;
  /** Answers that differ from a token on for which the two best logits were almost equal. */
  readonly ties: number;
  readonly different: string[];
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly evictions: number;
  readonly blocksLeft: number;
}

async function answer(events: AsyncIterable<TokenEvent | { type: 'finish' }>): Promise<TokenEvent[]> {
  const tokens: TokenEvent[] = [];
  for await (const event of events) if (event.type === 'token') tokens.push(event);
  return tokens;
}

/** Compares answers to random prompts with shared prefixes, with and without a cache in a small pool of blocks. */
export async function compareAnswers(count: number, seed: number, concurrency = 6): Promise<CachedAnswers> {
  const model = await Llama.load(modelPath);
  using pool = new KvPool(model.config, { blockCount: 48, blockSize: BLOCK_SIZE });
  const random = randomNumbers(seed);
  const below = (limit: number): number => Math.floor(random() * limit);
  const some = (length: number): number[] => Array.from({ length }, () => below(model.config.vocabSize));
  const prefixes = Array.from({ length: 5 }, () => some(16 + below(24)));
  const result = {
    equal: 0,
    ties: 0,
    different: [] as string[],
    promptTokens: 0,
    cachedTokens: 0,
    evictions: 0,
    blocksLeft: 0,
  };
  const options = { temperature: 0, maxTokens: ANSWER, ignoreEos: true, topLogprobs: 2 };

  const one = async (prompt: number[]): Promise<void> => {
    const [cache] = await pool.open(prompt, prompt.length + ANSWER, 1);
    if (cache === undefined) throw new Error('expected a cache, got none');
    result.promptTokens += prompt.length;
    result.cachedTokens += cache.cachedTokens;
    const cached = await answer(generate(model, prompt, { ...options, cache })).finally(() => pool.close(cache));
    const plain = await answer(generate(model, prompt, { ...options, cache: model.createCache(BLOCK_SIZE) }));
    const at = plain.findIndex((token, index) => token.tokenId !== cached[index]?.tokenId);
    if (at < 0 && cached.length === plain.length) {
      result.equal += 1;
      return;
    }
    const [best, second] = plain[at]?.topLogprobs ?? [];
    if (best !== undefined && second !== undefined && best.logprob - second.logprob < TIE) result.ties += 1;
    else result.different.push(`${prompt.join(' ')}: token ${at} is ${cached[at]?.tokenId}, not ${plain[at]?.tokenId}`);
  };

  for (let started = 0; started < count; ) {
    const group = Array.from({ length: Math.min(concurrency, count - started) }, () => [
      ...(prefixes[below(prefixes.length)] as number[]),
      ...some(1 + below(16)),
    ]);
    started += group.length;
    await Promise.all(group.map(one));
  }
  const { evictions, available } = pool.manager.statistics();
  return { ...result, evictions, blocksLeft: available };
}
