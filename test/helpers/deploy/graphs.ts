import type { GraphSpec } from 'dynamo-node/sdk';
import { builtInService, defineService, engineService, frontendService, graph, pythonService } from 'dynamo-node/sdk';

const never = async (): Promise<never> => {
  throw new Error('it is never run');
};

const Frontend = frontendService('Frontend', { port: 8000 });
const options = { module: 'dynamo.vllm', args: ['--model', 'Qwen/Qwen3-0.6B'] };
const image = 'registry.example/vllm-runtime:1.6.1';

/** Graphs of each kind, as plain data. */
export const GRAPHS: Readonly<Record<'aggregated' | 'disaggregated' | 'planned' | 'configured', GraphSpec>> = {
  aggregated: graph('agg', Frontend)
    .with(engineService('Worker', never, { workers: 2, resources: { cpu: '4', memory: '16Gi', gpu: 1 } }))
    .toJSON(),
  disaggregated: graph('disagg', Frontend)
    .with(
      pythonService(
        'PrefillWorker',
        { ...options, args: [...options.args, '--disaggregation-mode', 'prefill'] },
        { role: 'prefill', image, resources: { gpu: 2 } },
      ),
      pythonService(
        'DecodeWorker',
        { ...options, args: [...options.args, '--disaggregation-mode', 'decode'] },
        { role: 'decode', image, workers: 3, resources: { gpu: 2 }, env: { VLLM_LOGGING_LEVEL: 'DEBUG' } },
      ),
    )
    .toJSON(),
  planned: graph('planned', Frontend)
    .with(
      builtInService('Prefill', { kind: 'echo' } as never, { role: 'prefill' }),
      builtInService('Decode', { kind: 'echo' } as never, { role: 'decode', workers: 2 }),
      pythonService(
        'Planner',
        { module: 'dynamo.planner', args: ['--config', '{"mode":"disagg"}'] },
        { role: 'planner', image: 'registry.example/planner:latest' },
      ),
    )
    .toJSON(),
  configured: configured(),
};

function configured(): GraphSpec {
  const spec = graph(
    'yes',
    defineService('Y', {
      namespace: 'shop',
      labels: { team: 'on', 'example.com/cost-centre': '0123' },
      env: { MODE: 'no', LEVEL: '0o7', TEXT: 'a: b # c', EMPTY: '', LINES: 'one\ntwo' },
      resources: { gpu: 0.5, cpu: '300m' },
    }),
  ).toJSON();
  return {
    ...spec,
    services: spec.services.map((one) => ({ ...one, config: { 'block-size': 64, nested: { a: [1] } } })),
  };
}
