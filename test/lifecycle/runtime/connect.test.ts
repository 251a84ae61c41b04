import { describe, it } from 'vitest';

import { connectAndClose } from '../../helpers/runtime/connect.js';

const CLIENTS = 1000;
const RUNTIMES = 100;

const rule = 'leaves files and threads unchanged, and adds no more memory than upstream keeps';

describe('connect and close', () => {
  it(`of ${CLIENTS} clients ${rule}`, async () => {
    await connectAndClose('clients', CLIENTS, 200, 100_000);
  });

  it(`of ${RUNTIMES} runtimes ${rule} and one socket each`, async () => {
    await connectAndClose('runtimes', RUNTIMES, 20, 100_000);
  });
});
