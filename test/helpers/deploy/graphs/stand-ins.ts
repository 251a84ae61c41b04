// A prefill and a decode worker of the engine $STAND_IN, in whose place the mocker runs.
import { fileURLToPath } from 'node:url';
import { frontendService, graph, type PythonEngine, pythonEngine, pythonService } from 'dynamo-node/sdk';

const model = fileURLToPath(new URL('../../../../examples/tiny-llama/model', import.meta.url));
const engine = (process.env['STAND_IN'] ?? 'sglang') as PythonEngine;

const worker = (name: string, disaggregationMode: 'prefill' | 'decode') =>
  pythonService(
    name,
    pythonEngine({
      ...{ engine, model, modelName: 'mocked', disaggregationMode, kvCacheBlockSize: 16, standIn: true },
      args: ['--speedup-ratio', '100'],
    }),
    { role: disaggregationMode },
  );

export const Frontend = frontendService('Frontend', { host: '127.0.0.1', port: 0 });

export default graph('stand-ins', Frontend).with(worker('Prefill', 'prefill')).with(worker('Decode', 'decode'));
