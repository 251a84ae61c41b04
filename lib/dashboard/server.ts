import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type DashboardBackend, type LogPart, SCALE_REQUEST, TRACE_REQUEST } from './backend.js';
import { streamLogs } from './log-stream.js';
import { checkSite, RequestError, readJson, TokenCheck } from './request-guard.js';
import type { DashboardSnapshot } from './view.js';
import { eventText, Viewers } from './viewers.js';

/** A file of the page. */
export interface StaticFile {
  /** Its content type. */
  readonly type: string;
  readonly body: Buffer;
}

/** What a server needs. */
export interface DashboardServerOptions {
  readonly backend: DashboardBackend;
  /** By the path of their URL. No other path reaches a file. */
  readonly files: ReadonlyMap<string, StaticFile>;
  /** For actions and logs. */
  readonly token: string;
  /** A loopback address. */
  readonly host: string;
  /** 0 for any free one. */
  readonly port: number;
}

const HEADERS = {
  'content-security-policy': [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
  ].join('; '),
  'cache-control': 'no-store',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
} as const;

const JSON_TYPE = 'application/json; charset=utf-8';
const MAX_CONNECTIONS = 256;
const MAX_TAIL = 5000;
const DEFAULT_TAIL = 200;
const REQUEST_TIMEOUT_MS = 10_000;
const FLUSH_MS = 500;

interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly query: URLSearchParams;
}

interface Route {
  readonly needsToken: boolean;
  readonly answer: (exchange: Exchange) => Promise<void> | void;
}

/** By the exit code that the error has for commands: wrong words, faulty data, what is not there. */
const STATUSES: Readonly<Record<number, number>> = { 64: 400, 65: 400, 69: 409 };

/** The failure of an action as an answer. Errors of a deployment have their own code and hint. */
function failureOf(error: unknown): RequestError {
  if (error instanceof RequestError) return error;
  const { code, message, hint, exitCode } = error as Readonly<Record<string, unknown>>;
  const isArgument = error instanceof TypeError || error instanceof RangeError;
  return new RequestError(
    isArgument ? 400 : (STATUSES[Number(exitCode)] ?? 502),
    isArgument ? 'E_BODY' : typeof code === 'string' ? code : 'E_FAILED',
    typeof message === 'string' ? message : String(error),
    typeof hint === 'string' ? hint : undefined,
  );
}

function sendJson(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { 'content-type': JSON_TYPE }).end(JSON.stringify(value));
}

function tailOf(query: URLSearchParams): number {
  const text = query.get('tail') ?? String(DEFAULT_TAIL);
  const tail = Number(text);
  if (!/^\d{1,4}$/.test(text) || tail > MAX_TAIL)
    throw new RequestError(400, 'E_QUERY', `tail: expected an integer from 0 to ${MAX_TAIL}`);
  return tail;
}

/** Serves the page, the snapshots and the actions to browsers of this machine. */
export class DashboardServer {
  readonly #options: DashboardServerOptions;
  readonly #server: Server;
  readonly #token: TokenCheck;
  readonly #viewers: Viewers;
  readonly #ending = new AbortController();
  #last = '';

