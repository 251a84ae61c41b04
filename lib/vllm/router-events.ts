import { checkInteger, checkObject } from '../check.js';
import type { KvEvent } from '../router/events.js';
import { computeBlockHashes } from '../router/hashing.js';
import { VllmError } from './errors.js';
import type { VllmKvEvent } from './kv-events.js';

/**
 * A change of a vLLM worker's KV cache as a `KvIndexer` and a `KvEventPublisher` take it. The blocks keep vLLM's hashes
 * as their names.
 *
 * @param blockSize tokens in a block of the index
 * @returns undefined for blocks that are not of their tokens alone, but of an adapter, media or a salt too: prompts
 * without these would match them
 * @throws VllmError `vllm.layout` if the worker has another block size
 *
 * @example
 * import { KvIndexer } from 'dynamo-node';
 * import { routerEventOf, VllmKvEvents } from 'dynamo-node/vllm';
 *
 * const indexer = new KvIndexer({ blockSize: 32 });
 * const events = await VllmKvEvents.connect({
 *   port: 5557,
 *   onEvent(event) {
 *     const change = routerEventOf(event, indexer.blockSize);
 *     if (change !== undefined) void indexer.apply([{ ...change, workerId: 1n }]);
 *   },
 * });
 */
export function routerEventOf(event: VllmKvEvent, blockSize: number): KvEvent | undefined {
  checkObject('routerEventOf event', event);
  checkInteger('routerEventOf blockSize', blockSize, 1, 65536);
  if (event.kind !== 'stored') return event;
  if (event.blockSize !== blockSize)
    throw new VllmError('vllm.layout', `the worker's block size: expected ${blockSize} tokens, got ${event.blockSize}`);
  if (event.extraKeys.some((keys) => keys !== null && keys !== undefined)) return undefined;
  return {
    kind: 'stored',
    blockHashes: event.blockHashes,
    tokensHashes: computeBlockHashes(event.tokens, blockSize),
    parentHash: event.parentHash ?? null,
  };
}
