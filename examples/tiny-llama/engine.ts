import { fileURLToPath } from 'node:url';
import {
  type BlockEvent,
  type BlockEventSource,
  type CompletionUsage,
  DynamoError,
  type EngineConfig,
  type EngineWorker,
  type FinishReason,
  type KvCacheEvent,
  type KvEventSource,
  type LLMEngine,
  type LLMEngineOutput,
  type PreprocessedRequest,
  type RequestContext,
} from 'dynamo-node';
import { type GenerateOptions, generate, type TokenEvent } from './generate.js';
import { Llama } from './model.js';
import { KvPool, type KvPoolOptions } from './paged-cache.js';

/** The bundled checkpoint. */
export const modelPath = fileURLToPath(new URL('model', import.meta.url));

const BLOCK_SIZE = 64;
const MAX_SEQUENCES = 32;

/** The tiny Llama as a token engine for Dynamo. All requests share the blocks of its KV cache. */
export class TinyLlamaEngine implements LLMEngine {
  #model: Llama | undefined;
  #pool: KvPool | undefined;

  /** @param cache by default blocks of 64 tokens, enough for 32 sequences of the model's full length */
  constructor(
    readonly name = 'tiny-llama',
    private readonly cache: Partial<KvPoolOptions> = {},
  ) {}

  async start(worker?: EngineWorker): Promise<EngineConfig> {
    this.#model = await Llama.load(modelPath);
    const { maxPositions } = this.#model.config;
    const blockSize = this.cache.blockSize ?? BLOCK_SIZE;
    const blockCount = this.cache.blockCount ?? (MAX_SEQUENCES * maxPositions) / blockSize;
    this.#pool = new KvPool(this.#model.config, { blockSize, blockCount });
    if (worker !== undefined) {
      publish(this.#pool.manager, worker).catch((error: unknown) =>
        console.error('the KV cache is no longer published for routers:', error),
      );
    }
    return {
      model: this.name,
      llm: {
        contextLength: maxPositions,
        kvCacheBlockSize: blockSize,
        totalKvBlocks: blockCount,
        maxNumSeqs: MAX_SEQUENCES,
      },
    };
  }

  kvEventSources(): KvEventSource[] {
    return [{ kind: 'push' }];
  }

