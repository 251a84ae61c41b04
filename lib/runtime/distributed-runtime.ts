import { createServer } from 'node:net';
import { pack, packItem, unpack } from '../addon/codec.js';
import { Inbox } from '../addon/inbox.js';
import { arg, invoke, invokeSync, native } from '../addon/invoke.js';
import { loaded } from '../addon/loaded.js';
import type { Handle } from '../addon/native.js';
import { checkBoolean, checkFunction, checkString } from '../check.js';
import { ClosedError, DynamoError, failureFrom } from '../errors.js';
import type { OptionTable } from '../options.js';
import { type CloseOptions, closeOptions } from './close-options.js';
import { createArgs, type RuntimeOptions, serversOf, systemHostOf } from './config.js';
import { Endpoint, Namespace } from './endpoint.js';
import { parseEndpointPath } from './endpoint-path.js';
import { type Instance, instancesFrom } from './instance.js';
import { fixMaxMessageBytes, maxMessageBytes } from './limits.js';
import { endTexts, expose, Metrics } from './metrics.js';
import { ownOpenFileSettings, watchOpenFiles } from './open-files.js';
import type { ServedEndpoint } from './serve.js';

/** @inline */
interface Created {
  instanceId: number | bigint;
  discovery: 'mem' | 'file' | 'etcd' | 'kubernetes';
  requestPlane: 'tcp' | 'nats';
  responsePlane: 'tcp' | 'quic';
  dataPlane: 'native' | 'crates';
  eventPlane: 'zmq' | 'nats';
  systemAddress: string | null;
  maxMessageBytes: number;
}

/** How long a server may take to answer before a warning. */
const WARN_MS = 3000;

const CLOSE_OPTIONS: OptionTable<CloseOptions> = closeOptions(1);

/** The reason of an error; see `native/core/src/runtime/create.rs`. */
const LEASE_LOST = 'discovery.lease_lost';

async function canListen(port: number, host: string): Promise<boolean> {
  const server = createServer();
  return new Promise((resolve) => {
    server.once('error', () => resolve(false)).listen(port, host, () => server.close(() => resolve(true)));
  });
}

/**
 * A process's connection to a Dynamo deployment: discovery, the planes that requests and events travel on, metrics.
 *
 * A process may have several. They share one native thread pool, one request server and one address.
 *
 * @example
 * await using runtime = await DistributedRuntime.create({ discovery: { kind: 'file', dir: '/tmp/dynamo' }, host:
 * '127.0.0.1' }); const endpoint = runtime.endpoint<{ text: string }, string>('demo.words.split');
 */
export class DistributedRuntime implements AsyncDisposable {
  #handle: Handle<'runtime'> | undefined;
  #closing: Promise<void> | undefined;
  readonly #created: Created;
  /**
   * Settles when the runtime has ended. Rejects as soon as it has lost its lease in etcd. No client finds its endpoints
   * then, so it closes itself: it finishes the requests in flight and accepts no others.
   */
  readonly ended: Promise<void>;
  #settle = (_lost?: DynamoError): void => {};

  private constructor(handle: Handle<'runtime'>, created: Created) {
    this.#handle = handle;
    this.#created = created;
    this.ended = new Promise((resolve, reject) => {
      this.#settle = (lost) => (lost === undefined ? resolve() : reject(lost));
    });
    this.ended.catch(() => {});
    // The operation must not keep a runtime that was forgotten.
    const forgettable = new WeakRef<DistributedRuntime>(this);
    const lost = (error: unknown): void => {
      const runtime = forgettable.deref();
      if (runtime !== undefined && DynamoError.is(error) && error.reason === LEASE_LOST) runtime.#lose(error);
    };
    invoke(native.runtimeEnding, 'runtime.ended', { handle }, { background: true }).catch(lost);
  }

