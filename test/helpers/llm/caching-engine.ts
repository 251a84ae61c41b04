import {
  computeBlockHashes,
  computeSequenceHashes,
  type EngineWorker,
  type KvEventSource,
  type LLMEngineOutput,
  type PreprocessedRequest,
  type RequestContext,
} from '../../../lib/index.js';
import { CountingEngine } from './engines.js';

export const BLOCK_SIZE = 16;

/** Caches the blocks of its prompts. Reports them to routers by events, and to clients by `cached_tokens`. */
export class CachingEngine extends CountingEngine {
  readonly blocks = new Set<bigint>();
  /** Cached tokens of each request, in order. */
  readonly cached: number[] = [];
  worker: EngineWorker | undefined;
  #events = 0;

  override start(worker?: EngineWorker) {
    this.worker = worker;
    return super.start();
  }

  kvEventSources(): KvEventSource[] {
    return [{ kind: 'push' }];
  }

  /** The cached blocks at the beginning of a prompt. */
  prefix(tokens: Uint32Array): { names: BigUint64Array; tokensHashes: BigUint64Array; count: number } {
    const tokensHashes = computeBlockHashes(tokens, BLOCK_SIZE);
    const names = computeSequenceHashes(tokensHashes);
    const first = names.findIndex((name) => !this.blocks.has(name));
    return { names, tokensHashes, count: first === -1 ? names.length : first };
  }

  has(tokens: readonly number[], blocks: number): boolean {
    return this.prefix(Uint32Array.from(tokens)).count >= blocks;
  }

  store(tokens: Uint32Array): number {
    const { names, tokensHashes, count } = this.prefix(tokens);
    const blocks = Array.from(names.subarray(count), (block_hash, index) => ({
      block_hash,
      tokens_hash: tokensHashes[count + index] as bigint,
    }));
    for (const { block_hash } of blocks) this.blocks.add(block_hash);
    if (blocks.length > 0) {
      const stored = { parent_hash: count === 0 ? null : (names[count - 1] as bigint), start_position: count, blocks };
      this.worker?.publishKvEvents([{ event_id: this.#events++, data: { stored } }]);
    }
    return count * BLOCK_SIZE;
  }

  override async *generate(request: PreprocessedRequest, context: RequestContext): AsyncGenerator<LLMEngineOutput> {
    const cached = this.store(request.token_ids);
    this.cached.push(cached);
    for await (const item of super.generate(request, context)) {
      const usage = item.completion_usage;
      if (usage === undefined || usage === null) yield item;
      else yield { ...item, completion_usage: { ...usage, prompt_tokens_details: { cached_tokens: cached } } };
    }
  }
}
