import { setImmediate } from 'node:timers/promises';
import type { KvCache } from './cache.js';
import { checkTokenIds, type Decoder } from './model.js';
import { type Choice, Sampler, type SamplingOptions } from './sampling.js';

/** Why an answer ended: the model's end token, `maxTokens` or the model's positions, a stop token, or the signal. */
export type FinishReason = 'eos' | 'length' | 'stop' | 'cancelled';

/** One token of an answer, including the token that ends it. */
export interface TokenEvent extends Choice {
  readonly type: 'token';
}

/** The last event of an answer. */
export interface FinishEvent {
  readonly type: 'finish';
  readonly reason: FinishReason;
}

/** The length of an answer, and how its tokens are sampled. */
export interface GenerateOptions extends SamplingOptions {
  /** The maximum number of tokens in the answer. Default: the remaining positions of the model. */
  readonly maxTokens?: number;
  /** The minimum number of tokens in the answer. Until then, end and stop tokens are not sampled. Default 0. */
  readonly minTokens?: number;
  /** Continue after the model's end token. Default false. */
  readonly ignoreEos?: boolean;
  /** Tokens that end the answer, in addition to the model's end tokens. Default none. */
  readonly stopTokenIds?: readonly number[];
  /** Ends the answer with `cancelled`. */
  readonly signal?: AbortSignal;
  /** A cache that may already contain the first tokens of the prompt, but not all. Default: an empty cache. */
  readonly cache?: KvCache;
}

const PREFILL_TOKENS_PER_TURN = 32;

/**
 * Answers a prompt token by token. The event loop runs between tokens, and between parts of a long prompt, so that many
 * answers can be generated concurrently.
 *
 * @example
 * for await (const event of generate(model, promptTokenIds, { maxTokens: 64 })) {
 *   if (event.type === 'token') tokenIds.push(event.tokenId);
 * }
 * @throws TypeError for an empty prompt or an option of the wrong type
 * @throws RangeError for a prompt that does not fit, a token outside the vocabulary, or an option outside its range.
 *   The call itself throws, not the first token.
 */
export function generate(
  model: Decoder,
  promptTokenIds: ArrayLike<number>,
  options: GenerateOptions = {},
): AsyncGenerator<TokenEvent | FinishEvent, undefined, undefined> {
  const { vocabSize, maxPositions } = model.config;
  const prompt = Array.from(promptTokenIds);
  if (prompt.length === 0) throw new TypeError('generate promptTokenIds: expected at least one token, got none');
  if (prompt.length >= maxPositions) {
    throw new RangeError(`generate promptTokenIds: expected at most ${maxPositions - 1} tokens, got ${prompt.length}`);
  }
  checkTokenIds(prompt, vocabSize, 'generate promptTokenIds');
  checkTokenIds(options.stopTokenIds ?? [], vocabSize, 'generate options.stopTokenIds');
  checkCount('maxTokens', options.maxTokens, 1);
  checkCount('minTokens', options.minTokens, 0);
  const cache = options.cache ?? model.createCache();
  if (cache.length >= prompt.length) {
    throw new RangeError(
      `generate options.cache: expected fewer cached tokens than the ${prompt.length} of the prompt, ` +
        `got ${cache.length}`,
    );
  }
  return run(model, prompt, options, cache, new Sampler(options, prompt));
}

async function* run(
  model: Decoder,
  prompt: readonly number[],
  options: GenerateOptions,
  cache: KvCache,
  sampler: Sampler,
): AsyncGenerator<TokenEvent | FinishEvent, undefined, undefined> {
  const { signal, minTokens = 0, ignoreEos = false } = options;
  const room = model.config.maxPositions - prompt.length;
  const maxTokens = Math.min(options.maxTokens ?? room, room);
  const eos = new Set(ignoreEos ? [] : model.config.eosTokenIds);
  const stop = new Set(options.stopTokenIds);
  const ends = [...eos, ...stop];

  let pending: readonly number[] = prompt.slice(cache.length);
  for (let count = 0; count < maxTokens; count++) {
    let logits: Float32Array | undefined;
    for (let start = 0; start < pending.length; start += PREFILL_TOKENS_PER_TURN) {
      await setImmediate();
      if (signal?.aborted) {
        yield { type: 'finish', reason: 'cancelled' };
        return;
      }
      logits = await model.forward(pending.slice(start, start + PREFILL_TOKENS_PER_TURN), cache);
    }
    const choice = sampler.choose(logits!, count < minTokens ? ends : []);
    yield { type: 'token', ...choice };
    if (eos.has(choice.tokenId) || stop.has(choice.tokenId)) {
      yield { type: 'finish', reason: eos.has(choice.tokenId) ? 'eos' : 'stop' };
      return;
    }
    pending = [choice.tokenId];
  }
  yield { type: 'finish', reason: 'length' };
}

function checkCount(name: string, value: number | undefined, least: number): void {
  if (value === undefined) return;
  if (!Number.isSafeInteger(value)) {
    throw new TypeError(`generate options.${name}: expected an integer, got ${String(value)}`);
  }
  if (value < least) throw new RangeError(`generate options.${name}: expected ${least} or more, got ${value}`);
}
