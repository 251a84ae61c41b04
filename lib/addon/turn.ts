/** The maximum number of items of all requests in one turn of the event loop. */
export const MAX_ITEMS_PER_TURN = 256;

let items = 0;
let turn: Promise<void> | undefined;

/**
 * A promise that a generator awaits before its next item, or undefined if it may continue now. Awaiting resolved
 * promises never returns to the event loop. Without this pause one long generator would block every new request.
 */
export function turnOver(): Promise<void> | undefined {
  if (turn !== undefined) return turn;
  items += 1;
  if (items < MAX_ITEMS_PER_TURN) return undefined;
  items = 0;
  turn = new Promise((resolve) => {
    setImmediate(() => {
      turn = undefined;
      resolve();
    });
  });
  return turn;
}
