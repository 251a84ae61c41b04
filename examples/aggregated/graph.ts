// Aggregated serving: each worker does both the prefill and the decode of a request.
import { engineService, frontendService, graph } from 'dynamo-node/sdk';
import { z } from 'zod';

const Frontend = frontendService('Frontend', { host: '127.0.0.1', port: 8000 });

const Worker = engineService(
  'Worker',
  async ({ config }) => {
    const { modelPath, TinyLlamaEngine } = await import('../tiny-llama/engine.js');
    const { model, 'block-size': blockSize, blocks: blockCount } = config;
    return { engine: new TinyLlamaEngine(model, { blockSize, blockCount }), modelPath };
  },
  { config: z.object({ model: z.string(), 'block-size': z.number().int(), blocks: z.number().int().positive() }) },
);

export default graph('aggregated', Frontend).with(Worker);
