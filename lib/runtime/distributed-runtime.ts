import { createServer } from 'node:net';
import { pack, packItem, unpack } from '../addon/codec.js';
import { Inbox } from '../addon/inbox.js';
import { invoke, invokeSync, native } from '../addon/invoke.js';
import { loaded } from '../addon/loaded.js';
import type { Handle } from '../addon/native.js';
import { open } from '../addon/stream.js';
import { checkBoolean, checkClose, checkFunction, checkString } from '../check.js';
import { DynamoError, failureFrom } from '../errors.js';
import { createArgs, type RuntimeOptions, serversOf } from './config.js';
import { Endpoint, Namespace } from './endpoint.js';
import { type Instance, instancesFrom } from './instance.js';
import { fixMaxMessageBytes, maxMessageBytes } from './limits.js';
import { endTexts, expose, Metrics } from './metrics.js';
import type { ServedEndpoint } from './serve.js';

/** @inline */
interface Created {
  instanceId: number | bigint;
  discovery: 'mem' | 'file' | 'etcd' | 'kubernetes';
  requestPlane: 'tcp' | 'nats';
  responsePlane: 'tcp' | 'quic';
  eventPlane: 'zmq' | 'nats';
  systemAddress: string | null;
  maxMessageBytes: number;
}

/** How long a server may take to answer before a word is said of it. */
const WARN_MS = 3000;

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
 * await using runtime = await DistributedRuntime.create({ discovery: { kind: 'file', dir: '/tmp/dynamo' }, host: '127.0.0.1' });
 * const endpoint = runtime.endpoint<{ text: string }, string>('demo.words.split');
 */
export class DistributedRuntime implements AsyncDisposable {
  #handle: Handle | undefined;
  #closing: Promise<void> | undefined;
  readonly #created: Created;

  private constructor(handle: Handle, created: Created) {
    this.#handle = handle;
    this.#created = created;
  }

  /** Connects. Fails where a server that the options or the environment ask for is not there. */
  static async create(options: RuntimeOptions = {}): Promise<DistributedRuntime> {
    const operation = 'DistributedRuntime.create';
    const args = pack(createArgs(options));
    const { connectTimeoutMs, systemPort = -1, systemHost = '0.0.0.0' } = options;
    const taken = (): Error =>
      new DynamoError(
        'Unavailable',
        `${operation}: the status server cannot listen on port ${systemPort} of ${systemHost}`,
        { reason: 'runtime.bind', operation },
      );
    // Asked for from the native side it would be fixed for the process, which could not try another.
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
      if (systemPort < 0 || runtime.systemAddress !== undefined) return runtime;
      await runtime.close();
      throw taken();
    } finally {
      clearTimeout(waiting);
    }
  }

  /** @internal */
  handle(operation: string): Handle {
    return open(this.#handle, 'the runtime', operation);
  }

  /** @internal */
  adopt(served: ServedEndpoint): ServedEndpoint {
    this.#served.add(served);
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

  /** What was resolved from options, environment and defaults. */
  get config(): Readonly<Pick<Created, 'discovery' | 'requestPlane' | 'responsePlane' | 'eventPlane'>> {
    const { discovery, requestPlane, responsePlane, eventPlane } = this.#created;
    return { discovery, requestPlane, responsePlane, eventPlane };
  }

  /** `host:port` of the status server, or undefined where there is none. */
  get systemAddress(): string | undefined {
    return this.#created.systemAddress ?? undefined;
  }

  /** What a message may weigh, in bytes. */
  get limits(): { readonly maxMessageBytes: number } {
    return { maxMessageBytes: maxMessageBytes() };
  }

  /** A namespace by its name, of a-z, 0-9, - and _; a RangeError on another. */
  namespace(name: string): Namespace {
    this.handle('runtime.namespace');
    return new Namespace(this, name);
  }

  /** An endpoint by its path, `namespace.component.endpoint`, with or without `dyn://`. */
  endpoint<Request = unknown, Response = unknown>(path: string): Endpoint<Request, Response> {
    this.handle('runtime.endpoint');
    checkString('runtime.endpoint path', path);
    const names = path.replace(/^dyn:\/\//, '').split('.');
    if (names.length !== 3) {
      throw new RangeError(`runtime.endpoint path: expected namespace.component.endpoint, got ${JSON.stringify(path)}`);
    }
    const [namespace, component, name] = names as [string, string, string];
    return new Endpoint<Request, Response>(this, namespace, component, name);
  }

  /** Every endpoint instance that discovery knows, of all namespaces. */
  async instances(): Promise<Instance[]> {
    return instancesFrom(
      await invoke(native.runtimeInstances, 'runtime.instances', { handle: this.handle('runtime.instances') }),
    );
  }

  /** Metrics at the root of the hierarchy. */
  get metrics(): Metrics {
    return new Metrics(this.handle('runtime.metrics'), {});
  }

  /** All metrics as Prometheus text, as the status server's `/metrics` shows them. */
  metricsText(): string {
    return expose(this.handle('runtime.metricsText'));
  }

  /** What `/health` answers, where no endpoint has a health check of its own: not ready until it is set. */
  setHealthy(healthy: boolean): void {
    checkBoolean('runtime.setHealthy healthy', healthy);
    invokeSync(native.runtimeSetHealth, 'runtime.setHealthy', {
      handle: this.handle('runtime.setHealthy'),
      a: healthy ? 1 : 0,
    });
  }

  /** Answers `/engine/{route}` on the status server: JSON in, JSON out. */
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

  readonly #routes: Inbox[] = [];
  readonly #ends = new Set<() => void>();
  readonly #served = new Set<ServedEndpoint>();

  /**
   * Leaves discovery, lets requests in flight end, closes connections; resolves when all is done. Idempotent.
   * `timeoutMs` bounds the wait for requests in flight; without it Dynamo's own limit holds
   * (`$DYN_RUNTIME_GRACEFUL_SHUTDOWN_TIMEOUT_SECS`, 900 s).
   */
  async close(options: { readonly timeoutMs?: number } = {}): Promise<void> {
    const timeoutMs = checkClose('runtime.close', options, 1);
    this.#closing ??= this.#close(timeoutMs);
    return this.#closing;
  }

  async #close(timeoutMs: number | undefined): Promise<void> {
    const handle = this.#handle as Handle;
    this.#handle = undefined;
    const served = [...this.#served].map((one) => one.close(timeoutMs === undefined ? {} : { timeoutMs }));
    await invoke(native.runtimeClose, 'runtime.close', { handle, a: timeoutMs ?? 0 });
    await Promise.all(served);
    for (const inbox of this.#routes) inbox.close();
    endTexts(handle);
    for (const end of [...this.#ends]) end();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** What runs in this process, and what it speaks. */
export interface Versions {
  /** Of this package. */
  readonly dynamoNode: string;
  /** Of Dynamo's crates. */
  readonly dynamo: string;
  /** Of the layout under which instances, models and event channels are found: processes of another one do not find each other. */
  readonly protocol: string;
  /** Of NIXL, once its library is loaded: `unknown` where its files do not tell. The mock has none. */
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
