import { fileURLToPath } from 'node:url';
import { type PlannerServiceOptions, plannerService } from 'dynamo-node/planner';
import { builtInService, frontendService, graph } from 'dynamo-node/sdk';

const modelPath = fileURLToPath(new URL('../../../../examples/tiny-llama/model', import.meta.url));

/** Requests that one worker answers at a time. */
export const MAX_REQUESTS = 4;

/** An answer of 100 tokens takes about a second. */
const engine = { max_num_seqs: MAX_REQUESTS, timing_model: { type: 'fixed', prefill_ms: 10, decode_ms: 10 } };

/** With `PLANNED_HANG=1` all workers but the first hang when they start. */
export const Worker = builtInService('Worker', async ({ worker }) => {
  if (worker > 0 && process.env['PLANNED_HANG'] === '1') await new Promise(() => {});
  return { kind: 'mocker', modelPath, modelName: 'mocked', config: { engine } };
});

export const Frontend = frontendService('Frontend', { host: '127.0.0.1', port: 0 });

/** Its options are those of its configuration. */
export const Planner = plannerService('Planner', ({ config }) => config as PlannerServiceOptions);

export default graph('planned', Frontend).with(Worker, Planner);
