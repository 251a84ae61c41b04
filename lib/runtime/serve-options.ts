import { anything, boolean, callback, integer, type OptionTable, optionTable, stringMap } from '../options.js';

/** How an endpoint is served. */
export interface ServeOptions<Request = never> {
  /**
   * Reads each request, or each item of a request that is a stream, such as the `parse` of a schema. The handler gets
   * the returned value. If it throws, the caller gets `DYN_INVALID_REQUEST`. It must be synchronous.
   * @default the request as received
   */
  readonly parse?: (request: unknown) => Request;
  /** The maximum number of concurrent requests. Others wait. @default 1024 */
  readonly concurrency?: number;
  /**
   * The maximum number of requests that wait. A further one fails with `DYN_CAPACITY_EXHAUSTED`, which another instance
   * may accept. The metric `queue_rejected_total` counts them. @default 1024
   */
  readonly maxQueued?: number;
  /** The maximum size of the requests that wait, together. @default 67108864 */
  readonly maxQueuedBytes?: number;
  /** Labels added to the endpoint's own metrics. */
  readonly metricsLabels?: Readonly<Record<string, string>>;
  /** A request that the canary sends to probe the endpoint; see `RuntimeOptions.canary`. */
  readonly healthCheck?: unknown;
  /** Whether `runtime.close()` waits for requests in flight. @default true */
  readonly gracefulShutdown?: boolean;
  /** Unread bytes of a response after which its handler waits. @default 1048576 */
  readonly highWaterBytes?: number;
  /** The maximum size of a yielded item, packed. @default the transport's limit */
  readonly maxItemBytes?: number;
}

/** @internal */
export const SERVE_OPTIONS: OptionTable<ServeOptions<unknown>> = optionTable<ServeOptions<unknown>>({
  parse: callback<(request: unknown) => unknown>().about('Reads each request before the handler gets it.'),
  concurrency: integer(1).about('The maximum number of concurrent requests.'),
  maxQueued: integer(0).about('The maximum number of requests that wait.'),
  maxQueuedBytes: integer(0).about('The maximum size of the requests that wait, together.'),
  metricsLabels: stringMap.about("Labels added to the endpoint's own metrics."),
  healthCheck: anything.about('A request that the canary sends to probe the endpoint.'),
  gracefulShutdown: boolean.about('Whether the close of the runtime waits for requests in flight.'),
  highWaterBytes: integer(1).about('Unread bytes of a response after which its handler waits.'),
  maxItemBytes: integer(1).about('The maximum size of a yielded item, packed.'),
});
