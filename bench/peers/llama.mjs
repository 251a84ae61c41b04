// llama.mjs BLOCK_SIZE BLOCK_COUNT: a worker with the tiny Llama and a cache of this size

import { DistributedRuntime, serveEngine } from 'dynamo-node';
import { register } from 'tsx/esm/api';
import { answerCommands, report } from './load.mjs';

register();
const { modelPath, TinyLlamaEngine } = await import('../../examples/tiny-llama/engine.ts');

const [blockSize, blockCount] = process.argv.slice(2).map(Number);
const runtime = await DistributedRuntime.create();
const worker = await serveEngine(
  runtime.endpoint('llama.backend.generate'),
  new TinyLlamaEngine('served', { blockSize, blockCount }),
  { modelPath },
);
await worker.ready;
report({ ready: true });
await answerCommands(() => ({}));
await worker.close({ timeoutMs: 1000 });
await runtime.close({ timeoutMs: 1000 });
