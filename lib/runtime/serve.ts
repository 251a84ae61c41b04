import { packItem, packValue, unpack } from '../addon/codec.js';
import { finish } from '../addon/finish.js';
import { Inbox, type InboxHandler, type InboxRequest } from '../addon/inbox.js';
import { invoke, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { type PulledItem, PullIterator, PullStream } from '../addon/stream.js';
import { turnOver } from '../addon/turn.js';
import { checkBoolean, checkClose, checkFunction, checkInteger, checkOptions, checkStringMap } from '../check.js';
import { DynamoError, failureFrom } from '../errors.js';
import { Annotated, dataOf } from './annotated.js';
import { type RequestCancelled, type RequestContext, runInContext, ServedContext } from './context.js';
import { type Instance, instanceFrom } from './instance.js';
import { checkSize, itemLimit, type SizeLimit } from './limits.js';

/** What a handler gives back: a stream of items, or one item. */
export type HandlerResult<Response> =
  | AsyncIterable<Response | Annotated<Response>>
  | Generator<Response | Annotated<Response>>
  | Response
  | Annotated<Response>
  | Promise<Response | Annotated<Response>>;

/**
 * Answers one request. A generator streams its items, a promise or a value is the only item. What it throws reaches the
 * caller as a `DynamoError`, before or after items alike. When the caller goes away `context.signal` is aborted and the
 * generator is returned.
 */
export type Handler<Request, Response> = (request: Request, context: RequestContext) => HandlerResult<Response>;

/** How an endpoint is served. */
export interface ServeOptions<Request = never> {
  /**
   * Reads each request, or each item of a request that is a stream, such as the `parse` of a schema. The handler gets what it
   * gives; what it throws is `DYN_INVALID_REQUEST` at the caller. @default the request as it came
   */
  readonly parse?: (request: unknown) => Request;
  /** Requests that run at a time; others wait. @default 1024 */
  readonly concurrency?: number;
  /** Labels added to the endpoint's own metrics. */
  readonly metricsLabels?: Readonly<Record<string, string>>;
  /** A request that the canary sends to see whether the endpoint answers; see `RuntimeOptions.canary`. */
  readonly healthCheck?: unknown;
  /** Whether `runtime.close()` lets requests in flight end. @default true */
  readonly gracefulShutdown?: boolean;
  /** Bytes that a response may hold unread before the handler is made to wait. @default 1048576 */
  readonly highWaterBytes?: number;
  /** The largest item a handler may yield, packed. @default the transport's limit */
  readonly maxItemBytes?: number;
}

const PATH = 'endpoint.serve options';
const KNOWN = [
  'parse',
  'concurrency',
  'metricsLabels',
  'healthCheck',
  'gracefulShutdown',
  'highWaterBytes',
  'maxItemBytes',
];

/** How long `ServedEndpoint.close` waits. */
export interface CloseOptions {
  /** How long requests in flight may still run before their signal is aborted with `shutdown`. @default no limit */
  readonly timeoutMs?: number;
}

/** What is served is served until its close, whether or not the program still holds the object: collecting it would unserve it. */
const served = new Set<ServedEndpoint>();

/** An endpoint that is served. Serving keeps the process alive until `close`. */
export class ServedEndpoint implements AsyncDisposable {
  readonly #handle: Handle;
  readonly #requests: Requests;
  readonly #inbox: Inbox;
  #closing: Promise<void> | undefined;

  /** @internal */
  constructor(
    readonly instance: Instance,
    handle: Handle,
    inbox: Handle,
    requests: Requests,
    concurrency: number,
  ) {
    this.#handle = handle;
    this.#requests = requests;
    this.#inbox = new Inbox(inbox, requests, { concurrency });
    served.add(this);
    // Collected, the handle would close an endpoint whose `ServedEndpoint` nobody keeps: the inbox keeps it until it ends.
    void this.#inbox.ended.then(() => this.#handle);
  }

  /** Requests running now. */
  get inFlight(): number {
    return this.#requests.running.size;
  }

  /** Leaves discovery, takes no more requests, lets those in flight end. Idempotent. */
  async close(options: CloseOptions = {}): Promise<void> {
    const timeoutMs = checkClose('served.close', options, 0);
    this.#closing ??= this.#close(timeoutMs);
    return this.#closing;
  }

  async #close(timeoutMs: number | undefined): Promise<void> {
    const timer = timeoutMs === undefined ? undefined : setTimeout(() => this.#requests.cancelAll(), timeoutMs);
    try {
      await invoke(native.servedClose, 'served.close', { handle: this.#handle });
      await this.#inbox.ended;
    } finally {
      clearTimeout(timer);
      served.delete(this);
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

interface Running {
  context: ServedContext;
  /** Ends the handler's generator, once there is one. */
  finish(): void;
  /** Wakes who waits for the news that the caller is lost. */
  told?: () => void;
}

const nothing = (): void => {};

type Call = (request: InboxRequest, context: ServedContext) => unknown;

/** The requests of one endpoint, from the inbox to their handler and back. */
class Requests implements InboxHandler {
  readonly running = new Map<number, Running>();

  constructor(
    private readonly call: Call,
    private readonly limit: SizeLimit,
  ) {}

  request(request: InboxRequest): Promise<void> {
    const context = new ServedContext(request.requestId, request.metadata);
    // All of it: a generator runs where its `next` is called.
    return runInContext(context, () => this.#answer(request, context));
  }

  async #answer(request: InboxRequest, context: ServedContext): Promise<void> {
    const running: Running = { context, finish: nothing };
    this.running.set(request.id, running);
    try {
      const result = this.call(request, context);
      if (isIterable(result)) await this.#stream(request, running, result);
      else {
        const value = isThenable(result) ? await result : result;
        const written = request.sink.write(this.#packed(value), value instanceof Annotated, true);
        if (typeof written !== 'boolean') await written;
      }
    } catch (error) {
      request.sink.end(failureFrom(error));
    } finally {
      this.running.delete(request.id);
    }
  }

  async #stream(
    request: InboxRequest,
    running: Running,
    items: AsyncIterable<unknown> | Iterable<unknown>,
  ): Promise<void> {
    const { sink } = request;
    const iterator = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
    running.finish = () => finish(iterator);
    for (;;) {
      const next = iterator.next();
      const { done, value } = next instanceof Promise ? await next : next;
      if (done === true) return sink.end();
      const written = sink.write(this.#packed(value), value instanceof Annotated);
      if (written === true || (written !== false && (await written))) {
        const over = turnOver();
        if (over !== undefined) await over;
        continue;
      }
      // Nobody reads any more. Why, is told behind it: the native side queues that news before it closes the sink.
      if (!running.context.signal.aborted) await new Promise<void>((resolve) => (running.told = resolve));
      running.finish();
      return;
    }
  }

  #packed(value: unknown): Uint8Array {
    const bytes = packItem(
      'endpoint.serve',
      'an item of the response',
      value instanceof Annotated ? value.wire() : value,
    );
    checkSize('endpoint.serve', 'an item of the response', bytes.byteLength, this.limit);
    return bytes;
  }

  lost(id: number, kind: 'stopped' | 'killed'): void {
    const running = this.running.get(id);
    if (running === undefined) return;
    running.context.cancel(kind);
    running.told?.();
    running.finish();
  }

  cancelAll(): void {
    for (const { context, told, finish } of this.running.values()) {
      context.cancel('shutdown');
      told?.();
      finish();
    }
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function';
}

function isIterable(value: unknown): value is AsyncIterable<unknown> | Iterable<unknown> {
  if (typeof value !== 'object' || value === null) return false;
  // Of the synchronous ones only generators: arrays, maps and strings are values.
  return Symbol.asyncIterator in value || (Symbol.iterator in value && 'next' in value);
}

/** The endpoint, and how its runtime sends responses. */
export interface ServedAt {
  readonly endpoint: Handle;
  readonly responsePlane: 'tcp' | 'quic';
}

async function serve(
  at: ServedAt,
  call: Call,
  bidirectional: boolean,
  options: ServeOptions<unknown>,
): Promise<ServedEndpoint> {
  const { concurrency = 1024, metricsLabels, healthCheck, gracefulShutdown, highWaterBytes, maxItemBytes } = options;
  checkInteger(`${PATH}.concurrency`, concurrency, 1);
  if (metricsLabels !== undefined) checkStringMap(`${PATH}.metricsLabels`, metricsLabels);
  if (gracefulShutdown !== undefined) checkBoolean(`${PATH}.gracefulShutdown`, gracefulShutdown);
  if (highWaterBytes !== undefined) checkInteger(`${PATH}.highWaterBytes`, highWaterBytes, 1);
  if (maxItemBytes !== undefined)
    checkInteger(`${PATH}.maxItemBytes`, maxItemBytes, 1, itemLimit(at.responsePlane).bytes);
  const args = packValue('endpoint.serve', 'options.healthCheck', {
    metricsLabels: Object.entries(metricsLabels ?? {}),
    gracefulShutdown,
    healthCheck,
    bidirectional,
    highWaterBytes,
  });
  const [bytes, handle, inbox] = await invoke(native.endpointServe, 'endpoint.serve', { handle: at.endpoint, args });
  const { instance } = unpack(bytes) as { instance: unknown };
  const requests = new Requests(call, itemLimit(at.responsePlane, maxItemBytes));
  return new ServedEndpoint(instanceFrom(instance), handle, inbox, requests, concurrency);
}

/** How requests are read, by options that are looked at first. */
function readerOf<Request>(options: ServeOptions<Request>): (request: unknown) => Request {
  checkOptions(PATH, options, KNOWN);
  const { parse } = options;
  if (parse === undefined) return (request) => request as Request;
  checkFunction(`${PATH}.parse`, parse);
  return (request) => {
    try {
      return parse(request);
    } catch (error) {
      const { message } = failureFrom(error);
      throw new DynamoError('InvalidRequest', `the request was refused: ${message}`, { reason: 'request.invalid' });
    }
  };
}

export function serveHandler<Request, Response>(
  at: ServedAt,
  handler: Handler<Request, Response>,
  options: ServeOptions<Request>,
): Promise<ServedEndpoint> {
  checkFunction('endpoint.serve handler', handler);
  const read = readerOf(options);
  return serve(at, ({ payload }, context) => handler(read(unpack(payload)), context), false, options);
}

/**
 * Answers a request that is itself a stream. It ends when `context.signal` is aborted, and throws where the caller is gone:
 * what has come is not all.
 */
export type BidirectionalHandler<Request, Response> = (
  requests: AsyncIterableIterator<Request>,
  context: RequestContext,
) => HandlerResult<Response>;

export function serveBidirectional<Request, Response>(
  at: ServedAt,
  handler: BidirectionalHandler<Request, Response>,
  options: ServeOptions<Request>,
): Promise<ServedEndpoint> {
  checkFunction('endpoint.serveBidirectional handler', handler);
  const read = readerOf(options);
  const call: Call = ({ input }, context) => {
    const stream = new PullStream(input as Handle, 'request stream');
    const item = (pulled: PulledItem): Request | undefined => {
      const data = dataOf<unknown>(pulled);
      return data === undefined ? undefined : read(data);
    };
    const requests = new PullIterator<Request>(stream, item);
    // A handler that waits for the next item of a caller that is gone, or that there is no time for, would wait for ever.
    const { signal } = context;
    const leave = (): void =>
      (signal.reason as RequestCancelled).kind === 'killed' ? requests.fail(signal.reason) : void requests.return();
    signal.addEventListener('abort', leave, { once: true });
    return handler(requests, context);
  };
  return serve(at, call, true, options);
}
