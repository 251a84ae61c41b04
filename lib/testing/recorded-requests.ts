import { checkFunction } from '../check.js';
import type { RequestContext } from '../runtime/context.js';
import { waitFor } from './wait.js';

/** A request that a handler or an engine received. */
export interface RecordedRequest<Request = unknown> {
  /** The id that all parts of the deployment have for it. */
  readonly id: string;
  readonly request: Request;
  readonly metadata: Readonly<Record<string, string>>;
  /** Aborted if its caller has cancelled it. */
  readonly signal: AbortSignal;
}

/** Requests in the order of their arrival. */
export class RecordedRequests<Request = unknown> {
  readonly #all: RecordedRequest<Request>[] = [];
  #taken = 0;

  /** @param what the receiver in words, for the errors of the functions that wait */
  constructor(readonly what = 'requests') {}

  /** Those since the start, or since `clear`. */
  get all(): readonly RecordedRequest<Request>[] {
    return this.#all;
  }

  /** Adds one. */
  record(request: Request, { id, metadata, signal }: RequestContext): void {
    this.#all.push({ id, request, metadata, signal });
  }

  /**
   * The next one that `next` has not returned before. Waits for it.
   *
   * @param timeoutMs @default 30000
   * @throws Error after `timeoutMs`, with the requests so far
   */
  async next(timeoutMs?: number): Promise<RecordedRequest<Request>> {
    // Taken before the wait: two calls at the same time get two requests.
    const index = this.#taken++;
    try {
      return (await this.count(index + 1, timeoutMs))[index] as RecordedRequest<Request>;
    } catch (error) {
      this.#taken = Math.max(0, this.#taken - 1);
      throw error;
    }
  }

  /**
   * Waits until there are that many, and returns all.
   *
   * @param timeoutMs @default 30000
   * @throws Error after `timeoutMs`, with the requests so far
   */
  count(count: number, timeoutMs?: number): Promise<readonly RecordedRequest<Request>[]> {
    return waitFor(
      `${this.what}: ${count} requests`,
      () => this.#all.map(({ id, request, metadata, signal }) => ({ id, request, metadata, signal })),
      (all) => all.length >= count,
      timeoutMs,
    );
  }

  /** Forgets all. */
  clear(): void {
    this.#all.length = 0;
    this.#taken = 0;
  }
}

/** A handler that records its requests. */
export type RecordedHandler<Handler, Request> = Handler & {
  readonly requests: RecordedRequests<Request>;
};

/**
 * Makes a handler of `endpoint.serve`, or the `generate` of an engine, record its requests.
 *
 * @throws TypeError for what is no function
 *
 * @example
 * import { recorded, testRuntime } from 'dynamo-node/testing';
 *
 * await using runtime = await testRuntime();
 * const echo = recorded(async function* (text: string) {
 *   yield text;
 * });
 * await runtime.endpoint<string, string>('test.echo.generate').serve(echo);
 * const { request } = await echo.requests.next();
 */
export function recorded<Request, Result>(
  handler: (request: Request, context: RequestContext) => Result,
): RecordedHandler<(request: Request, context: RequestContext) => Result, Request> {
  checkFunction('recorded handler', handler);
  const requests = new RecordedRequests<Request>(handler.name === '' ? undefined : handler.name);
  const recording = (request: Request, context: RequestContext): Result => {
    requests.record(request, context);
    return handler(request, context);
  };
  return Object.assign(recording, { requests });
}
