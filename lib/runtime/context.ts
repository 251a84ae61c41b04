import { AsyncLocalStorage } from 'node:async_hooks';

/** Why a request's signal was aborted. */
export type CancelKind =
  /** The caller asked to stop; nothing more reaches it. */
  | 'stopped'
  /** The caller is gone: it left its loop, was aborted, or died. */
  | 'killed'
  /** This endpoint is closing and the time to finish is over. */
  | 'shutdown';

/** The reason of a request's aborted signal. */
export class RequestCancelled extends Error {
  override readonly name = 'AbortError';
  readonly code = 'ABORT_ERR';

  constructor(readonly kind: CancelKind) {
    super(`the request was ${kind === 'shutdown' ? 'cut off by shutdown' : kind}`);
  }
}

/** What a handler knows of its request beside the request itself. */
export interface RequestContext {
  /** The request's id, chosen by the first caller and passed on to child requests. */
  readonly id: string;
  /** Strings that travel with the request and with its child requests. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Aborted when nobody waits for the answer any more; its reason is a {@link RequestCancelled}. */
  readonly signal: AbortSignal;
  /** W3C trace context that came with the request, or undefined. */
  readonly traceparent: string | undefined;
  readonly tracestate: string | undefined;
}

/** Metadata keys of the W3C trace context. */
export const TRACE_KEYS = ['traceparent', 'tracestate'] as const;

const storage = new AsyncLocalStorage<RequestContext>();

/** The request that the running code serves, or undefined outside of a handler. */
export function currentRequest(): RequestContext | undefined {
  return storage.getStore();
}

export function runInContext<T>(context: RequestContext, body: () => T): T {
  return storage.run(context, body);
}

export class ServedContext implements RequestContext {
  /** Made when it is asked for: most handlers never look at their signal. */
  #controller: AbortController | undefined;

  constructor(
    readonly id: string,
    readonly metadata: Readonly<Record<string, string>>,
  ) {}

  get #abort(): AbortController {
    return (this.#controller ??= new AbortController());
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  get traceparent(): string | undefined {
    return this.metadata['traceparent'];
  }

  get tracestate(): string | undefined {
    return this.metadata['tracestate'];
  }

  cancel(kind: CancelKind): void {
    if (!this.#abort.signal.aborted) this.#abort.abort(new RequestCancelled(kind));
  }
}
