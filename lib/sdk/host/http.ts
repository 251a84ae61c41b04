import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

import { checkInteger } from '../../check.js';
import { DynamoError } from '../../errors.js';
import type { CloseOptions } from '../../runtime/close-options.js';
import { runInContext, ServedContext } from '../../runtime/context.js';
import type { EndpointDefinition } from '../endpoint-definition.js';
import type { Service } from '../service.js';
import type { Answer } from './answers.js';
import type { Probe } from './hooks.js';
import { HttpAnswer } from './http-answer.js';
import { readRequest } from './http-request.js';

const MAX_PORT = 65_535;
/** How long cancelled requests may send their errors. A handler that ignores its signal is not waited for. */
const FLUSH_MS = 100;
const DEFAULT_CONCURRENCY = 1024;

/** Where a server listens. */
export interface HttpAddress {
  readonly host: string;
  readonly port: number;
}

/**
 * Where a worker's HTTP server listens. `own` is the port that its host chose. Otherwise `DYNAMO_PORT` and
 * `DYNAMO_HOST` replace what its service says. Each worker has its own port: that of the service plus the number of the
 * worker.
 */
export function workerAddress<Host extends string | undefined>(
  service: string,
  { host, port }: { readonly host: Host; readonly port: number },
  worker: number,
  own?: number,
): { readonly host: Host | string; readonly port: number } {
  const { DYNAMO_PORT: portVariable = '', DYNAMO_HOST: hostVariable = '' } = process.env;
  const first = portVariable === '' ? port : Number(portVariable);
  const chosen = own ?? (first === 0 ? 0 : first + worker);
  checkInteger(`the HTTP port of service ${service}`, chosen, 0, MAX_PORT);
  return { host: hostVariable === '' ? host : hostVariable, port: chosen };
}

/** The address of the HTTP server of a service of code, undefined if it needs none. */
export function httpAddressOf(
  { name, httpPort, options }: Service,
  worker: number,
  own?: number,
): HttpAddress | undefined {
  if (httpPort === undefined) return undefined;
  return workerAddress(name, { host: options.httpHost ?? '127.0.0.1', port: httpPort }, worker, own);
}

/** An endpoint with its handler. */
export interface HttpRoute {
  readonly endpoint: EndpointDefinition;
  readonly answer: Answer;
}

/** What a server serves. */
export interface HttpParts {
  readonly routes: readonly HttpRoute[];
  /** By their path without the slash. */
  readonly probes: Readonly<Record<string, Probe>>;
  readonly maxBodyBytes: number;
}

/** Lets a number of requests run; others wait for their turn. */
class Slots {
  readonly #waiting: (() => void)[] = [];

  constructor(private free: number) {}

  take(): Promise<void> | undefined {
    if (this.free > 0) {
      this.free -= 1;
      return undefined;
    }
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  release(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.free += 1;
    else next();
  }
}

/** Ids that are safe in logs. */
const REQUEST_ID = /^[\w.:-]{1,128}$/;

const textOf = (value: string | readonly string[] | undefined): string => (typeof value === 'string' ? value : '');

/** The HTTP server of a service: its endpoints and its probes. */
export class HttpHost {
  readonly #routes = new Map<string, HttpRoute & { readonly slots: Slots }>();
  readonly #running = new Map<HttpAnswer, Promise<void>>();
  #isClosing = false;

