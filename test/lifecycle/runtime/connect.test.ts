import { describe, it } from 'vitest';

import { connectAndClose } from '../../helpers/runtime/connect.js';

const CLIENTS = 1000;
const RUNTIMES = 100;

const rule = 'leaves files and threads unchanged, and adds no more memory than upstream keeps';

describe('connect and close', () => {
  it(`of ${CLIENTS} clients ${rule}`, async () => {
    // The heap and the allocator grow by some 40 MiB during the first thousand, and by 4 to 14 during each later one.
    await connectAndClose('clients', CLIENTS, CLIENTS, 100_000);
  });

  it(`of ${RUNTIMES} runtimes ${rule} and one socket each`, async () => {
    await connectAndClose('runtimes', RUNTIMES, 20, 100_000);
  });
});
