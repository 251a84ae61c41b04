import { inspect } from 'node:util';

const INTERVAL_MS = 20;

const shown = (state: unknown): string => inspect(state, { depth: 5, breakLength: 120, maxArrayLength: 40, maxStringLength: 4000 });

/** The first state that is `done`. At the deadline it fails with the last state that was seen. */
export async function waitFor<T>(
  what: string,
  observe: () => T | Promise<T>,
  done: (state: T) => boolean = Boolean,
  timeoutMs = 10_000,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const state = await observe();
    if (done(state)) return state;
    if (performance.now() >= deadline) throw new Error(`${what}: not so within ${timeoutMs} ms; the state is ${shown(state)}`);
    await new Promise((resolve) => setTimeout(resolve, INTERVAL_MS));
  }
}

const STILL_MS = 400;

/** The count of what has begun and then stood still, as a producer that is held back does. */
export async function waitForPause(what: string, count: () => number | Promise<number>, timeoutMs?: number): Promise<number> {
  let [last, since] = [await count(), performance.now()];
  const observe = async (): Promise<{ count: number; stillMs: number }> => {
    const now = await count();
    if (now !== last) [last, since] = [now, performance.now()];
    return { count: now, stillMs: performance.now() - since };
  };
  return (await waitFor(what, observe, (state) => state.count > 0 && state.stillMs >= STILL_MS, timeoutMs)).count;
}

/** Settles as `promise` does, or at the deadline fails with the state of that moment. */
export async function within<T>(
  timeoutMs: number,
  what: string,
  promise: Promise<T>,
  state: () => unknown = () => 'not known',
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not so within ${timeoutMs} ms; the state is ${shown(state())}`)), timeoutMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
