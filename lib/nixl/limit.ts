import type { InvokeOptions } from '../addon/invoke.js';
import { checkInteger, checkOptions, checkSignal } from '../check.js';
import { NixlError } from '../errors.js';

/** How long to wait for something. */
export interface WaitLimit {
  /** Rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Rejects with `DYN_DEADLINE_EXCEEDED` after so many milliseconds. @default no limit */
  readonly timeoutMs?: number;
}

/** The names of a limit, for the lists of known options. */
export const LIMIT = ['signal', 'timeoutMs'] as const;

/** Checks a limit and gives it as the options of a native call. */
export function limited(operation: string, { signal, timeoutMs }: WaitLimit): InvokeOptions {
  if (signal !== undefined) checkSignal(`${operation} options.signal`, signal);
  if (timeoutMs === undefined) return { signal };
  checkInteger(`${operation} options.timeoutMs`, timeoutMs, 1, 2 ** 31 - 1);
  const error = (): Error =>
    new NixlError('DeadlineExceeded', `${operation}: not over within ${timeoutMs} ms`, {
      reason: 'nixl.deadline',
      operation,
    });
  return { signal, deadline: { ms: timeoutMs, error } };
}

/** As `limited`, where a limit is all that the options have. */
export function onlyLimited(operation: string, options: WaitLimit): InvokeOptions {
  checkOptions(`${operation} options`, options, LIMIT);
  return limited(operation, options);
}

/** Work that somebody may wait for, or nobody: its failure is theirs. */
export function kept<T>(work: Promise<T>): Promise<T> {
  work.catch(() => {});
  return work;
}

/**
 * Waits for work no longer than a limit allows. The work itself goes on: it may need its memory until it is over, and what
 * it gives then is handed to `undo`.
 */
export function waited<T>(
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
    const giveUp = (reason: unknown): void => {
      end();
      reject(reason);
    };
    const onAbort = (): void => giveUp(signal?.reason);
    const timer = deadline === undefined ? undefined : setTimeout(() => giveUp(deadline.error()), deadline.ms);
    signal?.addEventListener('abort', onAbort, { once: true });
    const done = async (value: T): Promise<void> => {
      if (isOver) return void (await undo(value));
      end();
      resolve(value);
    };
    // What goes wrong behind the limit has nobody to hear of it.
    begin().then(done).catch(giveUp);
  });
}
