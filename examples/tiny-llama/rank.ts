// A rank of a tensor-parallel group, in its own process. It ends when the engine ends.
import { Socket } from 'node:net';
import { join } from 'node:path';
import { loadConfig } from './config.js';
import { Llama } from './model.js';
import { RankCache, RankMemory } from './rank-cache.js';
import { RankLink, RankMessage } from './rank-link.js';
import { loadSafetensors } from './safetensors.js';
import { type Shard, shardConfig, shardTensors } from './shard.js';

/** The arguments of the program, as JSON. */
export interface RankArguments extends Shard {
  readonly folder: string;
  readonly blockSize: number;
}

const { folder, blockSize, ...shard } = JSON.parse(process.argv[2] as string) as RankArguments;
const link = new RankLink(new Socket({ fd: 3 }));
// Signals of the terminal are for the engine, which then ends its ranks.
process.on('SIGINT', () => {});
void link.closed.then(() => process.exit());

const [whole, tensors] = await Promise.all([loadConfig(folder), loadSafetensors(join(folder, 'model.safetensors'))]);
const config = shardConfig(whole, shard.size);
const model = new Llama(config, shardTensors(tensors, shard));
const memory = new RankMemory(config, blockSize);

async function forward(words: Uint32Array): Promise<void> {
  const [position, count] = words as unknown as [number, number];
  const tokens = words.subarray(2, 2 + count);
  const cache = new RankCache(memory, words.subarray(2 + count), position);
  const steps = model.steps(tokens, cache);
  // Each layer has two sums. What comes after the last one is only for the engine.
  for (let sum = 0; sum < 2 * config.layers; sum++) {
    const added = steps.next().value;
    link.send(RankMessage.sum, added);
    added.set(await link.receiveFloats(RankMessage.sum));
  }
  for (const rows of cache.rows) link.send(RankMessage.rows, rows);
}

link.send(RankMessage.ready);
for (;;) {
  const { kind, payload } = await link.receive();
  if (kind === RankMessage.forward) await forward(new Uint32Array(payload));
  else if (kind === RankMessage.load)
    memory.block(new Uint32Array(payload, 0, 1)[0] as number).set(new Float32Array(payload, 4));
  else throw new Error(`unknown message ${kind}`);
}
