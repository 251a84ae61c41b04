import { Closeable } from '../addon/closeable.js';
import { pack, packBorrowed, packValue } from '../addon/codec.js';
import { arg, invoke, invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { Sink } from '../addon/sink.js';
import { batchFrom, NativeStream, type StreamItem, StreamIterator } from '../addon/stream.js';
import { isIterable, wrongType } from '../check.js';
import { badArgument, DynamoError } from '../errors.js';
import { type Annotated, annotatedOf, dataOf } from './annotated.js';
import { Attempts } from './attempts.js';
import { RequestSender } from './bidirectional.js';
import { childId, trackChild } from './child-requests.js';
import {
  CLIENT_OPTIONS,
  type ClientOptions,
  REQUEST_OPTIONS,
  type RequestOptions,
  type RouterMode,
  WAIT_OPTIONS,
  type WaitOptions,
} from './client-options.js';
import { currentRequest } from './context.js';
import { attemptLimits, deadlineError, failOnLimit } from './deadline.js';
import { changeFrom, type Instance, type InstanceChange, instancesFrom } from './instance.js';
import { checkDepth, checkSize } from './limits.js';
import type { Owner } from './owner.js';
import { ResponseStream, RetriedStream } from './response.js';

/** The usual case, which needs no check. */
const NO_OPTIONS: RequestOptions = Object.freeze({});

/** A request whose options were checked. */
interface PreparedRequest {
  readonly handle: Handle<'client'>;
  readonly args: Uint8Array | undefined;
  /** The arguments of a further attempt, which excludes the instances that have failed. */
  argsWithout(failed: readonly bigint[]): Uint8Array;
  readonly id: string | undefined;
  readonly signals: AbortSignal[];
  /** Called when the request is sent. Returns what is called when it is over. */
  begin(): () => void;
}

const onlyWithout = (exclude: readonly bigint[]): Uint8Array => pack({ exclude });
const nothing = (): void => {};
const beginNothing = (): (() => void) => nothing;

/**
 * Calls one endpoint. Typed arrays in requests and answers arrive as plain arrays, whatever the types say; only bytes
 * stay a `Uint8Array`.
 *
 * @example
 * const client = await endpoint.client({ mode: 'round_robin' });
 * await client.waitForInstances({ timeoutMs: 5000 });
 * for await (const item of client.generate({ text: 'moved in blocks' }, { timeoutMs: 1000 })) console.log(item);
 */
export class Client<Request = unknown, Response = unknown> extends Closeable<'client'> {
  private constructor(
    /** `namespace.component.endpoint` */
    readonly path: string,
    readonly mode: RouterMode,
    private readonly owner: Owner,
    private readonly endpoint: Handle<'endpoint'>,
    handle: Handle<'client'>,
  ) {
    super('the client', handle);
  }

  /** @internal */
  static async create<Request, Response>(
    owner: Owner,
    endpoint: Handle<'endpoint'>,
    path: string,
    options: ClientOptions,
  ): Promise<Client<Request, Response>> {
    CLIENT_OPTIONS.check('endpoint.client options', options);
    const { mode = 'round_robin' } = options;
    const handle = await invoke(native.endpointClient, 'endpoint.client', { handle: endpoint, args: pack({ mode }) });
    return new Client<Request, Response>(path, mode, owner, endpoint, handle);
  }

  /** Sends a request and returns its answer as a stream of data. It is sent at once, even if no consumer reads. */
  generate(request: Request, options: RequestOptions = NO_OPTIONS): ResponseStream<Response> {
    return this.#stream('client.generate', request, options, dataOf<Response>);
  }

  /** Like `generate`, with the annotations beside the data. Items without data are included. */
  generateAnnotated(request: Request, options: RequestOptions = NO_OPTIONS): ResponseStream<Annotated<Response>> {
    return this.#stream('client.generateAnnotated', request, options, annotatedOf<Response>);
  }

  #stream<T>(
    operation: string,
    request: Request,
    options: RequestOptions,
    decode: (item: StreamItem) => T | undefined,
  ): ResponseStream<T> {
    const call = this.#prepare(operation, options);
    const { attempts = 1 } = options;
    const payload = packValue(operation, 'the request', request, attempts > 1 ? pack : packBorrowed);
    checkDepth(operation, 'the request', () => this.#mayUseJson());
    checkSize(operation, 'the request', payload.byteLength);
    const open = (failed: readonly bigint[]): NativeStream => {
      const args = failed.length === 0 ? call.args : call.argsWithout(failed);
      return new NativeStream(
        invokeSync(native.clientOpen, operation, { handle: call.handle, args, payload }),
        operation,
      );
    };
    const source = attempts > 1 ? new RetriedStream(open, attempts) : open([]);
    const end = call.begin();
    let release = (): void => {};
    const over = (): void => {
      release();
      end();
    };
    const stream = new ResponseStream(source, decode, over, call.id);
    release = failOnLimit(stream, operation, call.signals, options.timeoutMs);
    return stream.start();
  }

  /** Sends a request that has exactly one answer. Another number of items is `DYN_BACKEND_PROTOCOL`. */
  async unary(request: Request, options: RequestOptions = NO_OPTIONS): Promise<Response> {
    const operation = 'client.unary';
    const { handle, args, argsWithout, signals, begin } = this.#prepare(operation, options);
    const { attempts = 1, timeoutMs } = options;
    const payload = packValue(operation, 'the request', request, attempts > 1 ? pack : packBorrowed);
    checkDepth(operation, 'the request', () => this.#mayUseJson());
    checkSize(operation, 'the request', payload.byteLength);
    const parts = { handle, args, payload };
    const limits = attemptLimits(operation, signals, timeoutMs);
    let tried: Attempts | undefined;
    for (;;) {
      const end = begin();
      let batch: Uint8Array;
      try {
        batch = await invoke(native.clientUnary, operation, parts, limits());
      } finally {
        end();
      }
      const { items, error } = batchFrom(batch, operation);
      if (error !== undefined) {
        if (items.length > 0) throw error;
        tried ??= new Attempts(attempts);
        tried.next(error);
        if (tried.failed.length > 0) parts.args = argsWithout(tried.failed);
        continue;
      }
      const values = items.map((item) => dataOf<Response>(item)).filter((value) => value !== undefined);
      if (values.length === 1) return values[0] as Response;
      const got = values.length === 0 ? 'none' : 'more';
      throw new DynamoError('BackendProtocol', `${operation} ${this.path}: expected exactly one item, got ${got}`, {
        reason: 'backend.protocol',
        operation,
      });
    }
  }

  /** Sends a request and returns all items of its answer. */
  collect(request: Request, options: RequestOptions = NO_OPTIONS): Promise<Response[]> {
    return this.generate(request, options).collect();
  }

  /**
   * Sends a stream of requests and returns the stream of answers, in the modes `round_robin` and `random`. If
   * `requests` throws, the call fails with its error.
   */
  bidirectional(
    requests: AsyncIterable<Request> | Iterable<Request>,
    options: Omit<RequestOptions, 'attempts' | 'instanceId' | 'fallback'> = NO_OPTIONS,
  ): ResponseStream<Response> {
    const operation = 'client.bidirectional';
    if (this.mode !== 'round_robin' && this.mode !== 'random') {
      throw badArgument(
        new TypeError(`${operation}: expected a client of mode round_robin or random, got ${this.mode}`),
      );
    }
    if (!isIterable(requests)) wrongType(`${operation} requests`, 'an iterable or async iterable', requests);
    const { handle, args, id, signals, begin } = this.#prepare(operation, options);
    const [, streamHandle, sinkHandle] = invokeSync(native.clientOpenBidirectional, operation, { handle, args });
    const source = new NativeStream(streamHandle, operation);
    const sender = new RequestSender(operation, requests, new Sink(sinkHandle), () => this.#mayUseJson());
    let release = (): void => {};
    const end = begin();
    const over = (): void => {
      release();
      end();
      sender.finish();
    };
    const stream = new ResponseStream(source, dataOf<Response>, over, id);
    const fail = (error: unknown): void => {
      stream.fail(error);
      sender.finish();
    };
    release = failOnLimit({ fail }, operation, signals, options.timeoutMs);
    void sender.send(stream);
    return stream.start();
  }

  #prepare(operation: string, options: RequestOptions): PreparedRequest {
    const handle = this.handle(operation);
    if (options === NO_OPTIONS && this.mode !== 'direct' && currentRequest() === undefined) {
      return { handle, args: undefined, argsWithout: onlyWithout, id: undefined, signals: [], begin: beginNothing };
    }
    const path = `${operation} options`;
    REQUEST_OPTIONS.check(path, options);
    const { instanceId, fallback, signal, parent = currentRequest() } = options;
    if (instanceId === undefined && this.mode === 'direct') {
      wrongType(`${path}.instanceId`, 'an instance id (a bigint) with a client of mode direct', instanceId);
    }
    if (instanceId === undefined && fallback !== undefined) {
      throw badArgument(new TypeError(`${path}.fallback: expected an instanceId beside it, got none`));
    }
    const heir = options.id === undefined ? (parent ?? undefined) : undefined;
    const id = heir === undefined ? options.id : childId(heir, this.path);
    const metadata = { ...parent?.metadata, ...options.metadata };
    const signals = [signal, parent?.signal].filter((one) => one !== undefined);
    const others = fallback === undefined ? {} : fallback === 'any' ? { fallbackAny: true } : { fallback };
    const fields = { id, metadata, instanceId, ...others };
    const isEmpty = id === undefined && instanceId === undefined && Object.keys(metadata).length === 0;
    return {
      handle,
      args: isEmpty ? undefined : pack(fields),
      argsWithout: (exclude) => pack({ ...fields, exclude }),
      id,
      signals,
      begin: heir === undefined ? beginNothing : () => trackChild(heir, this.path),
    };
  }

  /** The instance is chosen after the request is packed, so one with JSON is enough. */
  #mayUseJson(): boolean {
    return this.instances().some(({ codec }) => codec === 'json');
  }

  /** The instances known now. */
  instances(): Instance[] {
    const handle = this.handle('client.instances');
    return instancesFrom(invokeSync(native.clientInstances, 'client.instances', { handle }));
  }

  /**
   * The changes to the instances, beginning with the current ones. Ends when the loop is left or the runtime is closed.
   */
  watch(): AsyncIterableIterator<InstanceChange> {
    this.handle('client.watch');
    const handle = invokeSync(native.endpointWatch, 'client.watch', { handle: this.endpoint });
    let forget = (): void => {};
    const changes = new StreamIterator(
      new NativeStream(handle, 'client.watch'),
      ({ bytes }) => changeFrom(bytes),
      () => forget(),
    );
    // Only some discovery backends end their watches with the runtime.
    forget = this.owner.onClose(() => void changes.return());
    return changes;
  }

  /** Waits until `count` of the selected instances can be called, and returns all that can. */
  async waitForInstances(options: WaitOptions = {}): Promise<Instance[]> {
    const operation = 'client.waitForInstances';
    const handle = this.handle(operation);
    WAIT_OPTIONS.check(`${operation} options`, options);
    const { count = 1, runtimeData, signal, timeoutMs } = options;
    const error = (): Error => {
      const known = this.isOpen ? this.instances().length : 0;
      const [selected, total] = runtimeData === undefined ? ['', ''] : [' with this runtimeData', ' in total'];
      return deadlineError(
        operation,
        `${this.path}: expected ${count} instances${selected} within ${timeoutMs} ms, got ${known}${total}`,
      );
    };
    const limits = { signal, deadline: timeoutMs === undefined ? undefined : { ms: timeoutMs, error } };
    const waiting =
      runtimeData === undefined
        ? invoke(native.clientWait, operation, { handle, a: arg('instanceCount', count) }, limits)
        : invoke(
            native.clientWaitForData,
            operation,
            { handle, a: arg('instanceCount', count), args: packValue(operation, 'options.runtimeData', runtimeData) },
            limits,
          );
    return instancesFrom(await waiting);
  }

  /** Ends the watch of the instances. Requests in flight continue. @internal */
  protected override closeHandle(handle: Handle<'client'>): void {
    invokeSync(native.clientClose, 'client.close', { handle });
  }
}
