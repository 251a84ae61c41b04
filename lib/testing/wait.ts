import { inspect } from 'node:util';
import { checkFunction, checkInteger, MAX_TIMEOUT_MS } from '../check.js';

const INTERVAL_MS = 20;
const TIMEOUT_MS = 30_000;

const shown = (state: unknown): string =>
  inspect(state, { depth: 5, breakLength: 120, maxArrayLength: 40, maxStringLength: 4000 });

/**
 * Waits for a state, and returns the first that is `done`. The error at the deadline has the last observed state, also
 * if `observe` has not settled by then.
 *
 * @param what the state in words, for the error
 * @param observe looks at the state, every 20 ms
 * @param done whether this is the state. @default whether it is truthy
 * @param timeoutMs @default 30000
 * @throws Error after `timeoutMs`, and what `observe` throws; TypeError, RangeError for a wrong argument
 *
 * @example
 * import { RecordedRequests, waitFor } from 'dynamo-node/testing';
 *
 * const requests = new RecordedRequests();
 * await waitFor('two requests', () => requests.all.length, (count) => count === 2);
 */
export async function waitFor<T>(
  what: string,
  observe: () => T | Promise<T>,
  done: (state: T) => boolean = Boolean,
  timeoutMs = TIMEOUT_MS,
): Promise<T> {
  checkFunction('waitFor observe', observe);
  checkFunction('waitFor done', done);
  checkTimeout('waitFor timeoutMs', timeoutMs);
  const deadline = performance.now() + timeoutMs;
  let last: unknown = 'not known';
  for (;;) {
    const observed = observe();
    const leftMs = Math.max(1, Math.ceil(deadline - performance.now()));
    const state =
      observed instanceof Promise ? await settled(leftMs, observed, () => late(what, timeoutMs, last)) : observed;
    if (done(state)) return state;
    if (performance.now() >= deadline) throw late(what, timeoutMs, state);
    last = state;
    await new Promise((resolve) => setTimeout(resolve, INTERVAL_MS));
  }
}

const checkTimeout = (path: string, timeoutMs: unknown): void => checkInteger(path, timeoutMs, 0, MAX_TIMEOUT_MS);

const late = (what: string, timeoutMs: number, state: unknown): Error =>
  new Error(`${what}: not so within ${timeoutMs} ms; the state is ${shown(state)}`);

/** Settles like `promise`, or rejects with an error after a time. */
async function settled<T>(timeoutMs: number, promise: Promise<T>, error: () => Error): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const expired = new Promise<never>((_, reject) => {
    // After a pause of this process its timers fire first, and then the promises settle.
    timer = setTimeout(() => setImmediate(() => setImmediate(() => reject(error()))), timeoutMs);
  });
  try {
    return await Promise.race([promise, expired]);
  } finally {
    clearTimeout(timer);
  }
}

const STILL_LOOKS = 50;

/**
 * Waits until a count has grown and then stopped, as that of a producer under back-pressure does, and returns it. It
 * counts observations instead of time, because a pause of this process also pauses its producer.
 *
 * @throws Error after `timeoutMs` with the count
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

/**
 * Settles like `promise`. The error at the deadline has the current `state`.
 *
 * @throws Error after `timeoutMs`, and what `promise` rejects with; TypeError, RangeError for a wrong time
 */
export async function within<T>(
  timeoutMs: number,
  what: string,
  promise: Promise<T>,
  state: () => unknown = () => 'not known',
): Promise<T> {
  checkTimeout('within timeoutMs', timeoutMs);
  return settled(timeoutMs, promise, () => late(what, timeoutMs, state()));
}

/** What a frontend answers about its models, as it is: also the text of an error. */
async function modelsOf(url: string): Promise<readonly string[] | string> {
  try {
    const response = await fetch(`${url}/v1/models`);
    const text = await response.text();
    if (!response.ok) return `${response.status} ${text}`;
    return (JSON.parse(text) as { readonly data: readonly { readonly id: string }[] }).data.map(({ id }) => id);
  } catch (error) {
    return String(error);
  }
}

/**
 * Waits until a frontend lists a model, and returns the names of all its models.
 *
 * @param url the address of the frontend, such as `http://127.0.0.1:8000`
 * @param name the model. @default any
 * @param timeoutMs @default 30000
 * @throws Error after `timeoutMs`, with what the frontend answered last
 */
export async function waitForModel(url: string, name?: string, timeoutMs = TIMEOUT_MS): Promise<readonly string[]> {
  const models = await waitFor(
    `${url} lists ${name ?? 'a model'}`,
    () => modelsOf(url),
    (found) => typeof found !== 'string' && (name === undefined ? found.length > 0 : found.includes(name)),
    timeoutMs,
  );
  return models as readonly string[];
}
