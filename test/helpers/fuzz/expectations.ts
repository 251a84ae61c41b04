import { DynamoError } from 'dynamo-node';

import { failureFrom } from '../../../lib/errors.js';

/** Whether an error is one that the package promises: typed, and never the trace of a bug of its own. */
export function isPromised(error: unknown): boolean {
  if (DynamoError.is(error)) return error.code !== 'DYN_INTERNAL';
  // An error of the checks is distinguished from the engine's own TypeError and RangeError.
  return (error instanceof TypeError || error instanceof RangeError) && failureFrom(error).class === 'InvalidRequest';
}

/** Calls code with arguments that may be wrong. Returns its result, or undefined after an error that is promised. */
export function attempt<T>(call: () => T): { readonly value: T } | undefined {
  try {
    return { value: call() };
  } catch (error) {
    if (!isPromised(error)) throw error;
    return undefined;
  }
}

/** Throws unless a rule of the code under test holds. */
export function must(rule: string, holds: boolean): void {
  if (!holds) throw new Error(`broken: ${rule}`);
}
