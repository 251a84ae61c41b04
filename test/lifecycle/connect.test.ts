import { it } from 'vitest';

import { connectAndClose } from '../helpers/connect.js';

const TIMES = 200;

it(`connected and closed ${TIMES} times a process has the threads that it had before, and of files and memory no more than is known to stay`, { timeout: 120_000 }, async () => {
  await connectAndClose(TIMES, 50, 100_000);
});
