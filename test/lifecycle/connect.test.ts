import { it } from 'vitest';

import { connectAndClose } from '../helpers/connect.js';

const TIMES = 200;

it(`connected and closed ${TIMES} times a process has the files, threads and memory that it had before`, { timeout: 120_000 }, async () => {
  await connectAndClose(TIMES, 50, 100_000);
});
