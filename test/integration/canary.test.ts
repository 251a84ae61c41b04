import { afterEach, expect, it } from 'vitest';
import { DistributedRuntime } from '../../lib/index.js';
import { waitFor } from '../helpers/wait.js';

process.env['DYN_CANARY_WAIT_TIME'] = '1';
process.env['DYN_HEALTH_CHECK_REQUEST_TIMEOUT'] = '1';

let runtime: DistributedRuntime | undefined;
afterEach(() => runtime?.close({ timeoutMs: 2000 }));

it('the canary asks an endpoint with a health check, whose answer is what /health says', { timeout: 60_000 }, async () => {
  runtime = await DistributedRuntime.create({ discovery: { kind: 'mem' }, host: '127.0.0.1', systemPort: 0, systemHost: '127.0.0.1', canary: true });
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
  const health = async (): Promise<number> => (await fetch(`http://${runtime?.systemAddress}/health`)).status;
  await waitFor('a healthy endpoint', health, (status) => status === 200, 20_000);
  expect(asked[0]).toEqual({ probe: true });
  state = 'failing';
  await waitFor('an endpoint that fails', health, (status) => status === 503, 20_000);
  state = 'well';
  await waitFor('an endpoint that is well again', health, (status) => status === 200, 20_000);
  state = 'silent';
  await waitFor('an endpoint that does not answer', health, (status) => status === 503, 20_000);
});
