import { onAbort } from '../addon/aborts.js';
import type { InvokeOptions } from '../addon/invoke.js';
import { DynamoError } from '../errors.js';

/** Something that an abort or a timeout ends. */
export interface Failable {
  fail(error: unknown): void;
}

const NO_LIMITS: InvokeOptions = Object.freeze({});

export function deadlineError(operation: string, message: string): DynamoError {
  return new DynamoError('DeadlineExceeded', `${operation} ${message}`, {
    reason: 'request.deadline_exceeded',
    operation,
  });
}

function requestTimeout(operation: string, timeoutMs: number): DynamoError {
  return deadlineError(operation, `was not over within ${timeoutMs} ms`);
}

/** The limits of each attempt, when all attempts together have `timeoutMs`. */
export function attemptLimits(
  operation: string,
  signals: readonly AbortSignal[],
  timeoutMs: number | undefined,
): () => InvokeOptions {
  if (signals.length === 0 && timeoutMs === undefined) return () => NO_LIMITS;
  if (timeoutMs === undefined) return () => ({ signals });
  const end = performance.now() + timeoutMs;
  const error = (): Error => requestTimeout(operation, timeoutMs);
  return () => ({ signals, deadline: { ms: Math.max(0, end - performance.now()), error } });
}

/** Fails the target when a signal aborts or the time is over. Returns a function that removes the limits. */
export function failOnLimit(
  target: Failable,
  operation: string,
  signals: readonly AbortSignal[],
  timeoutMs: number | undefined,
): () => void {
  const aborted = signals.find((signal) => signal.aborted);
  if (aborted !== undefined) {
    target.fail(aborted.reason);
    return () => {};
  }
  if (signals.length === 0 && timeoutMs === undefined) return () => {};
  const forget = onAbort(signals, (reason) => target.fail(reason));
  const timer =
    timeoutMs === undefined
      ? undefined
      : setTimeout(() => target.fail(requestTimeout(operation, timeoutMs)), timeoutMs);
  return () => {
    clearTimeout(timer);
    forget();
  };
}
