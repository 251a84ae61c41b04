import { join } from 'node:path';
import { expect, it } from 'vitest';
import { instancesOf, serviceOf, ViewClient } from '../../helpers/dashboard/view.js';
import { ServeTest } from '../../helpers/deploy/serve.js';
import { missingPeers } from '../../helpers/interop/peers.js';
import { root } from '../../helpers/project.js';
import { describeUnless } from '../../helpers/skipping.js';
import { waitFor } from '../../helpers/wait.js';

if (missingPeers !== undefined) console.log(`skipped: ${missingPeers}`);

const START_MS = 90_000;
const target = join(root, 'test/helpers/deploy/graphs/python.ts');

describeUnless(missingPeers, 'the live view of a graph with a worker of Python', () => {
  it(
    'shows its instance, its forward passes and its KV blocks, and traces a request by what the frontend says',
    async () => {
      await using serving = new ServeTest({
        DYN_PYTHON: join(root, '.peers/bin/python'),
        DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS: '0',
        HF_HUB_OFFLINE: '1',
        DYN_LOG: 'error',
      });
      const serve = serving.serve(['--ui'], target);
      await serving.ready(serve, 'python-test', START_MS);
      const view = await ViewClient.of(serve);
      const started = await view.until(
        'the worker in discovery',
        (snapshot) => instancesOf(snapshot, 'Mocker')[0]?.address !== undefined,
      );
      expect(serviceOf(started, 'Mocker')).toMatchObject({ program: 'python', ready: 1 });

      const trace = await waitFor(
        'a traced request',
        () => view.trace({ prompt: 'What is KVBM?', model: 'mocked', maxTokens: 8 }),
        ({ outcome }) => outcome === 'ok',
      );
      expect(trace.spans.map(({ name, source }) => [name, source])).toEqual(
        expect.arrayContaining([
          ['request', 'client'],
          ['prefill', 'frontend'],
          ['decode', 'frontend'],
        ]),
      );
      expect(trace.spans.find(({ name }) => name === 'decode')?.instance).toBe('Mocker#0');
      expect(trace.notes.join()).toContain('no worker reported its phases');

      const measured = await view.until('the metrics of the worker', (snapshot) => {
        const [worker] = instancesOf(snapshot, 'Mocker');
        return worker?.metricsAgeMs !== undefined && worker.kv.usage !== undefined;
      });
      expect(instancesOf(measured, 'Mocker')[0]?.kv.totalBlocks).toBeGreaterThan(0);

      // The same graph without its supervisor: only discovery and the frontend are known.
      const [frontend] = measured.graph.urls;
      const dir = join(serving.folder, 'python-test', 'discovery');
      const foreign = serving.start(['ui', '--namespace', 'dynamo', '--frontend', String(frontend)], {
        DYN_FILE_KV: dir,
      });
      const other = await ViewClient.of(foreign);
      // Discovery and the frontend are read on their own: either may be known first.
      const seen = await other.until(
        'the instance in discovery, and the frontend',
        ({ services, actions }) =>
          actions.trace && services.some(({ role, ready }) => role === 'worker' && ready === 1),
      );
      expect(seen.graph.phase).toBe('unknown');
      expect(seen.actions).toEqual({ scale: false, trace: true, logs: false });
      expect(await other.trace({ prompt: 'Hello', maxTokens: 2 })).toMatchObject({ outcome: 'ok', model: 'mocked' });
      foreign.kill('SIGINT');
      expect(await foreign.exit()).toMatchObject({ code: 0 });
    },
    3 * START_MS,
  );
});
