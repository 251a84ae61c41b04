import { readdirSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

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
