import { readdirSync } from 'node:fs';

import { DistributedRuntime, type Endpoint } from '../../../lib/index.js';
import { emit } from '../../helpers/runtime/programs/lines.js';
import { waitFor } from '../../helpers/wait.js';

const [what, ...counts] = process.argv.slice(2);
const [times, warmUp] = counts.map(Number) as [number, number];

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

const open = (): Promise<DistributedRuntime> =>
  DistributedRuntime.create({ discovery: { kind: 'mem' }, host: '127.0.0.1' });

/** Connects, calls and closes. */
async function call(endpoint: Endpoint<number, number>): Promise<void> {
  const client = await endpoint.client();
  await client.waitForInstances();
  if ((await client.unary(1)) !== 2) throw new Error('a wrong answer');
  await client.close();
}

const PATH = 'connect.worker.generate';
const runtime = await open();
await runtime.endpoint<number, number>(PATH).serve((value) => value + 1);

/** The repeated action. */
const rounds: Record<string, () => Promise<void>> = {
  clients: () => call(runtime.endpoint(PATH)),
  runtimes: async () => {
    const own = await open();
    const endpoint = own.endpoint<number, number>(PATH);
    const served = await endpoint.serve((value) => value + 1);
    await call(endpoint);
    await served.close();
    await own.close();
  },
};
const once = rounds[what ?? ''] as () => Promise<void>;

let last = usage();
/** Threads for blocking calls end after some idle time. */
const settled = (mostThreads = Number.POSITIVE_INFINITY): Promise<Usage> =>
  waitFor(
    'files and threads that do not change any more',
    () => {
      const now = usage();
      const isStill = now.threads <= mostThreads && now.files === last.files && now.threads === last.threads;
      last = now;
      return { now, isStill };
    },
    ({ isStill }) => isStill,
    60_000,
  ).then(({ now }) => now);

for (let index = 0; index < warmUp; index++) await once();
const before = await settled();
for (let index = 0; index < times; index++) {
  await once();
  if (index % 1000 === 999) emit('progress', { index, ...usage() });
}
emit('done', { times, before, after: await settled(before.threads + 2) });
await runtime.close();
