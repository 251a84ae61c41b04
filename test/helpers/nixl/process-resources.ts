import { readdirSync, readFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

import { waitFor } from '../wait.js';

/** What this process holds of the system. */
export interface Held {
  readonly files: number;
  readonly threads: number;
  readonly rssMiB: number;
}

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** What this process holds now that garbage is collected. */
export function held(): Held {
  collect();
  return {
    files: readdirSync('/proc/self/fd').length,
    threads: readdirSync('/proc/self/task').length,
    rssMiB: Math.round(process.memoryUsage.rss() / 2 ** 20),
  };
}

/** The names of a process's threads that begin so; those of agents are called by their agent's name, cut. */
export function threadsNamed(prefix: string, process: number | 'self' = 'self'): string[] {
  const name = (thread: string): string => {
    try {
      return readFileSync(`/proc/${process}/task/${thread}/comm`, 'utf8').trim();
    } catch {
      return ''; // It has ended meanwhile.
    }
  };
  return readdirSync(`/proc/${process}/task`)
    .map(name)
    .filter((one) => one.startsWith(prefix));
}

/** What may come and go beside NIXL: threads of the runtime, files of the test runner, memory that an allocator keeps. */
const SPARE = { files: 4, threads: 2, rssMiB: 48 };

/** Waits until no more is held than before, and says what it was. A test that keeps its own memory can spare less of it. */
export async function expectBaseline(before: Held, what: string, rssMiB = SPARE.rssMiB): Promise<void> {
  const done = (now: Held): boolean =>
    now.files <= before.files + SPARE.files &&
    now.threads <= before.threads + SPARE.threads &&
    now.rssMiB <= before.rssMiB + rssMiB;
  const after = await waitFor(`${what}: no more held than ${JSON.stringify(before)}`, held, done, 60_000);
  console.log(`${what}: ${JSON.stringify(before)} before, ${JSON.stringify(after)} after`);
}
