// worker.ts OPTIONS TOKENS: serves an engine on a runtime with these options. It publishes the blocks of the token ids
// from 0 to TOKENS, and then those of each line {first, tokens} of its input.
import { createInterface } from 'node:readline';
import {
  computeBlockHashes,
  computeSequenceHashes,
  DistributedRuntime,
  KvPublisher,
  type RuntimeOptions,
  serveEngine,
} from '../../../../lib/index.js';
import { BLOCK_SIZE } from '../../llm/caching-engine.js';
import { CountingEngine } from '../../llm/engines.js';
import { root } from '../../project.js';

const [options, count] = process.argv.slice(2) as [string, string];
const runtime = await DistributedRuntime.create(JSON.parse(options) as RuntimeOptions);
const endpoint = runtime.endpoint('test.backend.generate');
const worker = await serveEngine(endpoint, new CountingEngine('counting'), {
  modelPath: `${root}/examples/tiny-llama/model`,
});
await worker.ready;
const publisher = await KvPublisher.create(endpoint, { blockSize: BLOCK_SIZE });

function store({ first, tokens }: { readonly first: number; readonly tokens: number }): void {
  const hashes = computeBlockHashes(
    Uint32Array.from({ length: tokens }, (_, index) => first + index),
    BLOCK_SIZE,
  );
  publisher.stored(computeSequenceHashes(hashes), hashes);
}

if (count !== '0') store({ first: 0, tokens: Number(count) });
console.log(JSON.stringify({ event: 'ready', id: String(runtime.instanceId) }));
createInterface({ input: process.stdin }).on('line', (line) => {
  store(JSON.parse(line) as Parameters<typeof store>[0]);
  console.log(JSON.stringify({ event: 'stored' }));
});
