import { describe, expect, it } from 'vitest';

import { comparePlanes } from '../../helpers/runtime/compare-planes.js';

const CALLS = 25_000;

describe('the data planes', () => {
  it(`carry the same frames in every combination, of ${CALLS} random calls each`, { timeout: 3_600_000 }, async () => {
    const seed = Date.now() % 2 ** 31;
    console.log(`seed ${seed}: ${await comparePlanes(CALLS, seed)} frames compared`);
    expect.hasAssertions();
  });
});
