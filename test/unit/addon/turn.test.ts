import { describe, expect, it } from 'vitest';

import { MAX_ITEMS_PER_TURN, turnOver } from '../../../lib/addon/turn.js';

/** What `serve`, an engine and a processor do with each item of a generator that never waits. */
async function give(items: number, given: () => void): Promise<void> {
  for (let index = 0; index < items; index++) {
    await null;
    given();
    const over = turnOver();
    if (over !== undefined) await over;
  }
}

describe('turnOver', () => {
  it('lets the event loop turn while several generators never wait', async () => {
    let given = 0;
    const perTurn: number[] = [];
    const count = (): void => {
      perTurn.push(given);
      given = 0;
      if (perTurn.length < 40) setImmediate(count);
    };
    setImmediate(count);
    await Promise.all(Array.from({ length: 32 }, () => give(MAX_ITEMS_PER_TURN, () => void (given += 1))));
    expect(perTurn.length).toBeGreaterThan(16);
    // From each of the other generators the pending item still follows.
    expect(Math.max(...perTurn)).toBeLessThanOrEqual(MAX_ITEMS_PER_TURN + 32);
  });

  it('gives all items of a turn to a single generator', async () => {
    let turns = 0;
    let running = true;
    const count = (): void => {
      turns += 1;
      if (running) setImmediate(count);
    };
    setImmediate(count);
    await give(10 * MAX_ITEMS_PER_TURN, () => {});
    running = false;
    expect(turns).toBeGreaterThanOrEqual(9);
    expect(turns).toBeLessThanOrEqual(12);
  });
});
