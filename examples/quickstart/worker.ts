import { DistributedRuntime, serveEngine } from 'dynamo-node';
import { modelPath, TinyLlamaEngine } from '../tiny-llama/engine.js';

const [dir] = process.argv.slice(2);
const runtime = await DistributedRuntime.create({ discovery: { kind: 'file', dir: dir as string }, host: '127.0.0.1' });
const worker = await serveEngine(runtime.endpoint('quickstart.backend.generate'), new TinyLlamaEngine(), { modelPath });

// The parent decides when it ends: a Ctrl-C on the terminal reaches this process too.
process.on('SIGINT', () => {});
process.once('SIGTERM', close);
process.once('disconnect', close);

async function close(): Promise<void> {
  await worker.close();
  await runtime.close();
  if (process.connected) process.disconnect();
}

await worker.ready;
process.send?.('ready');
