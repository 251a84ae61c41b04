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
import { type Decoder, Llama } from './model.js';
import { KvPool, type KvPoolOptions, type PagedKvCache } from './paged-cache.js';
import { ParallelLlama } from './tensor-parallel.js';

/** The bundled checkpoint. */
export const modelPath = fileURLToPath(new URL('model', import.meta.url));

const BLOCK_SIZE = 64;
const MAX_SEQUENCES = 32;

/**
 * Fills the caches of a request, one for each choice, before its first token. Returns the number of cached tokens that
 * the client sees; undefined for those of the first cache.
 */
export type FillCaches = (caches: readonly PagedKvCache[]) => Promise<number | undefined>;

/** The size of the cache, and the number of processes. */
export interface TinyLlamaOptions extends Partial<KvPoolOptions> {
  /** Processes over which heads and feed-forward rows are split. Default 1: this one. */
  readonly tensorParallelSize?: number;
}

/** The tiny Llama as a token engine for Dynamo. All requests share the blocks of its KV cache. */
export class TinyLlamaEngine implements LLMEngine {
  #model: Decoder | undefined;
  #pool: KvPool | undefined;

  /** @param settings by default one process, and blocks of 64 tokens, enough for 32 sequences of the full length */
  constructor(
    readonly name = 'tiny-llama',
    private readonly settings: TinyLlamaOptions = {},
  ) {}

  async start(worker?: EngineWorker): Promise<EngineConfig> {
    const { blockSize = BLOCK_SIZE, tensorParallelSize: ranks = 1 } = this.settings;
    this.#model = ranks === 1 ? await Llama.load(modelPath) : await ParallelLlama.load(modelPath, ranks, blockSize);
    const { maxPositions } = this.#model.config;
    const blockCount = this.settings.blockCount ?? (MAX_SEQUENCES * maxPositions) / blockSize;
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

  /** The model, after `start`. */
  protected get model(): Decoder {
    if (this.#model === undefined) throw new Error('the engine has not started');
    return this.#model;
  }

  /** The blocks of all requests, after `start`. */
  protected get pool(): KvPool {
    if (this.#pool === undefined) throw new Error('the engine has not started');
    return this.#pool;
  }

  /** The tokens of a prompt, if the model can answer it. */
  protected promptOf({ token_ids: prompt }: PreprocessedRequest): Uint32Array {
    const { maxPositions } = this.model.config;
    if (prompt.length > 0 && prompt.length < maxPositions) return prompt;
    // Another error would be a fault of the engine: HTTP 500, without a message.
    const message = `the prompt has ${prompt.length} tokens; the model takes 1 to ${maxPositions - 1}`;
    throw new DynamoError('InvalidRequest', message);
  }

  generate(request: PreprocessedRequest, context: RequestContext): AsyncGenerator<LLMEngineOutput> {
    return this.answer(request, context);
  }

  protected async *answer(
    request: PreprocessedRequest,
    { signal }: RequestContext,
    fill: FillCaches = async () => undefined,
  ): AsyncGenerator<LLMEngineOutput> {
    const { model, pool } = this;
    const options = optionsOf(request, signal);
    const prompt = this.promptOf(request);
    const { maxPositions } = model.config;
    const tokens = Math.min(prompt.length + (options.maxTokens ?? Infinity), maxPositions);
    const caches = await pool.open(prompt, tokens, request.sampling_options.n ?? 1, signal).catch((error: unknown) => {
      if (signal.aborted) return [];
      throw error;
    });
    try {
      const filled = caches.length === 0 ? undefined : await fill(caches);
      const choices = caches.map((cache, index) => {
        const seed = options.seed === undefined ? {} : { seed: BigInt(options.seed) + BigInt(index) };
        return { index, cache, events: generate(model, prompt, { ...options, ...seed, cache }) };
      });
      const [first] = caches;
      const usage = {
        promptTokens: prompt.length,
        cachedTokens: filled ?? first?.cachedTokens ?? 0,
        completionTokens: 0,
      };
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
    if (this.#model instanceof ParallelLlama) await this.#model.close();
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

export interface Usage {
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly completionTokens: number;
}

export function usageOf({ promptTokens, cachedTokens, completionTokens }: Usage): CompletionUsage {
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

export function optionsOf(request: PreprocessedRequest, signal: AbortSignal): GenerateOptions {
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