  private constructor(options: DashboardServerOptions) {
    this.#options = options;
    this.#token = new TokenCheck(options.token);
    this.#viewers = new Viewers(() => eventText('history', JSON.stringify(options.backend.history())));
    this.#server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS }, (request, response) => {
      this.#answer(request, response).catch((error: unknown) => this.#refuse(request, response, error));
    });
    this.#server.maxConnections = MAX_CONNECTIONS;
  }

  /** @throws Error with the code of the system, such as `EADDRINUSE` */
  static async listen(options: DashboardServerOptions): Promise<DashboardServer> {
    const server = new DashboardServer(options);
    await new Promise<void>((resolve, reject) => {
      server.#server.once('error', reject).listen(options.port, options.host, resolve);
    });
    return server;
  }

  /** Without the token. */
  get url(): string {
    const { address, port, family } = this.#server.address() as AddressInfo;
    return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}/`;
  }

  get viewerCount(): number {
    return this.#viewers.size;
  }

  /** What is buffered for all viewers. */
  get bufferedBytes(): number {
    return this.#viewers.bufferedBytes;
  }

  /** Sends a snapshot to all viewers. */
  send(snapshot: DashboardSnapshot): void {
    if (this.#viewers.size === 0) {
      this.#last = '';
      return;
    }
    this.#last = eventText('snapshot', JSON.stringify(snapshot));
    this.#viewers.send(this.#last);
  }

  /** Ends all streams and closes the server. Idempotent. */
  async close(): Promise<void> {
    this.#ending.abort();
    this.#viewers.close();
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeIdleConnections();
    const timer = setTimeout(() => this.#server.closeAllConnections(), FLUSH_MS);
    await closed;
    clearTimeout(timer);
  }

  readonly #routes: Readonly<Record<string, Route>> = {
    'GET /api/snapshot': {
      needsToken: false,
      answer: ({ response }) => {
        const { backend } = this.#options;
        sendJson(response, 200, { snapshot: backend.snapshot(), history: backend.history() });
      },
    },
    'GET /api/events': { needsToken: false, answer: ({ response }) => this.#follow(response) },
    'GET /api/token': { needsToken: true, answer: ({ response }) => sendJson(response, 200, {}) },
    'GET /api/logs': { needsToken: true, answer: (exchange) => this.#logs(exchange) },
    'POST /api/scale': {
      needsToken: true,
      answer: async ({ request, response }) => {
        const body = await readJson(request);
        SCALE_REQUEST.check('body', body);
        const outcome = await this.#options.backend.scale(body);
        sendJson(response, outcome === 'done' ? 200 : 202, { outcome });
      },
    },
    'POST /api/trace': {
      needsToken: true,
      answer: async ({ request, response }) => {
        const body = await readJson(request);
        TRACE_REQUEST.check('body', body);
        sendJson(response, 200, await this.#options.backend.trace(body));
      },
    },
  };

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
    checkSite(request);
    const { pathname, searchParams: query } = new URL(request.url ?? '/', 'http://localhost');
    const { method = 'GET' } = request;
    const file = this.#options.files.get(pathname);
    if (file !== undefined && (method === 'GET' || method === 'HEAD')) {
      response.writeHead(200, { 'content-type': file.type, 'content-length': file.body.length });
      response.end(method === 'HEAD' ? undefined : file.body);
      return;
    }
    const route = Object.hasOwn(this.#routes, `${method} ${pathname}`)
      ? this.#routes[`${method} ${pathname}`]
      : undefined;
    if (route === undefined) throw this.#unknown(pathname);
    if (route.needsToken) this.#token.check(request);
    await route.answer({ request, response, query });
  }

  #unknown(pathname: string): RequestError {
    const isKnown =
      this.#options.files.has(pathname) || Object.keys(this.#routes).some((key) => key.endsWith(` ${pathname}`));
    return isKnown
      ? new RequestError(405, 'E_METHOD', 'this path does not take this method')
      : new RequestError(404, 'E_PATH', 'there is nothing at this path');
  }

  #follow(response: ServerResponse): void {
    if (this.#viewers.isFull || this.#ending.signal.aborted)
      throw new RequestError(503, 'E_VIEWERS', 'there are too many viewers, or the server ends');
    response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
    if (this.#last === '') this.#last = eventText('snapshot', JSON.stringify(this.#options.backend.snapshot()));
    this.#viewers.add(response, this.#last);
  }

  async #logs({ response, query }: Exchange): Promise<void> {
    const source = this.#options.backend.logs(query.get('instance') ?? '', tailOf(query));
    if (source === undefined) throw new RequestError(404, 'E_NO_LOG', 'this instance has no output here');
    if (query.get('follow') === '1') return streamLogs(source, response, this.#ending.signal);
    const { lines }: LogPart = await source.read();
    sendJson(response, 200, { lines });
  }

  #refuse(request: IncomingMessage, response: ServerResponse, error: unknown): void {
    if (response.headersSent) {
      response.destroy();
      return;
    }
    const { status, code, message, hint } = failureOf(error);
    // The rest of a body that was refused is not read.
    if (!request.complete) response.setHeader('connection', 'close');
    sendJson(response, status, { error: { code, message, hint } });
  }
}
