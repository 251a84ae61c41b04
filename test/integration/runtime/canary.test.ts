import { DistributedRuntime, type LLMEngine, type ServedEngine, serveEngine } from 'dynamo-node';
import { afterEach, describe, expect, it } from 'vitest';
import { waitFor } from '../../helpers/wait.js';

process.env['DYN_CANARY_WAIT_TIME'] = '1';
process.env['DYN_HEALTH_CHECK_REQUEST_TIMEOUT'] = '1';

process.env['DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS'] = '0';

const options = {
  discovery: { kind: 'mem' },
  host: '127.0.0.1',
  systemPort: 0,
  systemHost: '127.0.0.1',
  canary: true,
} as const;
let runtime: DistributedRuntime | undefined;
let worker: ServedEngine | undefined;
afterEach(async () => {
  await worker?.close({ timeoutMs: 1000 });
  await runtime?.close({ timeoutMs: 2000 });
});

const health = async (): Promise<number> => (await fetch(`http://${runtime?.systemAddress}/health`)).status;

describe('the canary', () => {
  it('probes an endpoint with a health check, whose answer determines /health', async () => {
    runtime = await DistributedRuntime.create(options);
    const asked: unknown[] = [];
    let state: 'well' | 'failing' | 'silent' = 'well';
    await runtime.endpoint<{ probe: boolean }, string>('canary.worker.generate').serve(
      async (request, { signal }) => {
        asked.push(request);
        if (state === 'failing') throw new Error('not well');
        if (state === 'silent') await new Promise((resolve) => signal.addEventListener('abort', resolve));
        return 'alive';
      },
      { healthCheck: { probe: true } },
    );
    await waitFor('a healthy endpoint', health, (status) => status === 200, 20_000);
    expect(asked[0]).toEqual({ probe: true });
    state = 'failing';
    await waitFor('an endpoint that fails', health, (status) => status === 503, 20_000);
    state = 'well';
    await waitFor('an endpoint that is well again', health, (status) => status === 200, 20_000);
    state = 'silent';
    await waitFor('an endpoint that does not answer', health, (status) => status === 503, 20_000);
  });

  it('sends the healthCheck request to an engine', async () => {
    runtime = await DistributedRuntime.create(options);
    const asked: number[][] = [];
    const engine: LLMEngine = {
      start: () => ({ model: 'parrot' }),
      async *generate({ token_ids }) {
        asked.push([...token_ids]);
        yield { token_ids: [1], finish_reason: 'stop' };
      },
    };
    const healthCheck = {
      model: 'parrot',
      token_ids: [1, 2, 3],
      stop_conditions: { max_tokens: 1 },
      sampling_options: {},
      output_options: {},
      eos_token_ids: [],
      annotations: [],
    };
    worker = await serveEngine(runtime.endpoint('canary.engine.generate'), engine, { healthCheck });
    await worker.ready;
    await waitFor(
      'the canary',
      () => asked.length,
      (count) => count > 0,
      20_000,
    );
    expect(asked[0]).toEqual([1, 2, 3]);
    await waitFor('a healthy worker', health, (status) => status === 200, 20_000);
  });
});
