// Two workers, and a frontend that sends each prompt to the worker that has most of it in its KV cache.
import { engineService, frontendService, graph } from 'dynamo-node/sdk';

export const BLOCK_SIZE = 16;

const Frontend = frontendService('Frontend', { host: '127.0.0.1', port: 8000, router: { mode: 'kv' } });

export const Worker = engineService(
  'Worker',
  async () => {
    const { modelPath, TinyLlamaEngine } = await import('../tiny-llama/engine.js');
    return { engine: new TinyLlamaEngine('tiny-llama', { blockSize: BLOCK_SIZE, blockCount: 512 }), modelPath };
  },
  { workers: 2 },
);

export default graph('kv-router', Frontend).with(Worker);
