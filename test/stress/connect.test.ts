import { it } from 'vitest';

import { connectAndClose } from '../helpers/connect.js';

const TIMES = 10_000;

it(`connected and closed ${TIMES} times a process has the threads that it had before, and of files and memory no more than is known to stay`, { timeout: 3_600_000 }, async () => {
  await connectAndClose(TIMES, 1000, 3_500_000);
});
