import { pack, packBorrowed, packValue } from '../addon/codec.js';
import { finish } from '../addon/finish.js';
import { type InvokeOptions, invoke, invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { Sink } from '../addon/sink.js';
import { batchFrom, open, type PulledItem, PullIterator, PullStream } from '../addon/stream.js';
import {
  checkInstanceId,
  checkInteger,
  checkObject,
  checkOneOf,
  checkOptions,
  checkSignal,
  checkString,
  checkStringMap,
  MAX_TIMEOUT_MS,
  wrongType,
} from '../check.js';
import { DynamoError, failureFrom } from '../errors.js';
import { type Annotated, annotatedOf, dataOf } from './annotated.js';
import { currentRequest, type RequestContext } from './context.js';
import type { Owner } from './endpoint.js';
import { changeFrom, type Instance, type InstanceChange, instancesFrom } from './instance.js';
import { checkSize } from './limits.js';
import { ResponseStream, RetriedPull } from './response.js';

/** How a client chooses an instance; the names of Dynamo 1.6. KV-aware routing is `KvRouter`. */
export type RouterMode =
  | 'round_robin'
  | 'random'
  | 'power_of_two_choices'
  | 'least_loaded'
  | 'device_aware_weighted'
  | 'direct';

const MODES = [
  'round_robin',
  'random',
  'power_of_two_choices',
  'least_loaded',
  'device_aware_weighted',
  'direct',
] as const;

/** How a client chooses among the instances of its endpoint. */
export interface ClientOptions {
  /** @default 'round_robin' */
  readonly mode?: RouterMode;
}

/** What one request may be given besides its value. */
export interface RequestOptions {
  /** Sends to this instance, whatever the mode; mode `direct` needs it. */
  readonly instanceId?: bigint;
  /** Which instances may have the request where `instanceId` is gone before it is sent. @default none */
  readonly fallback?: 'any' | readonly bigint[];
  /** The request's id. @default that of the request being served, else a new one */
  readonly id?: string;
  /** Strings that travel with the request, over those of the request being served. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Ends the request with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Ends the request with `DYN_DEADLINE_EXCEEDED` where it is not over by then. @default no limit */
  readonly timeoutMs?: number;
  /** Sends again, up to so many times in all, while the request fails retryably before its first item. @default 1 */
  readonly attempts?: number;
  /** The request whose id, metadata and end this one shares; null for none. @default the one being served */
  readonly parent?: RequestContext | null;
}

const KNOWN = ['instanceId', 'fallback', 'id', 'metadata', 'signal', 'timeoutMs', 'attempts', 'parent'];

/** What `waitForInstances` waits for, and how long. */
export interface WaitOptions {
  /** @default 1 */
  readonly count?: number;
  /** Only instances whose model card has these values in its `runtimeData`, which an engine's `start` gives. */
  readonly runtimeData?: Readonly<Record<string, unknown>>;
  readonly signal?: AbortSignal;
  /** @default no limit */
  readonly timeoutMs?: number;
}

function checkFallback(path: string, fallback: unknown, instanceId: unknown): void {
  if (instanceId === undefined) throw new TypeError(`${path}: expected an instanceId that it stands behind, got none`);
  if (fallback === 'any') return;
  if (!Array.isArray(fallback)) wrongType(path, "'any' or a list of instance ids", fallback);
  fallback.forEach((id, index) => checkInstanceId(`${path}[${index}]`, id));
}

/** The usual case, which need not be looked through. */
const NO_OPTIONS: RequestOptions = Object.freeze({});
const NO_LIMITS: InvokeOptions = Object.freeze({});

interface Failing {
  fail(error: unknown): void;
}

/**
 * Calls one endpoint.
 *
 * @example
 * const client = await endpoint.client({ mode: 'round_robin' });
 * await client.waitForInstances({ timeoutMs: 5000 });
 * for await (const item of client.generate({ text: 'moved in blocks' }, { timeoutMs: 1000 })) console.log(item);
 */
export class Client<Request = unknown, Response = unknown> implements AsyncDisposable {
  #handle: Handle | undefined;

  private constructor(
    /** `namespace.component.endpoint` */
    readonly path: string,
    readonly mode: RouterMode,
    private readonly owner: Owner,
    private readonly endpoint: Handle,
    handle: Handle,
  ) {
    this.#handle = handle;
  }

  /** @internal */
  static async create<Request, Response>(
    owner: Owner,
    endpoint: Handle,
    path: string,
    options: ClientOptions,
  ): Promise<Client<Request, Response>> {
    checkOptions('endpoint.client options', options, ['mode']);
    const { mode = 'round_robin' } = options;
    checkOneOf('endpoint.client options.mode', mode, MODES);
    const handle = await invoke(native.endpointClient, 'endpoint.client', { handle: endpoint, args: pack({ mode }) });
    return new Client<Request, Response>(path, mode, owner, endpoint, handle);
  }

  /** Sends a request and gives its answer as a stream of data. It is sent at once, whether or not anybody reads. */
  generate(request: Request, options: RequestOptions = NO_OPTIONS): ResponseStream<Response> {
    return this.#stream('client.generate', request, options, dataOf<Response>);
  }

  /** Like `generate`, with what travels beside the data; items without data are given too. */
  generateAnnotated(request: Request, options: RequestOptions = NO_OPTIONS): ResponseStream<Annotated<Response>> {
    return this.#stream('client.generateAnnotated', request, options, annotatedOf<Response>);
  }

  #stream<T>(
    operation: string,
    request: Request,
    options: RequestOptions,
    decode: (item: PulledItem) => T | undefined,
  ): ResponseStream<T> {
    const call = this.#prepare(operation, options);
    const { attempts = 1 } = options;
    const payload = packValue(operation, 'the request', request, attempts > 1 ? pack : packBorrowed);
    checkSize(operation, 'the request', payload.byteLength);
    const openOnce = (): PullStream =>
      new PullStream(
        invokeSync(native.clientOpen, operation, { handle: call.handle, args: call.args, payload }),
        operation,
      );
    const source = attempts > 1 ? new RetriedPull(openOnce, attempts) : openOnce();
    let release = (): void => {};
    const stream = new ResponseStream(source, decode, () => release(), call.id);
    release = limit(stream, operation, call.signals, options.timeoutMs);
    return stream.start();
  }

  /** Sends a request that has exactly one answer; another number of items is `DYN_BACKEND_PROTOCOL`. */
  async unary(request: Request, options: RequestOptions = NO_OPTIONS): Promise<Response> {
    const operation = 'client.unary';
    const { handle, args, signals } = this.#prepare(operation, options);
    const { attempts = 1, timeoutMs } = options;
    const payload = packValue(operation, 'the request', request, attempts > 1 ? pack : packBorrowed);
    checkSize(operation, 'the request', payload.byteLength);
    const parts = { handle, args, payload };
    const limits = limitsOf(operation, signals, timeoutMs);
    for (let left = attempts; ; left--) {
      const { items, error } = batchFrom(await invoke(native.clientUnary, operation, parts, limits()), operation);
      if (left > 1 && items.length === 0 && DynamoError.is(error) && error.retryable) continue;
      if (error !== undefined) throw error;
      const values = items.map((item) => dataOf<Response>(item)).filter((value) => value !== undefined);
      if (values.length === 1) return values[0] as Response;
      const got = values.length === 0 ? 'none' : 'more';
      throw new DynamoError('BackendProtocol', `${operation} ${this.path}: expected exactly one item, got ${got}`, {
        reason: 'backend.protocol',
        operation,
      });
    }
  }

  /** Sends a request and gives all items of its answer. */
  collect(request: Request, options: RequestOptions = NO_OPTIONS): Promise<Response[]> {
    return this.generate(request, options).collect();
  }

  /**
   * Sends a stream of requests and gives the stream of answers; modes `round_robin` and `random`. Where `requests` throws,
   * the call fails with its error.
   */
  bidirectional(
    requests: AsyncIterable<Request>,
    options: Omit<RequestOptions, 'attempts' | 'instanceId' | 'fallback'> = NO_OPTIONS,
  ): ResponseStream<Response> {
    const operation = 'client.bidirectional';
    if (this.mode !== 'round_robin' && this.mode !== 'random') {
      throw new TypeError(`${operation}: expected a client of mode round_robin or random, got ${this.mode}`);
    }
    if (!isIterable(requests)) wrongType(`${operation} requests`, 'an async iterable', requests);
    const { handle, args, id, signals } = this.#prepare(operation, options);
    const [, streamHandle, sinkHandle] = invokeSync(native.clientOpenBidirectional, operation, { handle, args });
    const source = new PullStream(streamHandle, operation);
    const outgoing = new Outgoing(operation, requests, new Sink(sinkHandle));
    let release = (): void => {};
    const over = (): void => {
      release();
      outgoing.finish();
    };
    const stream = new ResponseStream(source, dataOf<Response>, over, id);
    const fail = (error: unknown): void => {
      stream.fail(error);
      outgoing.finish();
    };
    release = limit({ fail }, operation, signals, options.timeoutMs);
    void outgoing.send(stream);
    return stream.start();
  }

  #prepare(
    operation: string,
    options: RequestOptions,
  ): { handle: Handle; args: Uint8Array | undefined; id: string | undefined; signals: AbortSignal[] } {
    const handle = open(this.#handle, 'the client', operation);
    if (options === NO_OPTIONS && this.mode !== 'direct' && currentRequest() === undefined) {
      return { handle, args: undefined, id: undefined, signals: [] };
    }
    const path = `${operation} options`;
    checkOptions(path, options, KNOWN);
    const { instanceId, fallback, signal, timeoutMs, attempts, parent = currentRequest() } = options;
    if (instanceId !== undefined) checkInstanceId(`${path}.instanceId`, instanceId);
    if (instanceId === undefined && this.mode === 'direct') {
      wrongType(`${path}.instanceId`, 'an instance id (a bigint) with a client of mode direct', instanceId);
    }
    if (fallback !== undefined) checkFallback(`${path}.fallback`, fallback, instanceId);
    if (options.id !== undefined) checkString(`${path}.id`, options.id);
    if (options.metadata !== undefined) checkStringMap(`${path}.metadata`, options.metadata);
    if (signal !== undefined) checkSignal(`${path}.signal`, signal);
    if (timeoutMs !== undefined) checkInteger(`${path}.timeoutMs`, timeoutMs, 1, MAX_TIMEOUT_MS);
    if (attempts !== undefined) checkInteger(`${path}.attempts`, attempts, 1, 1000);
    const id = options.id ?? parent?.id;
    const metadata = { ...parent?.metadata, ...options.metadata };
    const signals = [signal, parent?.signal].filter((one) => one !== undefined);
    const others = fallback === undefined ? {} : fallback === 'any' ? { fallbackAny: true } : { fallback };
    const args =
      id === undefined && instanceId === undefined && Object.keys(metadata).length === 0
        ? undefined
        : pack({ id, metadata, instanceId, ...others });
    return { handle, args, id, signals };
  }

  /** The instances known now. */
  instances(): Instance[] {
    const handle = open(this.#handle, 'the client', 'client.instances');
    return instancesFrom(invokeSync(native.clientInstances, 'client.instances', { handle }));
  }

  /** The changes to the instances, those that are there now first. Ends when the loop is left or the runtime is closed. */
  watch(): AsyncIterableIterator<InstanceChange> {
    open(this.#handle, 'the client', 'client.watch');
    const handle = invokeSync(native.endpointWatch, 'client.watch', { handle: this.endpoint });
    let forget = (): void => {};
    const changes = new PullIterator(
      new PullStream(handle, 'client.watch'),
      ({ bytes }) => changeFrom(bytes),
      () => forget(),
    );
    // Of the ways of discovery only some end their watches with the runtime.
    forget = this.owner.onClose(() => void changes.return());
    return changes;
  }

  /** Waits until so many instances can be called, of those that are asked for, and gives all that can. */
  async waitForInstances(options: WaitOptions = {}): Promise<Instance[]> {
    const operation = 'client.waitForInstances';
    const handle = open(this.#handle, 'the client', operation);
    checkOptions(`${operation} options`, options, ['count', 'runtimeData', 'signal', 'timeoutMs']);
    const { count = 1, runtimeData, signal, timeoutMs } = options;
    checkInteger(`${operation} options.count`, count, 1);
    if (runtimeData !== undefined) checkObject(`${operation} options.runtimeData`, runtimeData);
    if (signal !== undefined) checkSignal(`${operation} options.signal`, signal);
    if (timeoutMs !== undefined) checkInteger(`${operation} options.timeoutMs`, timeoutMs, 1, MAX_TIMEOUT_MS);
    const [such, any] = runtimeData === undefined ? ['', ''] : [' with such runtimeData', ' of any'];
    const error = (): Error =>
      deadlineError(
        operation,
        `${this.path}: expected ${count} instances${such} within ${timeoutMs} ms, got ${this.#handle === undefined ? 0 : this.instances().length}${any}`,
      );
    const limits = { signal, deadline: timeoutMs === undefined ? undefined : { ms: timeoutMs, error } };
    const waiting =
      runtimeData === undefined
        ? invoke(native.clientWait, operation, { handle, a: count }, limits)
        : invoke(
            native.clientWaitForData,
            operation,
            { handle, a: count, args: packValue(operation, 'options.runtimeData', runtimeData) },
            limits,
          );
    return instancesFrom(await waiting);
  }

  /** Ends the client's watch of the instances; requests on their way go on. Idempotent. */
  async close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    if (handle !== undefined) invokeSync(native.clientClose, 'client.close', { handle });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function isIterable(value: unknown): boolean {
  return typeof value === 'object' && value !== null && (Symbol.asyncIterator in value || Symbol.iterator in value);
}

function deadlineError(operation: string, message: string): DynamoError {
  return new DynamoError('DeadlineExceeded', `${operation} ${message}`, {
    reason: 'request.deadline_exceeded',
    operation,
  });
}

function overError(operation: string, timeoutMs: number): DynamoError {
  return deadlineError(operation, `was not over within ${timeoutMs} ms`);
}

/** What bounds each of the attempts that together have so much time. */
function limitsOf(
  operation: string,
  signals: readonly AbortSignal[],
  timeoutMs: number | undefined,
): () => InvokeOptions {
  if (signals.length === 0 && timeoutMs === undefined) return () => NO_LIMITS;
  const signal = signals.length > 1 ? AbortSignal.any([...signals]) : signals[0];
  if (timeoutMs === undefined) return () => ({ signal });
  const end = performance.now() + timeoutMs;
  const error = (): Error => overError(operation, timeoutMs);
  return () => ({ signal, deadline: { ms: Math.max(0, end - performance.now()), error } });
}

/** Fails the target when a signal aborts or the time is over. Gives what undoes it. */
function limit(
  target: Failing,
  operation: string,
  signals: readonly AbortSignal[],
  timeoutMs: number | undefined,
): () => void {
  const aborted = signals.find((signal) => signal.aborted);
  if (aborted !== undefined) {
    target.fail(aborted.reason);
    return () => {};
  }
  if (signals.length === 0 && timeoutMs === undefined) return () => {};
  const listeners = signals.map((signal) => {
    const listener = (): void => target.fail(signal.reason);
    signal.addEventListener('abort', listener, { once: true });
    return () => signal.removeEventListener('abort', listener);
  });
  const timer =
    timeoutMs === undefined ? undefined : setTimeout(() => target.fail(overError(operation, timeoutMs)), timeoutMs);
  return () => {
    clearTimeout(timer);
    for (const remove of listeners) remove();
  };
}

/** The requests of a bidirectional call on their way to the worker. */
class Outgoing {
  #iterator: AsyncIterator<unknown> | Iterator<unknown> | undefined;
  #over = false;

  constructor(
    private readonly operation: string,
    private readonly requests: AsyncIterable<unknown> | Iterable<unknown>,
    private readonly sink: Sink,
  ) {}

  /** Sends them until they end or nobody wants more; what they throw fails the answers. */
  async send(answers: Failing): Promise<void> {
    if (this.#over) return;
    try {
      const { requests } = this;
      const iterator = (this.#iterator =
        Symbol.asyncIterator in requests ? requests[Symbol.asyncIterator]() : requests[Symbol.iterator]());
      for (;;) {
        const { done, value } = await iterator.next();
        if (this.#over) return;
        if (done === true) return this.#end();
        if (!(await this.sink.write(this.#packed(await value)))) return this.finish();
      }
    } catch (error) {
      if (this.#over) return;
      this.#end(error);
      answers.fail(error);
    }
  }

  #packed(request: unknown): Uint8Array {
    try {
      const payload = packValue(this.operation, 'an item of the request', request, packBorrowed);
      checkSize(this.operation, 'an item of the request', payload.byteLength);
      return payload;
    } catch (error) {
      this.#return();
      throw error;
    }
  }

  #end(error?: unknown): void {
    this.#over = true;
    this.sink.end(error === undefined ? undefined : failureFrom(error));
  }

  /**
   * The call is over before its requests: a source that waits for its next item is told now, not when it has one, and the
   * worker is not told that it has them all. Idempotent.
   */
  finish(): void {
    if (this.#over) return;
    this.#end(new DynamoError('Cancelled', 'the call is over', { reason: 'request.cancelled' }));
    this.#return();
  }

  #return(): void {
    if (this.#iterator !== undefined) finish(this.#iterator);
  }
}
