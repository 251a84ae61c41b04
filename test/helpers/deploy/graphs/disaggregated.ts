import { engineService, frontendService, graph } from 'dynamo-node/sdk';
import { modelPath } from '../../../../examples/tiny-llama/engine.js';
import { DecodeEngine, PrefillEngine } from '../../router/disaggregated-engines.js';

const Frontend = frontendService('Frontend', { host: '127.0.0.1', port: 0, migrationLimit: 3 });
const Prefill = engineService(
  'Prefill',
  () => ({ engine: new PrefillEngine(), modelPath, workerType: 'prefill' as const }),
  { role: 'prefill' },
);
const Decode = engineService(
  'Decode',
  () => ({ engine: new DecodeEngine(), modelPath, workerType: 'decode' as const }),
  { role: 'decode' },
);

/** A disaggregated deployment, of one worker of each role. */
export default graph('disaggregated-test', Frontend).with(Prefill, Decode).scale('1P1D');
