// An OpenAI-compatible deployment: Dynamo's frontend, and the bundled model in two worker processes.
import { engineService, frontendService, graph } from 'dynamo-node/sdk';

const Frontend = frontendService('Frontend', { host: '127.0.0.1', port: 8000 });

const Worker = engineService(
  'Worker',
  async () => {
    const { modelPath, TinyLlamaEngine } = await import('../tiny-llama/engine.js');
    return { engine: new TinyLlamaEngine(), modelPath };
  },
  { workers: 2 },
);

export default graph('quickstart', Frontend).with(Worker);
