import { describe, it } from 'vitest';

import { connectAndClose } from '../../helpers/runtime/connect.js';

const CLIENTS = 10_000;
/** A tenth: upstream keeps 1.7 MiB of each. */
const RUNTIMES = 1000;

const rule = 'leaves files and threads unchanged, and adds no more memory than upstream keeps';

describe('connect and close', () => {
  it(`of ${CLIENTS} clients ${rule}`, { timeout: 600_000 }, async () => {
    await connectAndClose('clients', CLIENTS, 1000, 500_000);
  });

  it(`of ${RUNTIMES} runtimes ${rule} and one socket each`, { timeout: 600_000 }, async () => {
    await connectAndClose('runtimes', RUNTIMES, 100, 500_000);
  });
});
