import { join } from 'node:path';
import { expect, it } from 'vitest';

import { ServeTest } from '../../helpers/deploy/serve.js';
import { missingPeers } from '../../helpers/interop/peers.js';
import { root } from '../../helpers/project.js';
import { describeUnless } from '../../helpers/skipping.js';
import { waitFor } from '../../helpers/wait.js';

if (missingPeers !== undefined) console.log(`skipped: ${missingPeers}`);

const START_MS = 90_000;
const target = join(root, 'test/helpers/deploy/graphs/python.ts');

async function answerOf(url: string): Promise<number> {
  const body = { model: 'mocked', messages: [{ role: 'user', content: 'What is KVBM?' }], max_tokens: 5 };
  const request = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
  return (await fetch(`${url}/v1/chat/completions`, request)).status;
}

describeUnless(missingPeers, 'dynamo serve with a service of Python', () => {
  it(
    'is ready when the service has registered, restarts it, and ends it with everything else',
    async () => {
      await using test = new ServeTest({
        DYN_PYTHON: join(root, '.peers/bin/python'),
        DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS: '0',
        HF_HUB_OFFLINE: '1',
        DYN_LOG: 'error',
      });
      const serve = test.serve([], target);
      await test.ready(serve, 'python-test', START_MS);
      const [state] = await test.states();
      const url = state!.urls[0]!;
      const answered = () =>
        waitFor(
          'an answer of the model',
          () => answerOf(url),
          (status) => status === 200,
        );
      await answered();

      const { workers } = state!.services.find(({ name }) => name === 'Mocker')!;
      process.kill(workers[0]!.pid!, 'SIGKILL');
      await waitFor(
        'the restart',
        async () => (await test.states())[0]?.services[0]?.workers[0],
        (worker) => worker?.restarts === 1 && worker.phase === 'ready',
        START_MS,
      );
      await answered();
      expect(await test.dynamo('stop')).toMatchObject({ code: 0 });
      expect(await serve.exit()).toMatchObject({ code: 0 });
      expect(test.processes).toEqual([]);
    },
    3 * START_MS,
  );
});