  async *generate(request: PreprocessedRequest, { signal }: RequestContext): AsyncGenerator<LLMEngineOutput> {
    const [model, pool] = [this.#model, this.#pool];
    if (model === undefined || pool === undefined) throw new Error('the engine has not started');
    const options = optionsOf(request, signal);
    const prompt = request.token_ids;
    const { maxPositions } = model.config;
    if (prompt.length === 0 || prompt.length >= maxPositions) {
      // Another error would be a fault of the engine: HTTP 500, without a message.
      const message = `the prompt has ${prompt.length} tokens; the model takes 1 to ${maxPositions - 1}`;
      throw new DynamoError('InvalidRequest', message);
    }
    const tokens = Math.min(prompt.length + (options.maxTokens ?? Infinity), maxPositions);
    const caches = await pool.open(prompt, tokens, request.sampling_options.n ?? 1, signal).catch((error: unknown) => {
      if (signal.aborted) return [];
      throw error;
    });
    try {
      const choices = caches.map((cache, index) => {
        const seed = options.seed === undefined ? {} : { seed: BigInt(options.seed) + BigInt(index) };
        return { index, cache, events: generate(model, prompt, { ...options, ...seed, cache }) };
      });
      const [first] = caches;
      const usage = { promptTokens: prompt.length, cachedTokens: first?.cachedTokens ?? 0, completionTokens: 0 };
      // The choices take turns. The event loop runs after each token.
      while (choices.length > 0) {
        for (const choice of [...choices]) {
          const { done, value: event } = await choice.events.next();
          if (done === true) throw new Error('an answer ended without a finish event');
          if (event.type === 'finish') {
            choices.splice(choices.indexOf(choice), 1);
            pool.close(choice.cache);
            yield finished(choice.index, event.reason, usage);
          } else {
            usage.completionTokens += 1;
            const item = token(choice.index, event, options.topLogprobs !== undefined);
            // The frontend ends an answer at its end token and ignores later items. So the first token has the usage.
            yield usage.completionTokens === 1 ? { ...item, completion_usage: usageOf(usage) } : item;
          }
        }
      }
    } finally {
      for (const cache of caches) pool.close(cache);
    }
  }

  async cleanup(): Promise<void> {
    this.#model = undefined;
    this.#pool?.dispose();
  }
}

/** Publishes the contents of the cache for routers until it is disposed. */
export async function publish(cache: BlockEventSource, worker: Pick<EngineWorker, 'publishKvEvents'>): Promise<void> {
  for (let lost = true; lost; ) {
    lost = false;
    // If events were lost, start again with a snapshot. It begins with an event that clears everything published
    // before.
    for await (const event of cache.events({ snapshot: true })) {
      lost = event.kind === 'lost';
      if (event.kind === 'lost') break;
      worker.publishKvEvents([eventOf(event)]);
    }
  }
}

function eventOf(event: Exclude<BlockEvent, { kind: 'lost' }>): KvCacheEvent {
  switch (event.kind) {
    case 'stored': {
      const blocks = Array.from(event.blockHashes, (hash, index) => ({
        block_hash: hash,
        tokens_hash: event.tokensHashes[index] as bigint,
      }));
      return {
        event_id: event.eventId,
        data: { stored: { parent_hash: event.parentHash, start_position: event.startPosition, blocks } },
      };
    }
    case 'removed':
      return { event_id: event.eventId, data: { removed: { block_hashes: [...event.blockHashes] } } };
    case 'cleared':
      return { event_id: event.eventId, data: 'cleared' };
  }
}

function token(
  index: number,
  { tokenId, logprob, topLogprobs = [] }: TokenEvent,
  withLogprobs: boolean,
): LLMEngineOutput {
  if (!withLogprobs) return { token_ids: [tokenId], index };
  const top = topLogprobs.map((each, at) => ({ rank: at + 1, token_id: each.tokenId, logprob: each.logprob }));
  return { token_ids: [tokenId], index, log_probs: [logprob], top_logprobs: [top] };
}

interface Usage {
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly completionTokens: number;
}

function usageOf({ promptTokens, cachedTokens, completionTokens }: Usage): CompletionUsage {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
  };
}

function finished(index: number, reason: FinishReason, usage: Usage): LLMEngineOutput {
  return { token_ids: [], index, finish_reason: reason, completion_usage: usageOf(usage) };
}

function optionsOf(request: PreprocessedRequest, signal: AbortSignal): GenerateOptions {
  const { stop_conditions: stop, sampling_options: sampling, output_options: output } = request;
  const stopTokenIds = [
    ...(stop.stop_token_ids ?? []),
    ...(stop.stop_token_ids_visible ?? []),
    ...(stop.ignore_eos === true ? [] : (stop.stop_token_ids_hidden ?? [])),
  ];
  return {
    signal,
    stopTokenIds,
    ignoreEos: stop.ignore_eos ?? false,
    ...given('maxTokens', stop.max_tokens),
    ...given('minTokens', stop.min_tokens),
    ...given('temperature', sampling.temperature),
    ...given('topK', sampling.top_k),
    ...given('topP', sampling.top_p),
    ...given('minP', sampling.min_p),
    ...given('seed', sampling.seed),
    ...given('repetitionPenalty', sampling.repetition_penalty),
    ...given('frequencyPenalty', sampling.frequency_penalty),
    ...given('presencePenalty', sampling.presence_penalty),
    ...given('topLogprobs', output.logprobs),
  };
}

/** An option, unless the request does not set it. */
function given<Name extends string, Value>(name: Name, value: Value | null | undefined): { [Key in Name]?: Value } {
  return value === null || value === undefined ? {} : ({ [name]: value } as { [Key in Name]: Value });
}
