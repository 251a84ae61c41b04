// Serves an engine in DIR's deployment and publishes that it has the blocks of the first TOKENS ids.
import { computeBlockHashes, computeSequenceHashes, DistributedRuntime, KvPublisher, serveEngine } from '../../../lib/index.js';
import { BLOCK_SIZE } from '../caching-engine.js';
import { CountingEngine } from '../engines.js';
import { root } from '../project.js';

const [dir, count] = process.argv.slice(2) as [string, string];
const runtime = await DistributedRuntime.create({ discovery: { kind: 'file', dir }, host: '127.0.0.1' });
const endpoint = runtime.endpoint('test.backend.generate');
const worker = await serveEngine(endpoint, new CountingEngine('counting'), { modelPath: `${root}/examples/tiny-llama/model` });
await worker.ready;
const publisher = await KvPublisher.create(endpoint, { blockSize: BLOCK_SIZE });
const hashes = computeBlockHashes(Uint32Array.from({ length: Number(count) }, (_, index) => index), BLOCK_SIZE);
publisher.stored(computeSequenceHashes(hashes), hashes);
console.log(JSON.stringify({ event: 'ready', id: String(runtime.instanceId) }));
