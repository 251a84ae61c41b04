import { expect, it } from 'vitest';

import { terminateThreads } from '../../helpers/runtime/threads.js';

const THREADS = 20;

it(`${THREADS} worker_threads terminated in the middle of their streams: nothing aborts, hangs or stays registered`, async () => {
  expect(await terminateThreads(THREADS, 60_000)).toMatchObject({ code: 0, signal: null });
});
