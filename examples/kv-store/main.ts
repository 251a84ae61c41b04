// A KV store in Node.js for vLLM: prompts are computed once, vLLM is killed, and a new vLLM starts with their KV.
// Usage: npm run example -- kv-store
import { loadNixl } from 'dynamo-node';
import { askSideChannel, shapeOf, VllmKvStore } from 'dynamo-node/vllm';
import { fail } from '../processes.js';
import { Gateway } from './gateway.js';
import { python, Worker } from './worker.js';

if (python === undefined)
  fail('This example needs vLLM for the CPU (7 GB). npm run test:vllm installs it, or set VLLM_PYTHON.');

const text = 'A block is a fixed number of consecutive tokens whose keys and values are stored. ';
const prompts = [1, 3, 6, 12].map((count) => text.repeat(4 * count));

console.log(`nixl      ${loadNixl().path}`);
console.log('worker 1  starts: vLLM imports for a minute or two');
const first = await Worker.start();
const shape = shapeOf(await askSideChannel(first.side));
await using store = await VllmKvStore.create({ shape, blockCount: 512 });
await store.connect(first.side);
const gateway = await Gateway.start(store, first.url);

/** Completes every prompt through the gateway, and prints how long each took. */
async function round(name: string): Promise<string[]> {
  const texts: string[] = [];
  for (const prompt of prompts) {
    const before = store.statistics().wholeHits;
    const start = performance.now();
    const response = await fetch(`${gateway.url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'tiny', prompt, max_tokens: 8, temperature: 0 }),
    });
    const { choices, usage } = (await response.json()) as {
      choices: { text: string }[];
      usage: { prompt_tokens: number };
    };
    const source = store.statistics().wholeHits > before ? 'from the store' : 'computed';
    const ms = (performance.now() - start).toFixed(0);
    console.log(`${name}  ${String(usage.prompt_tokens).padStart(4)} tokens ${source.padEnd(15)} ${ms.padStart(6)} ms`);
    texts.push(choices[0]?.text ?? '');
  }
  return texts;
}

const computed = await round('worker 1');
const { keptBlocks, keptBytes } = store.statistics();
console.log(`store     has ${keptBlocks} blocks, ${(keptBytes / 2 ** 20).toFixed(1)} MiB`);
await first.crash();
console.log('worker 1  killed');
console.log('worker 2  starts, with an empty cache');
const second = await Worker.start();
gateway.worker = second.url;
const stored = await round('worker 2');
console.log(`answers   ${stored.every((answer, index) => answer === computed[index]) ? 'equal' : 'DIFFERENT'}`);
const { hitRate, endedOffers, readBytes } = store.statistics();
console.log(
  `store     hit rate ${hitRate.toFixed(2)}, ${endedOffers.read} offers read, ${(readBytes / 2 ** 20).toFixed(1)} MiB`,
);
await gateway.close();
await second.crash();
