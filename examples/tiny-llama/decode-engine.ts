import type { EngineConfig, EngineWorker, LLMEngineOutput, PreprocessedRequest, RequestContext } from 'dynamo-node';
import {
  KvReceiver,
  type KvReceiverOptions,
  type KvTransferReport,
  type OfferEndpoint,
  type PhaseReport,
  RequestPhases,
} from 'dynamo-node/disagg';
import { TinyLlamaEngine, type TinyLlamaOptions } from './engine.js';

/** The options of {@link KvReceiver}; the model is that of the engine. */
export type DecodeOptions = Partial<KvReceiverOptions> & {
  readonly cache?: TinyLlamaOptions;
  /** Called at the end of each transfer. */
  readonly onTransfer?: (report: KvTransferReport) => void;
  /** Called at the end of each answer. */
  readonly onAnswer?: (report: PhaseReport) => void;
};

/** Continues prompts that a prefill worker has computed. Without a handoff it computes the prompt itself. */
export class DecodeEngine extends TinyLlamaEngine {
  #receiver: KvReceiver | undefined;
  readonly #phases: RequestPhases;

  constructor(
    private readonly endpoint: OfferEndpoint,
    private readonly options: DecodeOptions = {},
    name?: string,
  ) {
    super(name, options.cache);
    this.#phases = new RequestPhases(options.metrics);
  }

  /** The receiver, after `start`. */
  get receiver(): KvReceiver {
    if (this.#receiver === undefined) throw new Error('the engine has not started');
    return this.#receiver;
  }

  override async start(worker?: EngineWorker): Promise<EngineConfig> {
    const config = await super.start(worker);
    const { cache: _cache, onTransfer: _onTransfer, onAnswer: _onAnswer, ...options } = this.options;
    this.#receiver = await KvReceiver.connect(this.pool.manager, this.endpoint, { model: this.name, ...options });
    return config;
  }

  override generate(request: PreprocessedRequest, context: RequestContext): AsyncGenerator<LLMEngineOutput> {
    return this.#phases.measure(this.#continue(request, context), this.options.onAnswer);
  }

  async *#continue(request: PreprocessedRequest, context: RequestContext): AsyncGenerator<LLMEngineOutput> {
    using transfer = this.receiver.accept(request, context);
    if (transfer === undefined) {
      yield* this.answer(request, context);
      return;
    }
    try {
      yield* this.answer(request, context, async (caches) => {
        const report = await transfer.into(caches.map(({ sequence }) => sequence));
        for (const cache of caches) cache.refresh();
        this.options.onTransfer?.(report);
        return cachedAtPrefill(request);
      });
    } catch (error) {
      // A cancelled request ends without an error.
      if (error !== context.signal.reason) throw error;
    }
  }

  override async cleanup(): Promise<void> {
    await this.#receiver?.close();
    await super.cleanup();
  }
}

/** The tokens that the prefill worker had cached. */
function cachedAtPrefill({ prefill_result }: PreprocessedRequest): number | undefined {
  const details = prefill_result?.prompt_tokens_details as { cached_tokens?: number } | null | undefined;
  return details?.cached_tokens;
}
