import { once } from 'node:events';
import type {
  EngineConfig,
  EngineWorker,
  GenerateContext,
  LLMEngine,
  LLMEngineOutput,
  PreprocessedRequest,
} from 'dynamo-node';
import { type ConditionalMetrics, prefillPlaceOf } from 'dynamo-node/disagg';
import { BLOCK_SIZE, CachingEngine } from '../llm/caching-engine.js';

export const MODEL = 'parted';

/** Tokens that a prefill worker takes in one step, and blocks of a decode worker. */
export const BATCH_TOKENS = 100;
export const KV_BLOCKS = 1024;

const llm = {
  contextLength: 16_384,
  kvCacheBlockSize: BLOCK_SIZE,
  totalKvBlocks: KV_BLOCKS,
  maxNumBatchedTokens: BATCH_TOKENS,
};

/** Who prefilled a request: `none` if the frontend knew no prefill worker. */
export type Place = 'local' | 'remote' | 'none';

/** Returns one token and a hand-over for each prompt. A held engine answers when it is released. */
export class PrefillEngine implements LLMEngine {
  /** Lengths of the prompts. */
  readonly prompts: number[] = [];
  readonly #releases = new EventTarget();
  isHeld = false;

  start(): EngineConfig {
    return { model: MODEL, llm };
  }

  /** No other worker reads its blocks. */
  isQuiescent(): boolean {
    return true;
  }

  release(): void {
    this.isHeld = false;
    this.#releases.dispatchEvent(new Event('release'));
  }

  async *generate({ token_ids }: PreprocessedRequest): AsyncGenerator<LLMEngineOutput> {
    this.prompts.push(token_ids.length);
    if (this.isHeld) await once(this.#releases, 'release');
    yield { token_ids: [300], finish_reason: 'length', disaggregated_params: { tokens: token_ids.length } };
  }
}

/** Caches the blocks of its prompts, and records who prefilled each of them. */
export class DecodeEngine extends CachingEngine {
  readonly places: Place[] = [];
  metrics: ConditionalMetrics | undefined;

  constructor() {
    super(MODEL);
  }

  override start(worker?: EngineWorker) {
    return { ...super.start(worker), llm };
  }

  override async *generate(request: PreprocessedRequest, context: GenerateContext): AsyncGenerator<LLMEngineOutput> {
    this.places.push(prefillPlaceOf(request) ?? 'none');
    this.metrics?.observeRequest(request, this.prefix(request.token_ids).count * BLOCK_SIZE);
    yield* super.generate(request, context);
  }
}
