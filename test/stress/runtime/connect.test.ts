import { it } from 'vitest';

import { connectAndClose } from '../../helpers/runtime/connect.js';

const CLIENTS = 10_000;
/** A tenth: upstream keeps 1.7 MiB of each. */
const RUNTIMES = 1000;

const rule = 'leave a process the files and threads that it had before, and of memory no more than upstream keeps';

it(`${CLIENTS} clients connected and closed ${rule}`, { timeout: 600_000 }, async () => {
  await connectAndClose('clients', CLIENTS, 1000, 500_000);
});

it(`${RUNTIMES} runtimes connected and closed ${rule} and a socket each`, { timeout: 600_000 }, async () => {
  await connectAndClose('runtimes', RUNTIMES, 100, 500_000);
});
