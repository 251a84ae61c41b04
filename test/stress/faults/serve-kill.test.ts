import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { findContainment } from '../../../lib/deploy/local/containment.js';
import type { RunState } from '../../../lib/deploy/local/run-folder.js';
import type { Child } from '../../helpers/child.js';
import { ServeTest } from '../../helpers/deploy/serve.js';
import { randomNumbers } from '../../helpers/random.js';
import { waitFor } from '../../helpers/wait.js';

const KILLS = Number(process.env['TIMES'] ?? 100);
const LEFT_MS = 2000;
const ROUND_MS = 60_000;
const { supervisor, lacks } = await findContainment();

/** What is killed. The graph is ready, with workers that have started processes. */
const VICTIMS = ['command', 'supervisor', 'worker'] as const;

describe.skipIf(supervisor === undefined)(`kill -9 of a ready graph ${lacks ?? ''}`, () => {
  const random = randomNumbers(14);
  const counts = { command: 0, supervisor: 0, worker: 0 };
  afterAll(() => console.log(`kills: ${JSON.stringify(counts)}`));

  it(`${KILLS} times leaves no process and no lost folder, and the next run works`, {
    timeout: KILLS * ROUND_MS,
  }, async () => {
    await using test = new ServeTest();
    let serve: Child | undefined;
    const state = async (): Promise<RunState | undefined> => (await test.states())[0];
    const start = async (): Promise<Child> => {
      const started = test.serve(['--Splitter.mode=grandchild', '--Splitter.ServiceArgs.workers=2']);
      await test.ready(started, undefined, ROUND_MS);
      return started;
    };
    for (let kill = 0; kill < KILLS; kill++) {
      serve ??= await start();
      const victim = VICTIMS[Math.floor(random() * VICTIMS.length)] as (typeof VICTIMS)[number];
      counts[victim]++;
      const before = (await state()) as RunState;
      if (victim === 'worker') {
        await killWorker(before, random, state);
        continue;
      }
      if (victim === 'command') serve.kill('SIGKILL');
      else process.kill(before.supervisor.pid, 'SIGKILL');
      await serve.exit();
      await waitFor(
        `no process is left after kill ${kill} of the ${victim}`,
        () => test.processes,
        (pids) => pids.length === 0,
        LEFT_MS,
      );
      expect(await test.states()).toEqual([]);
      // Its logs are kept for `dynamo logs`.
      expect(existsSync(join(test.folder, before.graph, 'logs'))).toBe(true);
      serve = undefined;
    }
  });
});

/** Kills a random worker, and waits until it is ready again in another process. */
async function killWorker(
  before: RunState,
  random: () => number,
  state: () => Promise<RunState | undefined>,
): Promise<void> {
  const workers = before.services.flatMap(({ name, workers }) =>
    workers.map((worker) => ({ service: name, ...worker })),
  );
  const { service, number, pid } = workers[Math.floor(random() * workers.length)] as (typeof workers)[number];
  process.kill(pid as number, 'SIGKILL');
  await waitFor(
    `${service}#${number} is ready again`,
    async () =>
      (await state())?.services.find(({ name }) => name === service)?.workers.find((one) => one.number === number),
    (worker) => worker?.phase === 'ready' && worker.pid !== pid,
    ROUND_MS,
  );
}
