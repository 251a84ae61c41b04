import type { GenerateContext, LLMEngine, LLMEngineOutput, PreprocessedRequest } from 'dynamo-node';
import type { VllmKvStore } from 'dynamo-node/vllm';
import { Llama } from '../../../examples/tiny-llama/model.js';
import { eachBlock, LAYERS, prefill, writeTo } from './oracle.js';
import { BLOCK_SIZE, MODEL } from './serve.js';

const CONFIG = {
  model: 'tiny',
  llm: { contextLength: 2048, kvCacheBlockSize: BLOCK_SIZE, totalKvBlocks: 256, maxNumSeqs: 8 },
};

const best = (logits: Float32Array): number =>
  logits.reduce((found, value, index) => (value > (logits[found] as number) ? index : found), 0);

/** A Dynamo prefill worker: TypeScript computes the KV, and workers of vLLM read it out of the store. */
export class StorePrefill implements LLMEngine {
  /** How the offers ended. */
  readonly ends: string[] = [];

  constructor(private readonly store: VllmKvStore) {}

  start() {
    return CONFIG;
  }

  async *generate({ token_ids }: PreprocessedRequest): AsyncGenerator<LLMEngineOutput> {
    const tokens = [...token_ids];
    const { cache, logits } = await prefill(tokens);
    writeTo(this.store, tokens, cache);
    const offer = await this.store.offer(tokens);
    if (offer === undefined) throw new Error('the store has no space');
    void offer.ended.then((end) => this.ends.push(end));
    yield {
      token_ids: [best(logits)],
      finish_reason: 'length',
      disaggregated_params: { kv_transfer_params: offer.params },
    };
  }
}

/** A Dynamo decode worker: it reads the KV that vLLM has computed, and continues in TypeScript. */
export class StoreDecode implements LLMEngine {
  /** Milliseconds of each read. */
  readonly reads: number[] = [];

  constructor(private readonly store: VllmKvStore) {}

  start() {
    return CONFIG;
  }

  async *generate(request: PreprocessedRequest, { signal }: GenerateContext): AsyncGenerator<LLMEngineOutput> {
    const prompt = [...request.token_ids];
    const { kv_transfer_params: params } = (request.prefill_result?.disaggregated_params ?? {}) as {
      kv_transfer_params?: unknown;
    };
    if (params === undefined) throw new Error('the request has no result of a prefill worker');
    const start = performance.now();
    await this.store.keep(prompt, params, { signal });
    this.reads.push(performance.now() - start);
    const llama = await Llama.load(MODEL);
    const cache = llama.createCache(BLOCK_SIZE);
    {
      using stored = await this.store.read(prompt);
      if (stored?.tokens !== prompt.length) throw new Error('the store has not all of the prompt');
      eachBlock(stored, prompt.length - 1, (layer, block, { keys, values }) => {
        cache.append(layer, keys, values);
        if (layer === LAYERS - 1) cache.advance(Math.min(BLOCK_SIZE, prompt.length - 1 - BLOCK_SIZE * block));
      });
    }
    const max = request.stop_conditions.max_tokens ?? 64;
    let last = prompt.at(-1) as number;
    for (let count = 1; !signal.aborted; count++) {
      last = best(llama.forward([last], cache));
      const isEnd = llama.config.eosTokenIds.includes(last);
      if (isEnd || count === max) return yield { token_ids: [last], finish_reason: isEnd ? 'eos' : 'length' };
      yield { token_ids: [last] };
    }
  }
}
