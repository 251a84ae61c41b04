import { checkInteger, checkSignal } from '../addon/check.js';
import type { InvokeOptions } from '../addon/invoke.js';
import { NixlError } from '../errors.js';

/** How long to wait for something. */
export interface WaitLimit {
  /** Rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Rejects with `DYN_DEADLINE_EXCEEDED` after so many milliseconds. @default no limit */
  readonly timeoutMs?: number;
}

/** Checks a limit and gives it as the options of a native call. */
export function limited(operation: string, { signal, timeoutMs }: WaitLimit): InvokeOptions {
  if (signal !== undefined) checkSignal(`${operation} options.signal`, signal);
  if (timeoutMs === undefined) return { signal };
  checkInteger(`${operation} options.timeoutMs`, timeoutMs, 1, 2 ** 31 - 1);
  const error = (): Error =>
    new NixlError('DeadlineExceeded', `${operation}: not over within ${timeoutMs} ms`, { reason: 'nixl.deadline', operation });
  return { signal, deadline: { ms: timeoutMs, error } };
}
