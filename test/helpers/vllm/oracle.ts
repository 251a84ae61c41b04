import { readFileSync } from 'node:fs';
import {
  layoutOf,
  packBlock,
  type StoredKv,
  unpackBlock,
  type VllmBlockLayout,
  type VllmKvStore,
} from 'dynamo-node/vllm';
import type { KvCache } from '../../../examples/tiny-llama/cache.js';
import { Llama } from '../../../examples/tiny-llama/model.js';
import { root } from '../project.js';
import { BLOCK_SIZE, MODEL } from './serve.js';

export const LAYERS = 4;
export const SHAPE = { heads: 2, headDim: 32, blockSize: BLOCK_SIZE };
const ROW = SHAPE.heads * SHAPE.headDim;
const CPU = layoutOf('CPU_ATTN', 'LBHNC') as VllmBlockLayout;

/** Prompts of many lengths, of tokens that the model was trained on. */
export function promptsOf(lengths: readonly number[]): number[][] {
  const { cases } = JSON.parse(readFileSync(`${root}/test/fixtures/tiny-llama-greedy.json`, 'utf8')) as {
    cases: { promptTokenIds: number[]; tokenIds: number[] }[];
  };
  const words = cases.flatMap(({ promptTokenIds, tokenIds }) => [...promptTokenIds, ...tokenIds]);
  return lengths.map((length, seed) => {
    const start = seed * 37;
    return Array.from({ length }, (_, index) => words[(start + index) % words.length] as number);
  });
}

const floatsOf = (bytes: Uint8Array): Float32Array =>
  new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);

/** The KV of tokens, computed in TypeScript. */
export async function prefill(
  tokens: readonly number[],
): Promise<{ llama: Llama; cache: KvCache; logits: Float32Array }> {
  const llama = await Llama.load(MODEL);
  const cache = llama.createCache(BLOCK_SIZE);
  return { llama, cache, logits: llama.forward(tokens, cache) };
}

/** Writes what `prefill` computed into a store, in vLLM's layout. */
export function writeTo(store: VllmKvStore, tokens: readonly number[], cache: KvCache): boolean {
  return store.write(tokens, (bytes, { region, first, count }) => {
    const block = first / BLOCK_SIZE;
    const rows = {
      keys: cache.keys(region, block).subarray(0, count * ROW),
      values: cache.values(region, block).subarray(0, count * ROW),
    };
    packBlock(CPU, SHAPE, floatsOf(bytes), rows);
  });
}

/** Calls `visit` with the rows of the first `count` tokens of stored KV, block by block. */
export function eachBlock(
  stored: StoredKv,
  count: number,
  visit: (layer: number, block: number, rows: { keys: Float32Array; values: Float32Array }) => void,
): void {
  for (let first = 0; first < count; first += BLOCK_SIZE) {
    const tokens = Math.min(BLOCK_SIZE, count - first);
    for (let layer = 0; layer < LAYERS; layer++) {
      const rows = { keys: new Float32Array(tokens * ROW), values: new Float32Array(tokens * ROW) };
      unpackBlock(CPU, SHAPE, floatsOf(stored.part(first, layer)), rows);
      visit(layer, first / BLOCK_SIZE, rows);
    }
  }
}

/** The greatest difference between stored KV and what TypeScript computes. */
export async function worstDifference(stored: StoredKv, tokens: readonly number[]): Promise<number> {
  const { cache } = await prefill(tokens);
  let worst = 0;
  const compare = (found: Float32Array, expected: Float32Array): void =>
    found.forEach((value, index) => {
      // A maximum would hide NaN.
      const difference = Math.abs(value - (expected[index] as number));
      if (!(difference <= worst)) worst = difference;
    });
  eachBlock(stored, tokens.length, (layer, block, { keys, values }) => {
    compare(keys, cache.keys(layer, block));
    compare(values, cache.values(layer, block));
  });
  return worst;
}

/** Continues a prompt whose KV is stored: the last token of the prompt is computed again for its logits. */
export async function decode(
  stored: StoredKv,
  prompt: readonly number[],
  count: number,
): Promise<{ tokens: number[]; logprobs: number[] }> {
  const llama = await Llama.load(MODEL);
  const cache = llama.createCache(BLOCK_SIZE);
  let block = 0;
  eachBlock(stored, prompt.length - 1, (layer, _block, { keys, values }) => {
    cache.append(layer, keys, values);
    if (layer === LAYERS - 1) cache.advance(Math.min(BLOCK_SIZE, prompt.length - 1 - BLOCK_SIZE * block++));
  });
  const [tokens, logprobs] = [[], []] as [number[], number[]];
  let last = prompt.at(-1) as number;
  while (tokens.length < count) {
    const logits = llama.forward([last], cache);
    last = logits.reduce((best, value, index) => (value > (logits[best] as number) ? index : best), 0);
    const max = logits[last] as number;
    logprobs.push(-Math.log(logits.reduce((sum, value) => sum + Math.exp(value - max), 0)));
    tokens.push(last);
  }
  return { tokens, logprobs };
}

/** The greatest difference of two lists of numbers. */
export function difference(a: readonly number[], b: readonly number[]): number {
  return a.reduce((worst, value, index) => Math.max(worst, Math.abs(value - (b[index] ?? Number.NaN))), 0);
}
