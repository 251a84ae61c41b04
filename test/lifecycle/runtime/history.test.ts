import { describe, expect, it } from 'vitest';

import { load, summary } from '../../helpers/runtime/load.js';
import { temporaryFolder } from '../../helpers/runtime/runtime.js';

const CALLS = 20_000;

describe('calls under faults', () => {
  it(`end exactly once, with items in order and none after the end: ${CALLS}`, {
    timeout: 540_000,
  }, async () => {
    const seed = Date.now() % 2 ** 31;
    const report = await load({ folder: temporaryFolder(), calls: CALLS, losses: 3, concurrency: 64, seed });
    console.log(summary(report, seed));
    expect(report.surprises).toEqual([]);
    expect(report.history.finish()).toEqual([]);
    expect(report.history.count).toBe(CALLS);
    expect(report.history.ends.whole).toBeGreaterThan(CALLS / 2);
    expect(report.handlers.ended).toBe(report.handlers.accepted);
  });
});
