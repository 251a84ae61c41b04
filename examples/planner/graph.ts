// A frontend, simulated engines, and a planner that starts and stops their processes.
import { fileURLToPath } from 'node:url';
import { plannerService } from 'dynamo-node/planner';
import { builtInService, frontendService, graph } from 'dynamo-node/sdk';

/** Requests that one worker answers at a time. Others wait. */
const MAX_REQUESTS = 4;

const Frontend = frontendService('Frontend', { host: '127.0.0.1', port: 0 });

// Dynamo's mocker has the tokenizer of a model, and the timing of an engine instead of its computation. A token takes
// 20 ms here, so that 4 requests of 50 tokens take a second.
const Worker = builtInService('Worker', {
  kind: 'mocker',
  modelPath: fileURLToPath(new URL('../tiny-llama/model', import.meta.url)),
  modelName: 'mocked',
  config: {
    engine: { max_num_seqs: MAX_REQUESTS, timing_model: { type: 'fixed', prefill_ms: 20, decode_ms: 20 } },
  },
});

const Planner = plannerService('Planner', {
  config: {
    sla: { ttftMs: 1000, itlMs: 50, attainment: 0.95 },
    maxGpus: 4,
    intervalMs: 500,
    // Until the first worker has started; then the measured time counts.
    coldStartMs: 2000,
    pools: { worker: { maxRequests: MAX_REQUESTS } },
  },
});

export const scaled = graph('scaled', Frontend).with(Worker, Planner);
export const fixed = graph('fixed', Frontend).with(Worker);
