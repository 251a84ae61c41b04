import { mistake, packArgs, packItem, packValue, tooDeepForJson, unpack } from '../addon/codec.js';
import { finish } from '../addon/finish.js';
import { Inbox, type InboxHandler, type InboxRequest } from '../addon/inbox.js';
import { invoke, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { pump } from '../addon/pump.js';
import { NativeStream, type StreamItem, StreamIterator } from '../addon/stream.js';
import { checkFunction, checkInteger, isAsyncIterable, isIterable, isThenable } from '../check.js';
import { DynamoError, failureFrom } from '../errors.js';
import type { OptionTable } from '../options.js';
import { Annotated, dataOf } from './annotated.js';
import { type CloseOptions, closeOptions } from './close-options.js';
import { type RequestContext, runInContext, ServedContext } from './context.js';
import { type Instance, instanceFrom } from './instance.js';
import { checkSize, itemLimit, type SizeLimit } from './limits.js';
import { SERVE_OPTIONS, type ServeOptions } from './serve-options.js';

/** What a handler returns: a stream of items, or one item. */
export type HandlerResult<Response> =
  | AsyncIterable<Response | Annotated<Response>>
  | Generator<Response | Annotated<Response>>
  | Response
  | Annotated<Response>
  | Promise<Response | Annotated<Response>>;

/**
 * Answers one request. A generator streams its items; a promise or a value is the only item. An error reaches the
 * caller as a `DynamoError`, before or after items; one that is none is `DYN_INTERNAL`. When the caller disconnects,
 * `context.signal` is aborted and the generator is returned. Typed arrays arrive at the caller as plain arrays, not as
 * `Response` declares them; only bytes stay a `Uint8Array`.
 */
export type Handler<Request, Response> = (request: Request, context: RequestContext) => HandlerResult<Response>;

const PATH = 'endpoint.serve options';
const CLOSE_OPTIONS: OptionTable<CloseOptions> = closeOptions(0);

/** An endpoint is served until its close. Without this set, garbage collection of the object would end the serving. */
const served = new Set<ServedEndpoint>();

/** A served endpoint. It keeps the process alive until `close`. */
export class ServedEndpoint implements AsyncDisposable {
  readonly #handle: Handle<'served'>;
  readonly #requests: Requests;
  readonly #inbox: Inbox;
  #closing: Promise<void> | undefined;
  /** Resolves when it takes no further requests. @internal */
  readonly ended: Promise<void>;

  /** @internal */
  constructor(
    readonly instance: Instance,
    handle: Handle<'served'>,
    inbox: Handle<'inbox'>,
    requests: Requests,
    concurrency: number,
  ) {
    this.#handle = handle;
    this.#requests = requests;
    this.#inbox = new Inbox(inbox, requests, { concurrency });
    served.add(this);
    // Garbage collection of the handle closes the endpoint, so the handle lives until the inbox ends. After that no
    // cancellation arrives, so requests that still run learn here that they have no caller.
    this.ended = this.#inbox.ended.then(() => {
      served.delete(this);
      if (this.#handle !== undefined) requests.cancelAll();
    });
  }

  /** The number of running requests. */
  get inFlight(): number {
    return this.#requests.running.size;
  }

  /** Leaves discovery, takes no further requests, and waits for those in flight. Idempotent. */
  async close(options: CloseOptions = {}): Promise<void> {
    CLOSE_OPTIONS.check('served.close options', options);
    this.#closing ??= this.#close(options.timeoutMs);
    return this.#closing;
  }

  async #close(timeoutMs: number | undefined): Promise<void> {
    const timer = timeoutMs === undefined ? undefined : setTimeout(() => this.#requests.cancelAll(), timeoutMs);
    try {
      await invoke(native.servedClose, 'served.close', { handle: this.#handle });
      await this.ended;
    } finally {
      clearTimeout(timer);
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

interface Running {
  context: ServedContext;
  /** Ends the handler's generator, if it has one. */
  finish(): void;
  /** Set while the answer waits to learn why its caller is lost. */
  onCancelled?: () => void;
}

const nothing = (): void => {};

type Call = (request: InboxRequest, context: ServedContext) => unknown;

/** The running requests of one endpoint. Passes each from the inbox to its handler, and the answer back. */
class Requests implements InboxHandler {
  readonly running = new Map<number, Running>();

  constructor(
    private readonly call: Call,
    private readonly limit: SizeLimit,
    private readonly isJson: boolean,
  ) {}

  request(request: InboxRequest): Promise<void> {
    const context = new ServedContext(request.requestId, request.metadata);
    // The whole answer runs in the context, because a generator runs in the context of the caller of `next`.
    return runInContext(context, () => this.#answer(request, context));
  }

  async #answer(request: InboxRequest, context: ServedContext): Promise<void> {
    const running: Running = { context, finish: nothing };
    this.running.set(request.id, running);
    try {
      const result = this.call(request, context);
      if (isStream(result)) await this.#stream(request, running, result);
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
    const write = (item: unknown) => sink.write(this.#packed(item), item instanceof Annotated);
    if (await pump(iterator, write)) return sink.end();
    // The native side closes the sink first and reports the reason afterwards.
    if (!running.context.signal.aborted) await new Promise<void>((resolve) => (running.onCancelled = resolve));
    running.finish();
  }

  #packed(value: unknown): Uint8Array {
    const bytes = packItem(
      'endpoint.serve',
      'an item of the response',
      value instanceof Annotated ? value.wire() : value,
    );
    const problem = this.isJson ? tooDeepForJson() : undefined;
    if (problem !== undefined)
      throw mistake('endpoint.serve', `endpoint.serve: an item of the response cannot be sent: ${problem}`);
    checkSize('endpoint.serve', 'an item of the response', bytes.byteLength, this.limit);
    return bytes;
  }

  lost(id: number, kind: 'stopped' | 'killed'): void {
    const running = this.running.get(id);
    if (running === undefined) return;
    running.context.cancel(kind);
    running.onCancelled?.();
    running.finish();
  }

  cancelAll(): void {
    for (const { context, onCancelled, finish } of this.running.values()) {
      context.cancel('shutdown');
      onCancelled?.();
      finish();
    }
  }
}

/** Of the synchronous iterables only generators are streams: arrays, maps and strings are values. */
function isStream(value: unknown): value is AsyncIterable<unknown> | Iterable<unknown> {
  return isAsyncIterable(value) || (isIterable(value) && 'next' in value);
}

/** The endpoint, and how its runtime sends responses. */
export interface ServedAt {
  readonly endpoint: Handle<'endpoint'>;
  readonly responsePlane: 'tcp' | 'quic';
}

async function serve(
  at: ServedAt,
  call: Call,
  bidirectional: boolean,
  options: ServeOptions<unknown>,
): Promise<ServedEndpoint> {
  const { concurrency = 1024, metricsLabels, healthCheck, gracefulShutdown, highWaterBytes, maxItemBytes } = options;
  const { maxQueued, maxQueuedBytes } = options;
  if (maxItemBytes !== undefined)
    checkInteger(`${PATH}.maxItemBytes`, maxItemBytes, 1, itemLimit(at.responsePlane).bytes);
  const args = packValue(
    'endpoint.serve',
    'options.healthCheck',
    {
      metricsLabels: Object.entries(metricsLabels ?? {}),
      gracefulShutdown,
      healthCheck,
      bidirectional,
      highWaterBytes,
      maxQueued,
      maxQueuedBytes,
    },
    packArgs,
  );
  const [bytes, handle, inbox] = await invoke(native.endpointServe, 'endpoint.serve', { handle: at.endpoint, args });
  const instance = instanceFrom((unpack(bytes) as { instance: unknown }).instance);
  const requests = new Requests(call, itemLimit(at.responsePlane, maxItemBytes), instance.codec === 'json');
  return new ServedEndpoint(instance, handle, inbox, requests, concurrency);
}

/** Checks the options and returns the function that reads requests. */
function readerOf<Request>(options: ServeOptions<Request>): (request: unknown) => Request {
  SERVE_OPTIONS.check(PATH, options);
  const { parse } = options;
  if (parse === undefined) return (request) => request as Request;
  return (request) => {
    let parsed: Request;
    try {
      parsed = parse(request);
    } catch (error) {
      const { message } = failureFrom(error);
      throw new DynamoError('InvalidRequest', `the request was rejected: ${message}`, { reason: 'request.invalid' });
    }
    if (!isThenable(parsed)) return parsed;
    // No caller would wait for it, and its rejection would end the process.
    parsed.then(undefined, nothing);
    throw mistake('endpoint.serve', `${PATH}.parse: expected a value, got a promise; it must be synchronous`);
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
 * Answers a request that is itself a stream. The stream ends after the last item that the caller sent. If
 * `context.signal` is aborted before the handler has read that end, it throws the signal's reason, because the items
 * that were read are not the whole request.
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
    const stream = new NativeStream(input as Handle<'stream'>, 'request stream');
    const item = (received: StreamItem): Request | undefined => {
      const data = dataOf<unknown>(received);
      return data === undefined ? undefined : read(data);
    };
    const requests = new StreamIterator<Request>(stream, item);
    // A handler would wait forever for the next item of a caller that is gone, or after the time to finish is over. An
    // end would mean that the request is whole. A caller that is gone may first seem to be one that stops.
    const { signal } = context;
    signal.addEventListener('abort', () => requests.fail(signal.reason), { once: true });
    return handler(requests, context);
  };
  return serve(at, call, true, options);
}
