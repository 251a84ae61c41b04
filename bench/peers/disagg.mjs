// disagg.mjs llama|plain|empty ROLE MODEL NAMESPACE BLOCK_SIZE BLOCK_COUNT: a worker, aggregated or of one role
import { DistributedRuntime, serveEngine } from 'dynamo-node';
import { register } from 'tsx/esm/api';
import { answerCommands, report } from './load.mjs';

register();
const { modelPath, TinyLlamaEngine } = await import('../../examples/tiny-llama/engine.ts');
const { PrefillEngine } = await import('../../examples/tiny-llama/prefill-engine.ts');
const { DecodeEngine } = await import('../../examples/tiny-llama/decode-engine.ts');
const { EmptyDecode, EmptyPrefill, PlainDecode, PlainPrefill } = await import('./plain-engines.ts');

const [kind, role, model, namespace, ...sizes] = process.argv.slice(2);
const [blockSize, blockCount] = sizes.map(Number);
const cache = { blockSize, blockCount };
const runtime = await DistributedRuntime.create();
const offers = runtime.endpoint(`${namespace}.prefill.kv_offers`);

const ENGINES = {
  llama: {
    aggregated: () => new TinyLlamaEngine(model, cache),
    prefill: () => new PrefillEngine(offers, { cache }, model),
    decode: () => new DecodeEngine(offers, { cache }, model),
  },
  plain: {
    prefill: () => new PlainPrefill(offers, model, cache),
    decode: () => new PlainDecode(offers, model, cache),
  },
  empty: {
    prefill: () => new EmptyPrefill(model, cache),
    decode: () => new EmptyDecode(model, cache),
  },
};

const endpoint = runtime.endpoint(`${namespace}.${role === 'prefill' ? 'prefill' : 'backend'}.generate`);
const worker = await serveEngine(endpoint, ENGINES[kind][role](), {
  modelPath,
  kvRouting: kind === 'llama',
  ...(role === 'aggregated' ? {} : { workerType: role }),
});
await worker.ready;
report({ ready: true });
await answerCommands(() => ({}));
await worker.close({ timeoutMs: 1000 });
await runtime.close({ timeoutMs: 1000 });
