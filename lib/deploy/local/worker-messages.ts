import type { ServedPhases } from '../../llm/served-requests.js';

/** What a worker sends to the supervisor. */
export type FromWorker =
  | { readonly type: 'ready'; readonly url?: string | undefined; readonly instanceId?: string | undefined }
  /** It is about to end. */
  | { readonly type: 'failed'; readonly message: string }
  /** The answer to `measure`. */
  | { readonly type: 'metrics'; readonly metrics: WorkerMetrics }
  /** The answer to `recall`; without phases if it does not know the request. */
  | { readonly type: 'recalled'; readonly requestId: string; readonly phases?: ServedPhases | undefined };

/** What the engine of a worker did for a request. */
export interface RecalledPhases extends ServedPhases {
  readonly service: string;
  readonly number: number;
}

/** Figures of a worker since its start, summed over its endpoints. */
export interface WorkerMetrics {
  readonly requests: number;
  readonly requestsInFlight: number;
  /** Of a frontend: the tokens that it has sent. */
  readonly outputTokens: number;
  /** Of a frontend: the sum of the times to the first token, and the number of the requests that had one. */
  readonly firstTokenSeconds: number;
  readonly firstTokens: number;
  /** Of an engine that reports its load: blocks of its KV cache, 0 if they are not known. */
  readonly kvTotalBlocks: number;
  /** Of an engine that reports its load: the share of the blocks that is used, 0 to 1, and of tokens found cached. */
  readonly kvUsage?: number;
  readonly kvHitRate?: number;
  /** Of a decode worker: reads of KV blocks that have succeeded and failed, their bytes and their time. */
  readonly transfers: number;
  readonly transferFailures: number;
  readonly transferBytes: number;
  readonly transferSeconds: number;
}

/** What the supervisor sends to a worker. */
export type ToWorker =
  /** What the service depends on is ready. */
  | { readonly type: 'start' }
  | { readonly type: 'measure' }
  /** What did its engine do for this request? */
  | { readonly type: 'recall'; readonly requestId: string }
  /**
   * Leave discovery, accept requests for another `lingerMs` until all callers know, complete those in flight, and end.
   * Requests that run longer than `timeoutMs` are aborted.
   */
  | { readonly type: 'drain'; readonly timeoutMs: number; readonly lingerMs: number };