  #lose(error: DynamoError): void {
    this.#settle(error);
    process.emitWarning(error.message, { code: 'DYN_RUNTIME_LOST' });
    this.close().catch(() => {});
  }

  /** Connects. Fails if a server that the options or the environment require is not available. */
  static async create(options: RuntimeOptions = {}): Promise<DistributedRuntime> {
    const operation = 'DistributedRuntime.create';
    const { settings, ...others } = createArgs(options);
    const args = pack({ ...others, settings: { ...ownOpenFileSettings(), ...settings } });
    const { connectTimeoutMs, systemPort = -1 } = options;
    const systemHost = systemHostOf(options);
    const taken = (): Error =>
      new DynamoError(
        'Unavailable',
        `${operation}: the status server cannot listen on port ${systemPort} of ${systemHost}`,
        { reason: 'runtime.bind', operation },
      );
    // The native side would fix the port for the process, which could then not try another one.
    if (systemPort > 0 && !(await canListen(systemPort, systemHost))) throw taken();
    const waiting = setTimeout(
      () => process.emitWarning(`${operation} waits for ${serversOf(options)}`, { code: 'DYN_WAITING' }),
      WARN_MS,
    ).unref();
    const error = (): Error =>
      new DynamoError(
        'Unavailable',
        `${operation}: no connection within ${connectTimeoutMs} ms to ${serversOf(options)}`,
        { reason: 'transport.cannot_connect', operation },
      );
    const deadline = connectTimeoutMs === undefined ? undefined : { ms: connectTimeoutMs, error };
    try {
      const [bytes, handle] = await invoke(native.runtimeCreate, operation, { args }, { deadline });
      const created = unpack(bytes) as Created;
      fixMaxMessageBytes(created.maxMessageBytes);
      const runtime = new DistributedRuntime(handle, created);
      if (runtime.systemAddress !== undefined) runtime.#watchOpenFiles();
      if (systemPort < 0 || runtime.systemAddress !== undefined) return runtime;
      await runtime.close();
      throw taken();
    } finally {
      clearTimeout(waiting);
    }
  }

  /** @internal */
  handle(operation: string): Handle<'runtime'> {
    if (this.#handle === undefined) throw new ClosedError('the runtime', operation);
    return this.#handle;
  }

  /** @internal */
  adopt(served: ServedEndpoint): ServedEndpoint {
    this.#served.add(served);
    void served.ended.then(() => this.#served.delete(served));
    return served;
  }

  /** @internal */
  onClose(end: () => void): () => void {
    this.#ends.add(end);
    return () => this.#ends.delete(end);
  }

  /** The id under which this runtime's endpoints are registered. */
  get instanceId(): bigint {
    return BigInt(this.#created.instanceId);
  }

  /** The configuration, as resolved from options, environment and defaults. */
  get config(): Readonly<Pick<Created, 'discovery' | 'requestPlane' | 'responsePlane' | 'dataPlane' | 'eventPlane'>> {
    const { discovery, requestPlane, responsePlane, dataPlane, eventPlane } = this.#created;
    return { discovery, requestPlane, responsePlane, dataPlane, eventPlane };
  }

  /** `host:port` of the status server, or undefined if there is none. */
  get systemAddress(): string | undefined {
    return this.#created.systemAddress ?? undefined;
  }

  /** The maximum size of a message, in bytes. */
  get limits(): { readonly maxMessageBytes: number } {
    return { maxMessageBytes: maxMessageBytes() };
  }

  /** A namespace by its name of a-z, 0-9, - and _. @throws RangeError for another name */
  namespace(name: string): Namespace {
    this.handle('runtime.namespace');
    return new Namespace(this, name);
  }

  /** An endpoint by its path, `namespace.component.endpoint`, with or without `dyn://`. */
  endpoint<Request = unknown, Response = unknown>(path: string): Endpoint<Request, Response> {
    this.handle('runtime.endpoint');
    const { namespace, component, endpoint } = parseEndpointPath('runtime.endpoint path', path);
    return new Endpoint<Request, Response>(this, namespace, component, endpoint);
  }

  /** Every endpoint instance in discovery, of all namespaces. */
  async instances(): Promise<Instance[]> {
    return instancesFrom(
      await invoke(native.runtimeInstances, 'runtime.instances', { handle: this.handle('runtime.instances') }),
    );
  }

  /** Metrics at the root of the hierarchy. */
  get metrics(): Metrics {
    return new Metrics(this.handle('runtime.metrics'), {});
  }

  /** All metrics as Prometheus text, as on `/metrics` of the status server. */
  metricsText(): string {
    return expose(this.handle('runtime.metricsText'));
  }

  /**
   * Sets the answer of `/health` if no endpoint has its own health check. It is not ready until this call, and while
   * fewer than 16 file descriptors are left.
   */
  setHealthy(healthy: boolean): void {
    checkBoolean('runtime.setHealthy healthy', healthy);
    this.handle('runtime.setHealthy');
    this.#isHealthy = healthy;
    this.#setHealth();
  }

  #setHealth(): void {
    invokeSync(native.runtimeSetHealth, 'runtime.setHealthy', {
      handle: this.handle('runtime.setHealthy'),
      a: arg('isReady', this.#isHealthy && !this.#hasFewFiles ? 1 : 0),
    });
  }

  #watchOpenFiles(): void {
    // The timer must not keep a runtime that was forgotten.
    const forgettable = new WeakRef<DistributedRuntime>(this);
    const end = watchOpenFiles((isFew) => {
      const runtime = forgettable.deref();
      if (runtime === undefined || runtime.#handle === undefined) return end();
      runtime.#hasFewFiles = isFew;
      if (isFew)
        process.emitWarning('few file descriptors are left: the status server says that this process is not ready', {
          code: 'DYN_OPEN_FILES',
        });
      runtime.#setHealth();
    });
    this.onClose(end);
  }

  /** Answers `/engine/{route}` on the status server. The request and the answer are JSON. */
  engineRoute(route: string, handler: (body: unknown) => unknown): void {
    const operation = 'runtime.engineRoute';
    checkString(`${operation} route`, route);
    checkFunction(`${operation} handler`, handler);
    const handle = invokeSync(native.runtimeEngineRoute, operation, {
      handle: this.handle(operation),
      args: pack({ route }),
    });
    const inbox = new Inbox(
      handle,
      {
        request: async ({ payload, sink }) => {
          try {
            await sink.write(packItem(operation, 'the answer', await handler(unpack(payload))), false, true);
          } catch (error) {
            sink.end(failureFrom(error));
          }
        },
        lost: () => {},
      },
      { concurrency: 64, background: true },
    );
    this.#routes.push(inbox);
  }

  #isHealthy = process.env['DYN_SYSTEM_STARTING_HEALTH_STATUS'] === 'ready';
  #hasFewFiles = false;
  readonly #routes: Inbox[] = [];
  readonly #ends = new Set<() => void>();
  readonly #served = new Set<ServedEndpoint>();

  /**
   * Leaves discovery, waits for requests in flight, and closes connections. Resolves when all is done. Idempotent.
   * `timeoutMs` bounds the wait for requests in flight. Its default is Dynamo's own limit
   * (`$DYN_RUNTIME_GRACEFUL_SHUTDOWN_TIMEOUT_SECS`, 900 s).
   */
  async close(options: CloseOptions = {}): Promise<void> {
    CLOSE_OPTIONS.check('runtime.close options', options);
    this.#closing ??= this.#close(options.timeoutMs);
    return this.#closing;
  }

  async #close(timeoutMs: number | undefined): Promise<void> {
    const handle = this.#handle as Handle<'runtime'>;
    this.#handle = undefined;
    const served = [...this.#served].map((one) => one.close(timeoutMs === undefined ? {} : { timeoutMs }));
    await invoke(native.runtimeClose, 'runtime.close', { handle, a: arg('timeoutMs', timeoutMs ?? 0) });
    await Promise.all(served);
    for (const inbox of this.#routes) inbox.close();
    endTexts(handle);
    for (const end of [...this.#ends]) end();
    this.#settle();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** The versions of the software in this process, and of its protocol. */
export interface Versions {
  /** The version of this package. */
  readonly dynamoNode: string;
  /** The version of Dynamo's crates. */
  readonly dynamo: string;
  /**
   * The layout of instances, models and event channels in discovery. Processes with different layouts do not find each
   * other.
   */
  readonly protocol: string;
  /** The version of NIXL, if its library is loaded; `unknown` if its files do not contain it. The mock has none. */
  readonly nixl?: string;
}

/** Versions of this package, of Dynamo's crates and protocol, and of NIXL. */
export function versions(): Versions {
  const { dynamoCore, ...rest } = unpack(invokeSync(native.versions, 'versions')) as {
    dynamoCore: string;
    dynamo: string;
    protocol: string;
  };
  return { dynamoNode: dynamoCore, ...rest, ...loaded };
}
