import type { EngineConfig, EngineWorker, LLMEngineOutput, PreprocessedRequest, RequestContext } from 'dynamo-node';
import { KvOffers, type KvOffersOptions, type OfferEndpoint } from 'dynamo-node/disagg';
import { optionsOf, TinyLlamaEngine, type TinyLlamaOptions, usageOf } from './engine.js';
import { type FinishReason, generate, type TokenEvent } from './generate.js';
import type { PagedKvCache } from './paged-cache.js';

/** The options of {@link KvOffers}; the model is that of the engine. */
export type PrefillOptions = Partial<KvOffersOptions> & { readonly cache?: TinyLlamaOptions };

/** Computes prompts, and offers their keys and values to decode workers. */
export class PrefillEngine extends TinyLlamaEngine {
  #offers: KvOffers | undefined;

  constructor(
    private readonly endpoint: OfferEndpoint,
    private readonly options: PrefillOptions = {},
    name?: string,
  ) {
    super(name, options.cache);
  }

  /** The offers, after `start`. */
  get offers(): KvOffers {
    if (this.#offers === undefined) throw new Error('the engine has not started');
    return this.#offers;
  }

  override async start(worker?: EngineWorker): Promise<EngineConfig> {
    const config = await super.start(worker);
    const { cache: _, ...options } = this.options;
    this.#offers = await KvOffers.serve(this.pool.manager, this.endpoint, { model: this.name, ...options });
    return { ...config, llm: { ...config.llm, ...this.#offers.registration } };
  }

  override async *generate(request: PreprocessedRequest, context: RequestContext): AsyncGenerator<LLMEngineOutput> {
    const { model, pool } = this;
    using offer = this.offers.begin(request, context);
    const { signal } = offer;
    const prompt = this.promptOf(request);
    const [cache] = await pool.open(prompt, prompt.length, 1, signal).catch((error: unknown) => {
      if (signal.aborted) return [];
      throw error;
    });
    if (cache === undefined) return;
    const owner = { [Symbol.dispose]: () => pool.close(cache) };
    let isOffered = false;
    try {
      const { token, reason } = await firstToken(
        generate(model, prompt, { ...optionsOf(request, signal), maxTokens: 1, cache }),
      );
      if (token === undefined || signal.aborted) return;
      const usage = usageOf({ promptTokens: prompt.length, cachedTokens: cache.cachedTokens, completionTokens: 1 });
      const item = { token_ids: [token.tokenId], completion_usage: usage };
      const count = request.sampling_options.n ?? 1;
      // The first token ends the answer. A decode worker that has already started finds that out itself.
      if (reason !== 'length' && count === 1 && request.bootstrap_info === undefined) {
        yield { ...item, finish_reason: reason };
        return;
      }
      const params = offer.publish(cache.sequence, owner);
      isOffered = true;
      yield { ...item, finish_reason: 'length', disaggregated_params: params };
      // The worker expects an end of each choice. The decode worker makes the choices.
      for (let index = 1; index < count; index++) yield { token_ids: [], index, finish_reason: 'length' };
    } finally {
      if (!isOffered) pool.close(cache as PagedKvCache);
    }
  }

  isQuiescent(): boolean {
    return this.offers.isQuiescent;
  }

  override async cleanup(): Promise<void> {
    await this.#offers?.close();
    await super.cleanup();
  }
}

async function firstToken(
  events: ReturnType<typeof generate>,
): Promise<{ token: TokenEvent | undefined; reason: FinishReason }> {
  let token: TokenEvent | undefined;
  for await (const event of events) {
    if (event.type === 'finish') return { token, reason: event.reason };
    token = event;
  }
  throw new Error('an answer ended without a finish event');
}
