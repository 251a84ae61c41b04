import type { InvokeOptions } from '../addon/invoke.js';
import { NixlError } from '../errors.js';
import { milliseconds, type OptionTable, optionTable, signal } from '../options.js';

/** How long a call waits. */
export interface WaitLimit {
  /** Rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Rejects with `DYN_DEADLINE_EXCEEDED` after this many milliseconds. @default no limit */
  readonly timeoutMs?: number;
}

/** The rows of a limit, for the tables of options that include one. */
export const LIMIT_ROWS = {
  signal: signal.about('Ends the wait.'),
  timeoutMs: milliseconds(1).about('Ends the wait after this time.'),
};

const LIMIT: OptionTable<WaitLimit> = optionTable<WaitLimit>(LIMIT_ROWS);

/** Converts a limit that is checked already to the options of a native call. */
export function invokeOptions(operation: string, { signal, timeoutMs }: WaitLimit): InvokeOptions {
  if (timeoutMs === undefined) return { signal };
  const error = (): Error =>
    new NixlError('DeadlineExceeded', `${operation}: did not complete within ${timeoutMs} ms`, {
      reason: 'nixl.deadline',
      operation,
    });
  return { signal, deadline: { ms: timeoutMs, error } };
}

/** Checks options that are only a limit, and converts them. */
export function checkedLimit(operation: string, options: WaitLimit): InvokeOptions {
  LIMIT.check(`${operation} options`, options);
  return invokeOptions(operation, options);
}

/**
 * Marks a failure as handled: the callers that await the promise still get it, and it is never reported as unhandled.
 */
export function handled<T>(work: Promise<T>): Promise<T> {
  work.catch(() => {});
  return work;
}

/**
 * Waits for work, at most as long as the limit. The work itself continues after the limit, because it may still use its
 * memory. A result that arrives after the limit is passed to `undo`.
 */
export function withinLimit<T>(
  { signal, deadline }: InvokeOptions,
  begin: () => Promise<T>,
  undo: (late: T) => unknown = () => {},
): Promise<T> {
  if (signal?.aborted === true) return Promise.reject(signal.reason);
  if (signal === undefined && deadline === undefined) return begin();
  return new Promise<T>((resolve, reject) => {
    let isOver = false;
    const end = (): void => {
      isOver = true;
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    };
    const fail = (reason: unknown): void => {
      end();
      reject(reason);
    };
    const onAbort = (): void => fail(signal?.reason);
    const timer = deadline === undefined ? undefined : setTimeout(() => fail(deadline.error()), deadline.ms);
    signal?.addEventListener('abort', onAbort, { once: true });
    const done = async (value: T): Promise<void> => {
      if (isOver) return void (await undo(value));
      end();
      resolve(value);
    };
    // A failure after the limit has no one to report to: the promise has settled.
    begin().then(done).catch(fail);
  });
}
