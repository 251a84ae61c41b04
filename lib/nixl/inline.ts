import { type Arg, arg } from '../addon/native/call.js';

/** A transfer of more bytes, or of more runs, always takes too long to post on the JavaScript thread. */
export const MAX_INLINE_BYTES = 8 * 1024 * 1024;
export const MAX_INLINE_RUNS = 16;

/** Posts take at most about this long in one turn of the event loop, so that timers and input are not delayed. */
const MAX_TURN_NS = 1e6;
/**
 * After this time the promises of completed posts settle in the next turn. A caller that posts again as soon as it can
 * then lets the event loop go on, and its posts need not go to the agent's thread for that.
 */
const YIELD_NS = 0.75 * MAX_TURN_NS;
/** A post that took longer did not complete at once, or copied much. */
const SHORT_NS = 10_000;
/** A post that is still in flight has taken at most about this long. */
const IN_FLIGHT_NS = 60_000;

const LOOK = arg('looks', 1);
const NO_LOOK = arg('looks', 0);

let turnNs = 0;
let isBurst = false;
let turnEnd: { readonly promise: Promise<void>; readonly resolve: () => void } | undefined;

const endTurn = (): void => {
  turnNs = 0;
  turnEnd?.resolve();
  turnEnd = undefined;
};
const endBurst = (): void => {
  isBurst = false;
};

/** Whether this turn of the event loop has time for another post. */
export function hasInlineTime(): boolean {
  return turnNs < MAX_TURN_NS;
}

/**
 * Whether the native side may look for the end of a post that does not complete at once. It must not if the caller
 * posts several transfers without waiting: they shall be in flight together.
 */
export function looks(): Arg<'looks'> {
  return isBurst ? NO_LOOK : LOOK;
}

/** Counts the time of a post: nanoseconds, or undefined if it is still in flight. */
export function countInline(nanoseconds = IN_FLIGHT_NS): void {
  // Referenced: otherwise the event loop may sleep first, and the next event has the time of this turn.
  if (turnNs === 0) setImmediate(endTurn);
  turnNs += nanoseconds;
  if (nanoseconds <= SHORT_NS || isBurst) return;
  isBurst = true;
  // Runs before a caller that waits for the post continues.
  queueMicrotask(endBurst);
}

/** The result of a post that has completed and was counted. */
export function completed<Result>(result: Result): Promise<Result> {
  if (turnNs < YIELD_NS) return Promise.resolve(result);
  if (turnEnd === undefined) {
    let resolve = (): void => {};
    const promise = new Promise<void>((end) => {
      resolve = end;
    });
    turnEnd = { promise, resolve };
  }
  return turnEnd.promise.then(() => result);
}
