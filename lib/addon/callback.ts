import { isThenable } from '../check.js';
import { shown } from '../errors.js';

/** The words of a thrown value. Never throws, even if reading the value throws. */
export function reasonOf(error: unknown): string {
  try {
    return error instanceof Error ? String(error.message) : shown(error);
  } catch {
    return 'a value that cannot be read';
  }
}

/**
 * Wraps a function of the user that returns nothing, so that it never throws: no caller could catch its error, and the
 * error must not end the process. Its first error, or rejection, is reported as a warning `DYN_CALLBACK_FAILED`.
 */
export function guarded<Args extends readonly unknown[]>(
  what: string,
  callback: (...args: Args) => unknown,
): (...args: Args) => void {
  let hasFailed = false;
  const failed = (error: unknown): void => {
    if (hasFailed) return;
    hasFailed = true;
    process.emitWarning(`${what} threw: ${reasonOf(error)}; further errors are not reported`, {
      code: 'DYN_CALLBACK_FAILED',
    });
  };
  return (...args) => {
    try {
      const result = callback(...args);
      if (isThenable(result)) result.then(undefined, failed);
    } catch (error) {
      failed(error);
    }
  };
}
