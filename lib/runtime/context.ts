import { AsyncLocalStorage } from 'node:async_hooks';

/** Why a request's signal was aborted. */
export type CancelKind =
  /** The caller requested a stop. It receives no further items. */
  | 'stopped'
  /** The caller is gone: it left its loop, was aborted, or its process ended. */
  | 'killed'
  /** This endpoint is closing, and the time to finish is over. */
  | 'shutdown';

/** The abort reason of a request's signal. */
export class RequestCancelled extends Error {
  override readonly name = 'AbortError';
  readonly code = 'ABORT_ERR';

  constructor(readonly kind: CancelKind) {
    super(`the request was ${kind === 'shutdown' ? 'cut off by shutdown' : kind}`);
  }
}

/** The context of a request, beside the request itself. */
export interface RequestContext {
  /**
   * The request's id. The first caller chooses it, and child requests inherit it. Children that call the same endpoint
   * at the same time have a suffix each, except the first.
   */
  readonly id: string;
  /** Strings that travel with the request and with its child requests. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Aborted when no caller waits for the answer any longer. Its reason is a {@link RequestCancelled}. */
  readonly signal: AbortSignal;
  /** W3C trace context of the request, or undefined. */
  readonly traceparent: string | undefined;
  readonly tracestate: string | undefined;
}

const storage = new AsyncLocalStorage<RequestContext>();

/** The request that the current code serves, or undefined outside of a handler. */
export function currentRequest(): RequestContext | undefined {
  return storage.getStore();
}

export function runInContext<T>(context: RequestContext, body: () => T): T {
  return storage.run(context, body);
}

export class ServedContext implements RequestContext {
  /** Created on first use: most handlers never read their signal. */
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
