/** What a worker sends to the supervisor. */
export type FromWorker =
  | { readonly type: 'ready'; readonly url?: string | undefined }
  /** It is about to end. */
  | { readonly type: 'failed'; readonly message: string }
  /** The answer to `measure`. */
  | { readonly type: 'metrics'; readonly metrics: WorkerMetrics };

/** Figures of a worker since its start, summed over its endpoints. */
export interface WorkerMetrics {
  readonly requests: number;
  readonly requestsInFlight: number;
  /** Of a frontend: the tokens that it has sent. */
  readonly outputTokens: number;
  /** Of a frontend: the sum of the times to the first token, and the number of the requests that had one. */
  readonly firstTokenSeconds: number;
  readonly firstTokens: number;
}

/** What the supervisor sends to a worker. */
export type ToWorker =
  /** What the service depends on is ready. */
  | { readonly type: 'start' }
  | { readonly type: 'measure' }
  /**
   * Leave discovery, accept requests for another `lingerMs` until all callers know, complete those in flight, and end.
   * Requests that run longer than `timeoutMs` are aborted.
   */
  | { readonly type: 'drain'; readonly timeoutMs: number; readonly lingerMs: number };
