// Engines without a model, which hand real blocks over. They compute nothing.
import {
  BlockManager,
  type EngineConfig,
  type LLMEngine,
  type LLMEngineOutput,
  PagedSequence,
  type PreprocessedRequest,
  type RequestContext,
} from 'dynamo-node';
import { KvOffers, KvReceiver, type OfferEndpoint } from 'dynamo-node/disagg';

/** The layout of the tiny Llama. */
const layout = { layers: 4, heads: 2, headDim: 32, elementType: 'float32' } as const;

export interface PoolSize {
  readonly blockSize: number;
  readonly blockCount: number;
}

/** A pool of host memory. */
export const poolOf = (size: PoolSize): BlockManager =>
  new BlockManager({ tier: 'host', ...size, layout, storage: { kind: 'memory' } });

const configOf = (model: string, { blockSize, blockCount }: PoolSize): EngineConfig => ({
  model,
  llm: { contextLength: 8192, kvCacheBlockSize: blockSize, totalKvBlocks: blockCount, maxNumSeqs: 256 },
});

/** Opens the sequence of a prompt. */
export function sequenceOf(manager: BlockManager, tokens: ArrayLike<number>): PagedSequence {
  const sequence = PagedSequence.create(manager, Uint32Array.from(tokens));
  if (sequence === null) throw new Error('no blocks are free');
  return sequence;
}

/** Commits the prompt without a computation, and offers it. */
export class PlainPrefill implements LLMEngine {
  #manager!: BlockManager;
  #offers!: KvOffers;

  constructor(
    private readonly endpoint: OfferEndpoint,
    private readonly model: string,
    private readonly size: PoolSize,
  ) {}

  async start(): Promise<EngineConfig> {
    this.#manager = poolOf(this.size);
    this.#offers = await KvOffers.serve(this.#manager, this.endpoint, { model: this.model });
    return configOf(this.model, this.size);
  }

  async *generate(request: PreprocessedRequest, context: RequestContext): AsyncGenerator<LLMEngineOutput> {
    using offer = this.#offers.begin(request, context);
    const sequence = sequenceOf(this.#manager, request.token_ids);
    sequence.commit();
    const [first = 0] = request.token_ids;
    yield { token_ids: [first], finish_reason: 'length', disaggregated_params: offer.publish(sequence) };
  }

  isQuiescent(): boolean {
    return this.#offers.isQuiescent;
  }

  async cleanup(): Promise<void> {
    await this.#offers.close();
    this.#manager.dispose();
  }
}

/** Reads the blocks of the prompt, and answers with its tokens. */
export class PlainDecode implements LLMEngine {
  #manager!: BlockManager;
  #receiver!: KvReceiver;

  constructor(
    private readonly endpoint: OfferEndpoint,
    private readonly model: string,
    private readonly size: PoolSize,
  ) {}

  async start(): Promise<EngineConfig> {
    this.#manager = poolOf(this.size);
    this.#receiver = await KvReceiver.connect(this.#manager, this.endpoint, { model: this.model });
    return configOf(this.model, this.size);
  }

  async *generate(request: PreprocessedRequest, context: RequestContext): AsyncGenerator<LLMEngineOutput> {
    const { token_ids: prompt, stop_conditions: stop } = request;
    using transfer = this.#receiver.accept(request, context);
    using sequence = sequenceOf(this.#manager, prompt);
    await transfer?.into(sequence);
    yield* answerOf(prompt, stop.max_tokens ?? 1);
  }

  async cleanup(): Promise<void> {
    await this.#receiver.close();
    this.#manager.dispose();
  }
}

/** Hands nothing over, as the mocker. */
export class EmptyPrefill implements LLMEngine {
  constructor(
    private readonly model: string,
    private readonly size: PoolSize,
  ) {}

  start(): EngineConfig {
    return configOf(this.model, this.size);
  }

  async *generate({ token_ids: prompt }: PreprocessedRequest): AsyncGenerator<LLMEngineOutput> {
    const disaggregated_params = { tokens: prompt.length };
    yield { token_ids: [prompt[0] as number], finish_reason: 'length', disaggregated_params };
  }

  isQuiescent(): boolean {
    return true;
  }
}

/** Answers with the tokens of the prompt. */
export class EmptyDecode implements LLMEngine {
  constructor(
    private readonly model: string,
    private readonly size: PoolSize,
  ) {}

  start(): EngineConfig {
    return configOf(this.model, this.size);
  }

  async *generate({ token_ids, stop_conditions }: PreprocessedRequest): AsyncGenerator<LLMEngineOutput> {
    yield* answerOf(token_ids, stop_conditions.max_tokens ?? 1);
  }
}

async function* answerOf(prompt: Uint32Array, count: number): AsyncGenerator<LLMEngineOutput> {
  for (let index = 0; index < count; index++) yield { token_ids: [prompt[index % prompt.length] as number] };
  yield { token_ids: [], finish_reason: 'length' };
}
