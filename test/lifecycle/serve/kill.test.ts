import { type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';

import type { ServeRequest } from '../../../lib/cli/serve-run.js';
import { findContainment } from '../../../lib/deploy/local/containment.js';
import { SERVE_GRAPH, ServeTest } from '../../helpers/deploy/serve.js';
import { root } from '../../helpers/project.js';
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

  it('leaves no supervisor that was not loaded yet', async () => {
    await using test = new ServeTest();
    const request: ServeRequest = {
      target: SERVE_GRAPH,
      options: { host: '127.0.0.1' },
      overrides: [],
      json: false,
      cwd: root,
      isTerminal: false,
      columns: 80,
      pid: process.pid,
    };
    const words = ['--import', 'tsx', join(root, 'lib/cli/supervise.ts'), JSON.stringify(request)];
    const options: SpawnOptions = {
      cwd: root,
      env: {
        ...process.env,
        DYN_LOCAL_STATE_DIR: test.folder,
        TSX_TSCONFIG_PATH: join(root, 'tsconfig.check.json'),
      },
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    };
    const child = spawn(process.execPath, words, options);
    const ended = once(child, 'exit');
    child.disconnect();
    expect(await ended).toEqual([0, null]);
    // It may have begun to start the graph. Nothing of that goes on.
    expect(await test.states()).toEqual([]);
    await noneLeft(test);
  });

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
