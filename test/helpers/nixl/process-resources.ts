import { readdirSync, readFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

import { waitFor } from '../wait.js';

/** The system resources that this process uses. */
export interface Resources {
  readonly files: number;
  readonly threads: number;
  readonly rssMiB: number;
}

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** The resources that this process uses after a garbage collection. */
export function resources(): Resources {
  collect();
  return {
    files: readdirSync('/proc/self/fd').length,
    threads: readdirSync('/proc/self/task').length,
    rssMiB: Math.round(process.memoryUsage.rss() / 2 ** 20),
  };
}

/** The names of a process's threads with this prefix. An agent's thread has the agent's name, truncated. */
export function threadsNamed(prefix: string, process: number | 'self' = 'self'): string[] {
  const name = (thread: string): string => {
    try {
      return readFileSync(`/proc/${process}/task/${thread}/comm`, 'utf8').trim();
    } catch {
      return ''; // The thread has ended.
    }
  };
  return readdirSync(`/proc/${process}/task`)
    .map(name)
    .filter((one) => one.startsWith(prefix));
}

/**
 * Changes that NIXL does not cause: threads of the runtime, files of the test runner, memory that an allocator keeps.
 */
const SPARE = { files: 4, threads: 2, rssMiB: 48 };

/**
 * Waits until resources are back at the level before, and prints both. A test with stable memory can allow less growth.
 */
export async function expectBaseline(before: Resources, what: string, rssMiB = SPARE.rssMiB): Promise<void> {
  const done = (now: Resources): boolean =>
    now.files <= before.files + SPARE.files &&
    now.threads <= before.threads + SPARE.threads &&
    now.rssMiB <= before.rssMiB + rssMiB;
  const after = await waitFor(`${what}: resources back at ${JSON.stringify(before)}`, resources, done, 60_000);
  console.log(`${what}: ${JSON.stringify(before)} before, ${JSON.stringify(after)} after`);
}
