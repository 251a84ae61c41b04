/** Items that all requests together may give in one turn of the event loop. */
export const ITEMS_A_TURN = 256;

let items = 0;
let turn: Promise<void> | undefined;

/**
 * What a generator that gives item after item waits for, or undefined where it may go on. Its awaits alone never leave the
 * turn, in which no new request arrives: each would wait for the last item of all that are there already.
 */
export function turnOver(): Promise<void> | undefined {
  if (turn !== undefined) return turn;
  items += 1;
  if (items < ITEMS_A_TURN) return undefined;
  items = 0;
  turn = new Promise((resolve) => {
    setImmediate(() => {
      turn = undefined;
      resolve();
    });
  });
  return turn;
}
