// An OpenAI-compatible deployment: Dynamo's frontend, and the bundled model in a prefill and a decode worker.
import { engineService, frontendService, graph } from 'dynamo-node/sdk';

/** Where the prefill worker offers the KV blocks of its prompts. */
const OFFERS = 'dynamo.prefill.kv_offers';

const Frontend = frontendService('Frontend', { host: '127.0.0.1', port: 8000 });

const Prefill = engineService(
  'Prefill',
  async ({ runtime }) => {
    const { modelPath } = await import('../tiny-llama/engine.js');
    const { PrefillEngine } = await import('../tiny-llama/prefill-engine.js');
    return { engine: new PrefillEngine(runtime.endpoint(OFFERS)), modelPath, workerType: 'prefill' };
  },
  { role: 'prefill' },
);

const Decode = engineService(
  'Decode',
  async ({ runtime }) => {
    const { modelPath } = await import('../tiny-llama/engine.js');
    const { DecodeEngine } = await import('../tiny-llama/decode-engine.js');
    return { engine: new DecodeEngine(runtime.endpoint(OFFERS)), modelPath, workerType: 'decode' };
  },
  { role: 'decode' },
);

export default graph('quickstart', Frontend).with(Prefill).with(Decode);