  private constructor(
    private readonly server: Server,
    private readonly parts: HttpParts,
  ) {
    for (const route of parts.routes) {
      const { name, httpMethod, concurrency = DEFAULT_CONCURRENCY } = route.endpoint;
      this.#routes.set(`${httpMethod} /${name}`, { ...route, slots: new Slots(concurrency) });
    }
    server.on('request', (request, response) => void this.#request(request, response));
  }

  /** @throws DynamoError `DYN_CONFLICT` if the port is taken, the error of the system for another reason */
  static async listen({ host, port }: HttpAddress, parts: HttpParts): Promise<HttpHost> {
    const server = createServer();
    const http = new HttpHost(server, parts);
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error: NodeJS.ErrnoException) => {
        const isTaken = error.code === 'EADDRINUSE';
        reject(isTaken ? new DynamoError('Conflict', `port ${port} of ${host} is taken`, { cause: error }) : error);
      });
      server.listen(port, host, resolve);
    });
    return http;
  }

  get url(): string {
    const { address, port, family } = this.server.address() as AddressInfo;
    return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
  }

  async #request(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { headers } = request;
    const url = URL.canParse(request.url ?? '', 'http://localhost')
      ? new URL(request.url ?? '', 'http://localhost')
      : null;
    const given = textOf(headers['x-request-id']);
    const id = REQUEST_ID.test(given) ? given : randomUUID();
    const trace = ['traceparent', 'tracestate'].map((name) => [name, textOf(headers[name])] as const);
    const context = new ServedContext(id, Object.fromEntries(trace.filter(([, value]) => value !== '')));
    const answer = new HttpAnswer(`${request.method} ${url?.pathname}`, response, headers.accept ?? '', context);
    const closed = new Promise<void>((resolve) => response.once('close', resolve));
    response.once('close', () => {
      if (!response.writableFinished) answer.abandon('killed');
    });
    response.setHeader('x-request-id', id);
    if (this.#isClosing) response.setHeader('connection', 'close');

    const done = runInContext(context, () => this.#answer(request, url, answer, context)).catch((error: unknown) =>
      answer.fail(error),
    );
    this.#running.set(
      answer,
      Promise.all([done, closed]).then(() => {}),
    );
    await this.#running.get(answer);
    this.#running.delete(answer);
  }

  async #answer(request: IncomingMessage, url: URL | null, answer: HttpAnswer, context: ServedContext): Promise<void> {
    if (url === null) throw new DynamoError('InvalidRequest', 'the target of the request is no URL');
    const route = this.#routes.get(`${request.method} ${url.pathname}`);
    if (route === undefined) return this.#other(request, url, answer);
    if (this.#isClosing) throw new DynamoError('Unavailable', 'the service is shutting down');
    const { slots } = route;
    await slots.take();
    try {
      if (context.signal.aborted) return;
      const body = await readRequest(request, url, this.parts.maxBodyBytes);
      await answer.send(route.answer(body, context));
    } finally {
      slots.release();
    }
  }

  async #other({ method }: IncomingMessage, { pathname }: URL, answer: HttpAnswer): Promise<void> {
    const name = pathname.slice(1);
    const probe = method === 'GET' && Object.hasOwn(this.parts.probes, name) ? this.parts.probes[name] : undefined;
    if (probe !== undefined) {
      const isGood = !(this.#isClosing && pathname === '/readyz') && (await probe());
      return answer.json(isGood ? 200 : 503, JSON.stringify({ status: isGood ? 'ok' : 'failed' }));
    }
    const methods = [...this.#routes.values()].filter(({ endpoint }) => pathname === `/${endpoint.name}`);
    if (methods.length === 0)
      throw new DynamoError('NotFound', `no endpoint has the path ${pathname}`, { reason: 'request.not_found' });
    const allow = methods.map(({ endpoint }) => endpoint.httpMethod).join(', ');
    const message = `${pathname}: expected ${allow}, got ${method}`;
    const error = { code: 'DYN_INVALID_REQUEST', reason: 'request.invalid', message };
    answer.json(405, JSON.stringify({ error }), { allow });
  }

  /** Accepts no further connection, completes the requests in flight, and cancels them when the time is over. */
  async close({ timeoutMs }: CloseOptions): Promise<void> {
    this.#isClosing = true;
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    this.server.closeIdleConnections();
    const timers: NodeJS.Timeout[] = [];
    const cut = new Promise<void>((resolve) => {
      if (timeoutMs === undefined) return;
      const cancel = (): void => {
        for (const answer of this.#running.keys()) answer.abandon('shutdown');
        timers.push(setTimeout(resolve, FLUSH_MS));
      };
      timers.push(setTimeout(cancel, timeoutMs));
    });
    await Promise.race([Promise.all(this.#running.values()), cut]);
    timers.forEach(clearTimeout);
    this.server.closeAllConnections();
    await closed;
  }
}
