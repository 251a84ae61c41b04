import { readdirSync } from 'node:fs';

import { DistributedRuntime } from '../../../lib/index.js';
import { emit } from '../../helpers/programs/lines.js';
import { waitFor } from '../../helpers/wait.js';

const [times, warmUp] = process.argv.slice(2).map(Number) as [number, number];

interface Usage {
  readonly files: number;
  readonly threads: number;
  readonly rssMiB: number;
}

function usage(): Usage {
  globalThis.gc?.();
  return {
    files: readdirSync('/proc/self/fd').length,
    threads: readdirSync('/proc/self/task').length,
    rssMiB: process.memoryUsage.rss() / 2 ** 20,
  };
}

/** Connects, serves, calls and closes. */
async function once(): Promise<void> {
  const runtime = await DistributedRuntime.create({ discovery: { kind: 'mem' }, host: '127.0.0.1' });
  const endpoint = runtime.endpoint<number, number>('connect.worker.generate');
  const served = await endpoint.serve((value) => value + 1);
  const client = await endpoint.client();
  await client.waitForInstances();
  if ((await client.unary(1)) !== 2) throw new Error('a wrong answer');
  await client.close();
  await served.close();
  await runtime.close();
}

let last = usage();
const settled = (): Promise<Usage> =>
  waitFor(
    'files and threads that do not change any more',
    () => {
      const now = usage();
      const isStill = now.files === last.files && now.threads === last.threads;
      last = now;
      return { now, isStill };
    },
    ({ isStill }) => isStill,
    30_000,
  ).then(({ now }) => now);

for (let index = 0; index < warmUp; index++) await once();
const before = await settled();
for (let index = 0; index < times; index++) {
  await once();
  if (index % 1000 === 999) emit('progress', { index, ...usage() });
}
emit('done', { times, before, after: await settled() });
