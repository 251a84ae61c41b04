import { expect, it } from 'vitest';

import { ITEMS_A_TURN, turnOver } from '../../../lib/addon/turn.js';

/** What `serve`, an engine and a processor do with each item that a generator gives at once. */
async function give(items: number, given: () => void): Promise<void> {
  for (let index = 0; index < items; index++) {
    await null;
    given();
    const over = turnOver();
    if (over !== undefined) await over;
  }
}

it('generators that never wait leave the event loop its turns, all of them together', async () => {
  let given = 0;
  const perTurn: number[] = [];
  const count = (): void => {
    perTurn.push(given);
    given = 0;
    if (perTurn.length < 40) setImmediate(count);
  };
  setImmediate(count);
  await Promise.all(Array.from({ length: 32 }, () => give(ITEMS_A_TURN, () => void (given += 1))));
  expect(perTurn.length).toBeGreaterThan(16);
  // From each of the others the one that it was about to give comes behind.
  expect(Math.max(...perTurn)).toBeLessThanOrEqual(ITEMS_A_TURN + 32);
});

it('a generator alone takes all items of a turn', async () => {
  let turns = 0;
  let running = true;
  const count = (): void => {
    turns += 1;
    if (running) setImmediate(count);
  };
  setImmediate(count);
  await give(10 * ITEMS_A_TURN, () => {});
  running = false;
  expect(turns).toBeGreaterThanOrEqual(9);
  expect(turns).toBeLessThanOrEqual(12);
});
