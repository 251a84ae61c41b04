import { DynamoError } from '../errors.js';

/** The attempts of one request. No attempt goes to an instance that has failed the request before. */
export class Attempts {
  /** The instances that have failed the request. */
  readonly failed: bigint[] = [];
  #left: number;
  #last: DynamoError | undefined;

  constructor(attempts: number) {
    this.#left = attempts - 1;
  }

  /** Returns if another attempt may follow the one that failed with `error`. Otherwise throws the request's error. */
  next(error: unknown): void {
    if (!DynamoError.is(error) || !error.retryable) throw error;
    // No instance besides those that have failed can be called.
    if (error.instanceId === undefined && this.#last !== undefined) throw this.#last;
    if (this.#left === 0) throw error;
    this.#left -= 1;
    if (error.instanceId === undefined) return;
    this.failed.push(error.instanceId);
    this.#last = error;
  }
}
