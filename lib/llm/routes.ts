import { pack, unpack } from '../addon/codec.js';
import type { InboxHandler, InboxRequest } from '../addon/inbox.js';
import { pump } from '../addon/pump.js';
import { checkFunction, checkObject } from '../check.js';
import { DynamoError, type ErrorClass, failureFrom, shown } from '../errors.js';
import { HTTP_STATUSES } from '../http-status.js';
import { type CancelKind, RequestCancelled } from '../runtime/context.js';

/** What a frontend can serve now. */
export interface FrontendState {
  /** It accepts requests: it has started and is not closing. */
  readonly ready: boolean;
  /** It is closing. */
  readonly draining: boolean;
  /** Names of the discovered models. */
  readonly models: readonly string[];
  /** Names of the models that have all required workers. */
  readonly readyModels: readonly string[];
}

/** The context of a request to a route. */
export interface RouteContext {
  /** Aborted when the client disconnects, with a `RequestCancelled` as the reason. */
  readonly signal: AbortSignal;
  readonly frontend: FrontendState;
}

/**
 * Answers `GET` on one path of a frontend, with the classes of `fetch`. A stream body is sent with back-pressure; its
 * reader is cancelled when the client disconnects. An error before the response becomes a status by its class
 * (`InvalidRequest` 400, `NotFound` 404, …). Any other error is internal: 500, without its message. An error during the
 * body closes the connection.
 *
 * @example
 * const route: FrontendRoute = (request, { frontend }) => Response.json({ models: frontend.readyModels });
 */
export type FrontendRoute = (request: Request, context: RouteContext) => Response | Promise<Response>;

/** Routes by path, without parameters and wildcards. Source: `dynamo-llm` `frontend_extension.rs`. */
export type FrontendRoutes = Readonly<Record<string, FrontendRoute>>;

export function checkRoutes(path: string, routes: unknown): asserts routes is FrontendRoutes {
  checkObject(path, routes);
  for (const [route, handler] of Object.entries(routes)) checkFunction(`${path}[${JSON.stringify(route)}]`, handler);
}

interface RouteRequest {
  readonly route: number;
  readonly url: string;
  readonly headers: [string, string][];
  readonly frontend: FrontendState;
}

/** An error response in the format of the frontend's own errors. */
function errorResponse(error: unknown): Response {
  const failure = failureFrom(error);
  const code = HTTP_STATUSES[failure.class as ErrorClass] ?? 500;
  const message = code === 500 ? 'Internal server error' : failure.message;
  return Response.json({ message, type: failure.class, code }, { status: code });
}

/** The request in the classes of `fetch`, which refuse some URLs and headers that HTTP allows. */
function requestFrom(url: string, headers: RouteRequest['headers'], signal: AbortSignal): Request {
  const host = headers.find(([name]) => name === 'host')?.[1] ?? '';
  const base = URL.canParse(`http://${host}`) ? `http://${host}` : 'http://localhost';
  try {
    return new Request(new URL(url, base), { headers, signal });
  } catch (cause) {
    throw new DynamoError('InvalidRequest', String((cause as Error).message), { reason: 'request.invalid', cause });
  }
}

interface Running {
  readonly abort: AbortController;
  reader?: ReadableStreamDefaultReader<unknown>;
}

/** Answers the requests to a frontend's custom routes. */
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
      const response = await this.#respond(unpack(payload) as RouteRequest, running.abort.signal);
      const head = pack({ status: response.status, headers: [...response.headers] });
      if (await sink.write(head)) await this.#send(response, running, sink);
    } catch (error) {
      sink.end(failureFrom(error));
    } finally {
      this.#running.delete(id);
    }
  }

  async #respond({ route, url, headers, frontend }: RouteRequest, signal: AbortSignal): Promise<Response> {
    try {
      const handler = this.#handlers[route] as FrontendRoute;
      const response = await handler(requestFrom(url, headers, signal), { signal, frontend });
      if (response instanceof Response) return response;
      throw new DynamoError('Internal', `route ${url}: expected a Response, got ${shown(response)}`);
    } catch (error) {
      return errorResponse(error);
    }
  }

  async #send({ body }: Response, running: Running, sink: InboxRequest['sink']): Promise<void> {
    if (body === null) return sink.end();
    const reader = (body as ReadableStream<unknown>).getReader();
    running.reader = reader;
    if (running.abort.signal.aborted) return void reader.cancel(running.abort.signal.reason).catch(() => {});
    const chunks: AsyncIterator<unknown> = {
      next: () => reader.read() as Promise<IteratorResult<unknown>>,
      return: async () => {
        await reader.cancel();
        return { done: true, value: undefined };
      },
    };
    const write = (chunk: unknown): boolean | Promise<boolean> => {
      if (!(chunk instanceof Uint8Array)) throw new TypeError('the body of a Response: expected chunks of Uint8Array');
      return sink.write(chunk);
    };
    if (await pump(chunks, write)) sink.end();
    else await reader.cancel();
  }

  lost(id: number, kind: Exclude<CancelKind, 'shutdown'>): void {
    const running = this.#running.get(id);
    if (running === undefined) return;
    const reason = new RequestCancelled(kind);
    running.abort.abort(reason);
    running.reader?.cancel(reason).catch(() => {});
  }

  /** Cancels all requests, after the frontend has ended. */
  end(): void {
    for (const id of [...this.#running.keys()]) this.lost(id, 'killed');
  }
}
