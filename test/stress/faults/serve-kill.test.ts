import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, it } from 'vitest';
import { findContainment } from '../../../lib/deploy/local/containment.js';
import type { RunState } from '../../../lib/deploy/local/run-folder.js';
import type { Child } from '../../helpers/child.js';
import { ServeTest } from '../../helpers/deploy/serve.js';
import { randomNumbers } from '../../helpers/random.js';
import { waitFor } from '../../helpers/wait.js';

const KILLS = Number(process.env['TIMES'] ?? 100);
const SEED = Number(process.env['SEED'] ?? 14);
const LEFT_MS = 2000;
/** A kill comes in the start, or up to a second after the graph is ready. */
const START_MS = 4000;
const READY_MS = 1000;
const ROUND_MS = 60_000;
const { supervisor, lacks } = await findContainment();

/** What is killed. The workers have started processes. `starting` is the command, before the graph is ready. */
const VICTIMS = ['command', 'supervisor', 'worker', 'starting'] as const;

/** The sockets on which processes listen, as the kernel numbers them. */
function listeners(pids: readonly number[]): string[] {
  const own = new Set(
    pids.flatMap((pid) => {
      try {
        const folder = `/proc/${pid}/fd`;
        return readdirSync(folder).map((name) => /^socket:\[(\d+)\]$/.exec(readlinkSync(join(folder, name)))?.[1]);
      } catch {
        return [];
      }
    }),
  );
  return listening().filter((socket) => own.has(socket));
}

/** All TCP sockets of this machine that listen. */
function listening(): string[] {
  const rows = ['tcp', 'tcp6'].flatMap((name) => readFileSync(`/proc/net/${name}`, 'utf8').split('\n').slice(1));
  return rows.flatMap((row) => {
    const fields = row.trim().split(/\s+/);
    return fields[3] === '0A' ? (fields[9] ?? []) : [];
  });
}

describe.skipIf(supervisor === undefined)(`kill -9 of a graph ${lacks ?? ''}`, () => {
  const random = randomNumbers(SEED);
  const counts = { command: 0, supervisor: 0, worker: 0, starting: 0 };
  let ports = 0;
  afterAll(() => console.log(`kills: ${JSON.stringify(counts)}, listening sockets before them: ${ports}`));

  it(`${KILLS} times leaves no process, no port and no lost folder, and the next run works`, {
    timeout: KILLS * ROUND_MS,
  }, async () => {
    await using test = new ServeTest();
    let serve: Child | undefined;
    const state = async (): Promise<RunState | undefined> => (await test.states())[0];
    const start = (): Child => test.serve(['--Splitter.mode=grandchild', '--Splitter.ServiceArgs.workers=2']);
    const killed = async (what: string, child: Child, pid = child.pid): Promise<void> => {
      const sockets = listeners(test.processes);
      ports += sockets.length;
      process.kill(pid, 'SIGKILL');
      await child.exit();
      // A process loses its environment before the kernel closes its sockets.
      await waitFor(
        `no process and no port is left after ${what}`,
        () => {
          const all = new Set(listening());
          return { pids: test.processes, sockets: sockets.filter((socket) => all.has(socket)) };
        },
        ({ pids, sockets: left }) => pids.length + left.length === 0,
        LEFT_MS,
      );
      expect(await test.states()).toEqual([]);
      serve = undefined;
    };
    for (let kill = 0; kill < KILLS; kill++) {
      const victim = VICTIMS[Math.floor(random() * VICTIMS.length)] as (typeof VICTIMS)[number];
      counts[victim]++;
      if (victim === 'starting') {
        if (serve !== undefined) await killed(`the kill before ${kill}`, serve);
        const child = start();
        const ms = Math.floor(random() * START_MS);
        await sleep(ms);
        await killed(`kill ${kill}, ${ms} ms after the start`, child);
        continue;
      }
      if (serve === undefined) {
        serve = start();
        await test.ready(serve, undefined, ROUND_MS);
      }
      await sleep(Math.floor(random() * READY_MS));
      const before = (await state()) as RunState;
      if (victim === 'worker') {
        await killWorker(before, random, state);
        continue;
      }
      await killed(`kill ${kill} of the ${victim}`, serve, victim === 'command' ? serve.pid : before.supervisor.pid);
      // Its logs are kept for `dynamo logs`.
      expect(existsSync(join(test.folder, before.graph, 'logs'))).toBe(true);
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
