import { describe, expect, it } from 'vitest';

import { terminateThreads } from '../../helpers/runtime/threads.js';

const THREADS = 1000;

describe('worker_threads terminated during their streams', () => {
  it(`neither abort, hang nor stay registered: ${THREADS}`, {
    timeout: 1_800_000,
  }, async () => {
    expect(await terminateThreads(THREADS, 1_700_000)).toMatchObject({ code: 0, signal: null });
  });
});
