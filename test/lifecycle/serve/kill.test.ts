import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';

import { findContainment } from '../../../lib/deploy/local/containment.js';
import { ServeTest } from '../../helpers/deploy/serve.js';
import { waitFor } from '../../helpers/wait.js';

const LEFT_MS = 2000;

describe('dynamo serve that is killed with -9', async () => {
  const { supervisor, proc, lacks } = await findContainment();
  const args = ['--Splitter.mode=grandchild', '--Splitter.ServiceArgs.workers=2'];
  const noneLeft = (test: ServeTest) =>
    waitFor(
      'no process is left',
      () => test.processes,
      (pids) => pids.length === 0,
      LEFT_MS,
    );

  it.skipIf(supervisor === undefined)(
    `leaves no worker and no process that a worker started ${lacks ?? ''}`,
    async () => {
      await using test = new ServeTest();
      const serve = test.serve(args);
      await test.ready(serve);
      // The command, the namespace, its first process, the supervisor, 4 workers and 2 grandchildren.
      expect(test.processes.length).toBeGreaterThanOrEqual(10);
      serve.kill('SIGKILL');
      await noneLeft(test);
      // A process that ends loses its environment before its id.
      await waitFor(
        'no graph runs',
        () => test.states(),
        ({ length }) => length === 0,
        LEFT_MS,
      );

      // The next run takes the folder over. This time its supervisor is killed.
      const next = test.serve(args);
      await test.ready(next);
      process.kill((await test.states())[0]!.supervisor.pid, 'SIGKILL');
      expect(await next.exit()).toMatchObject({ code: 1 });
      expect(next.output).toContain('error[E_SUPERVISOR]');
      await noneLeft(test);
    },
  );

  it.skipIf(supervisor === undefined)(
    `leaves nothing when that happens at any moment of the start ${lacks ?? ''}`,
    async () => {
      await using test = new ServeTest();
      const kills = [300, 700, 1100, 1500].map(async (ms, index) => {
        const serve = test.serve([...args, '--name', `run-${index}`]);
        await sleep(ms);
        serve.kill('SIGKILL');
        await serve.exit();
      });
      await Promise.all(kills);
      await noneLeft(test);
    },
  );

  it.skipIf(supervisor === undefined || proc.length === 0)(
    `has shown each worker itself in /proc ${lacks ?? ''}`,
    async () => {
      await using test = new ServeTest();
      const serve = test.serve(['--Splitter.mode=proc']);
      await test.ready(serve);
      await waitFor(
        'the word of a worker',
        () => /\/proc\/self is (\S+) of process (\S+)/.exec(serve.output),
        (found) => found !== null && found[1] === found[2],
      );
    },
  );
});
