/** A tick that is nearer than this share of the interval is left out: it is the one that was just handled. */
const NEAREST_SHARE = 0.1;

/**
 * The time until the next tick of an interval, in milliseconds. The ticks of an interval are the same for all timers of
 * this process: sources that are read in one turn of the event loop cost less than each in its own.
 *
 * @param shiftMs how long after the others this timer has its tick
 */
export function msToTick(intervalMs: number, shiftMs = 0, nowMs = performance.now()): number {
  const delay = intervalMs - ((nowMs - shiftMs) % intervalMs);
  return delay < intervalMs * NEAREST_SHARE ? delay + intervalMs : delay;
}
