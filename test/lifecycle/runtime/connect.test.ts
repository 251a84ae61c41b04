import { it } from 'vitest';

import { connectAndClose } from '../../helpers/runtime/connect.js';

const CLIENTS = 1000;
const RUNTIMES = 100;

const rule = 'leave a process the files and threads that it had before, and of memory no more than upstream keeps';

it(`${CLIENTS} clients connected and closed ${rule}`, async () => {
  await connectAndClose('clients', CLIENTS, 200, 100_000);
});

it(`${RUNTIMES} runtimes connected and closed ${rule} and a socket each`, async () => {
  await connectAndClose('runtimes', RUNTIMES, 20, 100_000);
});
