// A worker process: serves tiny-llama until its parent stops it.
import { DistributedRuntime, serveEngine } from 'dynamo-node';
import { untilStopped } from '../processes.js';
import { modelPath, TinyLlamaEngine } from '../tiny-llama/engine.js';

const [dir] = process.argv.slice(2);
const runtime = await DistributedRuntime.create({ discovery: { kind: 'file', dir: dir as string }, host: '127.0.0.1' });
const worker = await serveEngine(runtime.endpoint('quickstart.backend.generate'), new TinyLlamaEngine(), { modelPath });

// A Ctrl-C on the terminal reaches this process too. The parent handles it.
process.on('SIGINT', () => {});
const stopped = untilStopped();
await worker.ready;
process.send?.('ready');
await stopped;
await worker.close();
await runtime.close();
