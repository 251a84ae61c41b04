import { describe, expect, it } from 'vitest';

import { terminateThreads } from '../../helpers/runtime/threads.js';

const THREADS = 20;

describe('worker_threads terminated during their streams', () => {
  it(`neither abort, hang nor stay registered: ${THREADS}`, async () => {
    expect(await terminateThreads(THREADS, 60_000)).toMatchObject({ code: 0, signal: null });
  });
});
