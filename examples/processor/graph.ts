// Dynamo's frontend with a processor in TypeScript, and a model that has no tokenizer of Hugging Face.
import { engineService, frontendService, graph } from 'dynamo-node/sdk';
import { processor } from './processor.js';

const Frontend = frontendService('Frontend', { host: '127.0.0.1', port: 8000, processor });

const Worker = engineService('Worker', async () => {
  const { ParrotEngine } = await import('./engine.js');
  return { engine: new ParrotEngine() };
});

export default graph('processor', Frontend).with(Worker);
