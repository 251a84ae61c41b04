import { inspect } from 'node:util';

const INTERVAL_MS = 20;

const shown = (state: unknown): string =>
  inspect(state, { depth: 5, breakLength: 120, maxArrayLength: 40, maxStringLength: 4000 });

/** The first state that is `done`. At the deadline it fails with the last observed state. */
export async function waitFor<T>(
  what: string,
  observe: () => T | Promise<T>,
  done: (state: T) => boolean = Boolean,
  timeoutMs = 30_000,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const state = await observe();
    if (done(state)) return state;
    if (performance.now() >= deadline)
      throw new Error(`${what}: not so within ${timeoutMs} ms; the state is ${shown(state)}`);
    await new Promise((resolve) => setTimeout(resolve, INTERVAL_MS));
  }
}

const STILL_LOOKS = 50;

/**
 * The count of a producer that has started and then stopped, as one under back-pressure does. It counts observations
 * instead of time, because a pause of this process also pauses its producer.
 */
export async function waitForPause(
  what: string,
  count: () => number | Promise<number>,
  timeoutMs?: number,
): Promise<number> {
  let [last, still] = [await count(), 0];
  const observe = async (): Promise<{ count: number; still: number }> => {
    const now = await count();
    [last, still] = [now, now === last ? still + 1 : 0];
    return { count: now, still };
  };
  return (await waitFor(what, observe, (state) => state.count > 0 && state.still >= STILL_LOOKS, timeoutMs)).count;
}

/** The minimum of up to three measurements. One below `max` is enough, because a loaded machine may delay any one. */
export async function lowest(max: number, measure: () => Promise<number>): Promise<number> {
  let found = Number.POSITIVE_INFINITY;
  for (let tries = 0; tries < 3 && found >= max; tries++) found = Math.min(found, await measure());
  return found;
}

/** Settles like `promise`, or at the deadline fails with the current state. */
export async function within<T>(
  timeoutMs: number,
  what: string,
  promise: Promise<T>,
  state: () => unknown = () => 'not known',
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const fail = (): void =>
      reject(new Error(`${what}: not so within ${timeoutMs} ms; the state is ${shown(state())}`));
    // After a pause of this process its timers fire first, and then the promises settle.
    timer = setTimeout(() => setImmediate(() => setImmediate(fail)), timeoutMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
