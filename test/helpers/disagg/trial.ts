import type { LLMEngineOutput } from 'dynamo-node';
import { modelPath } from '../../../examples/tiny-llama/engine.js';
import { generate, type TokenEvent } from '../../../examples/tiny-llama/generate.js';
import { Llama } from '../../../examples/tiny-llama/model.js';
import { randomNumbers } from '../random.js';
import { completion, type Disaggregated } from './deployment.js';

const ANSWER = 6;
/** If the two best logits are closer than this, either may be chosen. */
const TIE = 1e-4;

export interface TrialResult {
  readonly equal: number;
  /** Answers that differ from a token on for which the two best logits were almost equal. */
  readonly ties: number;
  readonly different: string[];
  readonly promptTokens: number;
  /** Tokens that the prefill worker had cached, and the decode worker. */
  readonly cachedAtPrefill: number;
  readonly cachedAtDecode: number;
}

/** The tokens that each decode worker generates, by prompt. */
function recordTokens({ decode }: Disaggregated): Map<string, number[]> {
  const tokens = new Map<string, number[]>();
  for (const { engine } of decode) {
    const answer = engine.generate.bind(engine);
    engine.generate = async function* (request, context): AsyncGenerator<LLMEngineOutput> {
      const list: number[] = [];
      tokens.set(request.token_ids.join(), list);
      for await (const item of answer(request, context)) {
        list.push(...item.token_ids);
        yield item;
      }
    };
  }
  return tokens;
}

async function aggregated(model: Llama, prompt: number[]): Promise<TokenEvent[]> {
  const tokens: TokenEvent[] = [];
  const options = { temperature: 0, maxTokens: ANSWER, ignoreEos: true, topLogprobs: 2 };
  for await (const event of generate(model, prompt, options)) if (event.type === 'token') tokens.push(event);
  return tokens;
}

/** Compares the answers of a deployment to random prompts with shared prefixes with those of the model alone. */
export async function compareDisaggregated(
  all: Disaggregated,
  count: number,
  seed: number,
  concurrency = 6,
): Promise<TrialResult> {
  const model = await Llama.load(modelPath);
  const answers = recordTokens(all);
  const random = randomNumbers(seed);
  const below = (limit: number): number => Math.floor(random() * limit);
  const some = (length: number): number[] => Array.from({ length }, () => 6 + below(model.config.vocabSize - 6));
  const prefixes = Array.from({ length: 5 }, () => some(24 + below(40)));
  const result = { equal: 0, ties: 0, different: [] as string[], promptTokens: 0, cachedAtPrefill: 0 };

  const one = async (prompt: number[]): Promise<void> => {
    const { cached } = await completion(all.frontend, prompt, { max_tokens: ANSWER, ignore_eos: true });
    result.promptTokens += prompt.length;
    result.cachedAtPrefill += cached;
    const plain = await aggregated(model, prompt);
    const got = answers.get(prompt.join()) ?? [];
    const at = plain.findIndex(({ tokenId }, index) => tokenId !== got[index]);
    if (at < 0 && got.length === plain.length) {
      result.equal += 1;
      return;
    }
    const [best, second] = plain[at]?.topLogprobs ?? [];
    if (best !== undefined && second !== undefined && best.logprob - second.logprob < TIE) result.ties += 1;
    else result.different.push(`${prompt.join(' ')}: token ${at} is ${got[at]}, not ${plain[at]?.tokenId}`);
  };

  for (let started = 0; started < count; ) {
    const group = Array.from({ length: Math.min(concurrency, count - started) }, () => [
      ...(prefixes[below(prefixes.length)] as number[]),
      ...some(1 + below(16)),
    ]);
    started += group.length;
    await Promise.all(group.map(one));
  }
  return { ...result, cachedAtDecode: all.reports.reduce((sum, { cachedTokens }) => sum + cachedTokens, 0) };
}
