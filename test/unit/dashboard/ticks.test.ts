import { describe, expect, it } from 'vitest';
import { msToTick } from '../../../lib/dashboard/ticks.js';

describe('msToTick', () => {
  it.each([
    ['the next multiple of the interval', 1000, 0, 5300, 700],
    ['the one after it, if a timer was early', 1000, 0, 5999.7, 1000.3],
    ['a whole interval from a tick', 1000, 0, 6000, 1000],
    ['the next one after a reading that took almost the interval', 1000, 0, 5900, 100],
    ['one that comes later by the shift', 1000, 125, 5000, 125],
    ['one that comes later by the shift, before the first', 1000, 125, 0, 1125],
    ['a tick that a longer interval shares', 2000, 0, 5300, 700],
  ])('returns the time to %s', (_, intervalMs, shiftMs, nowMs, expected) => {
    expect(msToTick(intervalMs, shiftMs, nowMs)).toBeCloseTo(expected);
  });

  it('never returns less than a tenth of the interval, nor more than an interval and a tenth', () => {
    for (let nowMs = 0; nowMs < 3000; nowMs += 0.7) {
      const delay = msToTick(100, 0, nowMs);
      expect(delay).toBeGreaterThanOrEqual(10 - 1e-6);
      expect(delay).toBeLessThanOrEqual(110 + 1e-6);
    }
  });
});
