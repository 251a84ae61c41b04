import { isThenable } from '../check.js';
import { finish } from './finish.js';
import { turnOver } from './turn.js';

/**
 * Writes one item. Returns true if it was taken, false if no reader is left, a promise of either if the queue is full.
 */
export type Write = (item: unknown) => boolean | Promise<boolean>;

/**
 * Writes every item of an iterator, with back-pressure. Awaits an item that is a promise. Pauses after the maximum
 * number of items per event loop turn.
 *
 * @returns true if the iterator ended, false if the reader left before that; then the iterator is still open
 * @throws the error of the iterator, or of an item that is rejected or cannot be written; then the iterator is returned
 */
export async function pump(iterator: AsyncIterator<unknown> | Iterator<unknown>, write: Write): Promise<boolean> {
  for (;;) {
    const next = iterator.next();
    const { done, value } = next instanceof Promise || 'then' in next ? await next : next;
    if (done === true) return true;
    try {
      const written = write(isThenable(value) ? await value : value);
      if (written !== true && (written === false || !(await written))) return false;
    } catch (error) {
      finish(iterator);
      throw error;
    }
    const pause = turnOver();
    if (pause !== undefined) await pause;
  }
}
