import { pack, unpack } from '../addon/codec.js';
import type { InboxHandler, InboxRequest } from '../addon/inbox.js';
import { checkFunction, checkObject } from '../check.js';
import { DynamoError, type ErrorClass, failureFrom } from '../errors.js';
import { type CancelKind, RequestCancelled } from '../runtime/context.js';

/** What a frontend can serve at the moment. */
export interface FrontendState {
  /** It takes requests: it has started and is not closing. */
  readonly ready: boolean;
  /** It is closing. */
  readonly draining: boolean;
  /** Names of the models that discovery lists. */
  readonly models: readonly string[];
  /** Those of them that have all the workers they need. */
  readonly readyModels: readonly string[];
}

/** What a route knows beside its request. */
export interface RouteContext {
  /** Aborted when the client is gone; its reason is a `RequestCancelled`. */
  readonly signal: AbortSignal;
  readonly frontend: FrontendState;
}

/**
 * Answers `GET` on one path of a frontend, with the classes of `fetch`. A body that is a stream is sent as it comes, and
 * held back where the client does not read; its reader is cancelled when the client is gone. What is thrown before the
 * response gives a status by its class (`NotFound` 404, a TypeError 400, …) and no more than the class's name for words
 * where it is internal; an error in mid-body breaks the connection off.
 *
 * @example
 * const route: FrontendRoute = (request, { frontend }) => Response.json({ models: frontend.readyModels });
 */
export type FrontendRoute = (request: Request, context: RouteContext) => Response | Promise<Response>;

/** Routes by their paths, which are fixed: no parameters and no wildcards. Source: `dynamo-llm` `frontend_extension.rs`. */
export type FrontendRoutes = Readonly<Record<string, FrontendRoute>>;

export function checkRoutes(path: string, routes: unknown): asserts routes is FrontendRoutes {
  checkObject(path, routes);
  for (const [route, handler] of Object.entries(routes)) checkFunction(`${path}[${JSON.stringify(route)}]`, handler);
}

interface Asked {
  readonly route: number;
  readonly url: string;
  readonly headers: [string, string][];
  readonly frontend: FrontendState;
}

const STATUSES: Partial<Record<ErrorClass, number>> = {
  InvalidRequest: 400,
  Unauthenticated: 401,
  PermissionDenied: 403,
  NotFound: 404,
  Conflict: 409,
  PayloadTooLarge: 413,
  UnsupportedMedia: 415,
  RateLimited: 429,
  NotImplemented: 501,
  BackendProtocol: 502,
  CapacityExhausted: 503,
  Unavailable: 503,
  DeadlineExceeded: 504,
};

/** As the frontend's own errors look. */
function errorResponse(error: unknown): Response {
  const failure = failureFrom(error);
  const code = STATUSES[failure.class as ErrorClass] ?? 500;
  const message = code === 500 ? 'Internal server error' : failure.message;
  return Response.json({ message, type: failure.class, code }, { status: code });
}

interface Running {
  readonly abort: AbortController;
  reader?: ReadableStreamDefaultReader<unknown>;
}

/** The requests to a frontend's own routes. */
export class RouteHost implements InboxHandler {
  readonly #handlers: readonly FrontendRoute[];
  readonly #running = new Map<number, Running>();

  constructor(routes: FrontendRoutes) {
    this.#handlers = Object.values(routes);
  }

  async request({ id, payload, sink }: InboxRequest): Promise<void> {
    const running: Running = { abort: new AbortController() };
    this.#running.set(id, running);
    try {
      const response = await this.#respond(unpack(payload) as Asked, running.abort.signal);
      const written = sink.write(pack({ status: response.status, headers: [...response.headers] }));
      if (written === true || (written !== false && (await written))) await this.#send(response, running, sink);
    } catch (error) {
      sink.end(failureFrom(error));
    } finally {
      this.#running.delete(id);
    }
  }

  async #respond({ route, url, headers, frontend }: Asked, signal: AbortSignal): Promise<Response> {
    try {
      const host = headers.find(([name]) => name === 'host')?.[1] ?? '';
      const base = URL.canParse(`http://${host}`) ? `http://${host}` : 'http://localhost';
      const handler = this.#handlers[route] as FrontendRoute;
      const response = await handler(new Request(new URL(url, base), { headers, signal }), { signal, frontend });
      if (response instanceof Response) return response;
      throw new DynamoError('Internal', `a route gave ${String(response)}: expected a Response`);
    } catch (error) {
      return errorResponse(error);
    }
  }

  async #send({ body }: Response, running: Running, sink: InboxRequest['sink']): Promise<void> {
    if (body === null) return sink.end();
    const reader = (body as ReadableStream<unknown>).getReader();
    running.reader = reader;
    if (running.abort.signal.aborted) return void reader.cancel(running.abort.signal.reason).catch(() => {});
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return sink.end();
      if (!(value instanceof Uint8Array)) throw new TypeError('the body of a Response: expected chunks of Uint8Array');
      const written = sink.write(value);
      if (written === true || (written !== false && (await written))) continue;
      await reader.cancel();
      return;
    }
  }

  lost(id: number, kind: Exclude<CancelKind, 'shutdown'>): void {
    const running = this.#running.get(id);
    if (running === undefined) return;
    const reason = new RequestCancelled(kind);
    running.abort.abort(reason);
    running.reader?.cancel(reason).catch(() => {});
  }
}
