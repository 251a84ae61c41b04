import { expect, it } from 'vitest';

import { terminateThreads } from '../../helpers/runtime/threads.js';

const THREADS = 1000;

it(`${THREADS} worker_threads terminated in the middle of their streams: nothing aborts, hangs or stays registered`, {
  timeout: 1_800_000,
}, async () => {
  expect(await terminateThreads(THREADS, 1_700_000)).toMatchObject({ code: 0, signal: null });
});
