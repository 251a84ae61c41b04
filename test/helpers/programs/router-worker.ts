// router-worker.ts OPTIONS TOKENS: serves an engine on a runtime with these options, and publishes that it has the blocks of
// the first ids.
import { computeBlockHashes, computeSequenceHashes, DistributedRuntime, KvPublisher, type RuntimeOptions, serveEngine } from '../../../lib/index.js';
import { BLOCK_SIZE } from '../caching-engine.js';
import { CountingEngine } from '../engines.js';
import { root } from '../project.js';

const [options, count] = process.argv.slice(2) as [string, string];
const runtime = await DistributedRuntime.create(JSON.parse(options) as RuntimeOptions);
const endpoint = runtime.endpoint('test.backend.generate');
const worker = await serveEngine(endpoint, new CountingEngine('counting'), { modelPath: `${root}/examples/tiny-llama/model` });
await worker.ready;
const publisher = await KvPublisher.create(endpoint, { blockSize: BLOCK_SIZE });
const hashes = computeBlockHashes(Uint32Array.from({ length: Number(count) }, (_, index) => index), BLOCK_SIZE);
publisher.stored(computeSequenceHashes(hashes), hashes);
console.log(JSON.stringify({ event: 'ready', id: String(runtime.instanceId) }));
