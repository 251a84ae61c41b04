import { fileURLToPath } from 'node:url';
import { frontendService, graph, pythonService } from 'dynamo-node/sdk';

const model = fileURLToPath(new URL('../../../../examples/tiny-llama/model', import.meta.url));

export const Frontend = frontendService('Frontend', { host: '127.0.0.1', port: 0 });
export const Mocker = pythonService('Mocker', {
  module: 'dynamo.mocker',
  args: ['--model-path', model, '--model-name', 'mocked', '--speedup-ratio', '100'],
});

export default graph('python-test', Frontend).with(Mocker);
