import { packArgs, unpack } from '../addon/codec.js';
import { Inbox } from '../addon/inbox.js';
import { invoke, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import {
  checkClose,
  checkInteger,
  checkObject,
  checkOneOf,
  checkOptions,
  checkSignal,
  checkString,
  MAX_U32,
} from '../check.js';
import { ClosedError, DynamoError } from '../errors.js';
import { defined } from '../options.js';
import { type PolicyCounts, PolicyHost, type RoutingPolicy } from '../router/policy.js';
import type { RuntimeOptions } from '../runtime/config.js';
import { DistributedRuntime } from '../runtime/distributed-runtime.js';
import { type FrontendOptions, frontendArgs, type HttpFrontendOptions } from './frontend-options.js';
import { ProcessorHost } from './processor.js';
import { RouteHost } from './routes.js';

const READY_TIMEOUT_MS = 60_000;
const CLOSE_TIMEOUT_MS = 30_000;

interface Started {
  host: string;
  port: number;
  /** What the host's own routes and processors are called through. */
  routes: Handle;
  processors: Handle;
  processing: Handle;
  /** What a routing policy is called and counted through. */
  scoring: [Handle, Handle] | undefined;
}

/** Requests of a frontend's that are processed at a time; others wait on the native side. */
const CONCURRENCY = 4096;

/** An input of Dynamo's that runs in this process, with the runtime that belongs to it. */
abstract class Entrypoint implements AsyncDisposable {
  readonly #handle: Handle;
  readonly #runtime: DistributedRuntime;
  readonly #what: string;
  #closing: Promise<void> | undefined;
  /** Resolves once it answers; rejects with what kept it from that. */
  readonly ready: Promise<void>;
  /** Settles when it has ended; rejects with what ended it unasked. Until then the process is kept alive. */
  readonly ended: Promise<void>;

  /** @internal */
  protected constructor(handle: Handle, runtime: DistributedRuntime, what: string) {
    this.#handle = handle;
    this.#runtime = runtime;
    this.#what = what;
    this.ready = invoke(native.entrypointReady, `${what} ready`, { handle, a: READY_TIMEOUT_MS });
    this.ended = invoke(native.entrypointWait, what, { handle });
    this.ready.catch(() => {});
    this.ended.catch(() => {});
  }

  /**
   * Takes no more requests, lets those in flight end, and closes the runtime. `timeoutMs` bounds the wait for requests.
   * Idempotent.
   */
  async close(options: { readonly timeoutMs?: number } = {}): Promise<void> {
    const timeoutMs = checkClose(`${this.#what}.close`, options, 1);
    this.#closing ??= this.#close(timeoutMs ?? CLOSE_TIMEOUT_MS);
    return this.#closing;
  }

  protected checkOpen(operation: string): void {
    if (this.#closing !== undefined) throw new ClosedError(`the ${this.#what}`, operation);
  }

  async #close(timeoutMs: number): Promise<void> {
    try {
      await invoke(native.entrypointClose, 'close', { handle: this.#handle, a: timeoutMs });
    } finally {
      await this.#runtime.close({ timeoutMs });
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

async function start<T>(
  operation: string,
  runtime: DistributedRuntime | RuntimeOptions,
  args: Record<string, unknown>,
  made: (handle: Handle, runtime: DistributedRuntime, started: Started) => T,
): Promise<T> {
  const own = runtime instanceof DistributedRuntime ? runtime : await DistributedRuntime.create(runtime);
  try {
    const parts = { handle: own.handle(operation), args: packArgs(args) };
    const [bytes, handle, routes, processors, processing, ...policy] = await invoke(
      native.entrypointStart,
      operation,
      parts,
    );
    const { host, port } = unpack(bytes) as Pick<Started, 'host' | 'port'>;
    const [inbox, counter] = policy;
    const scoring: Started['scoring'] = inbox === undefined || counter === undefined ? undefined : [inbox, counter];
    return made(handle, own, { host, port, routes, processors, processing, scoring });
  } catch (error) {
    if (own !== runtime) await own.close();
    throw error;
  }
}

/**
 * Dynamo's frontend: the OpenAI-compatible HTTP server, the KServe gRPC server, or a conversation on the terminal. It finds
 * models and their workers through discovery, applies chat templates, tokenizes, routes, and turns tokens into text.
 *
 * @example
 * const frontend = await Frontend.start({ discovery: { kind: 'file', dir } }, { host: '127.0.0.1', port: 8000 });
 * await frontend.ready;
 * console.log(`${frontend.url}/v1/models`);
 */
export class Frontend extends Entrypoint {
  /** Where clients reach it, such as `http://127.0.0.1:8000`; empty on a terminal. */
  readonly url: string;
  /** The port it listens on, also where 0 was asked for; 0 on a terminal. */
  readonly port: number;

  readonly #policy: PolicyHost | undefined;

  private constructor(
    handle: Handle,
    runtime: DistributedRuntime,
    url: string,
    port: number,
    policy: PolicyHost | undefined,
  ) {
    super(handle, runtime, 'Frontend');
    this.url = url;
    this.port = port;
    this.#policy = policy;
  }

  /**
   * Starts a frontend on a runtime of its own (from `RuntimeOptions`), or on one that from here on belongs to it: the
   * frontend closes its runtime when it ends.
   *
   * @throws DynamoError `DYN_UNAVAILABLE` with reason `frontend.bind` and `details: {host, port}` where it cannot listen
   */
  static start(runtime: DistributedRuntime | RuntimeOptions, options: FrontendOptions = {}): Promise<Frontend> {
    const args = frontendArgs('Frontend.start options', options);
    const { routes, processor } = options as HttpFrontendOptions;
    return start('Frontend.start', runtime, args, (handle, own, started) => {
      const { host, port } = started;
      const inbox = { concurrency: CONCURRENCY, background: true };
      if (routes !== undefined) void new Inbox(started.routes, new RouteHost(routes), inbox).ended;
      if (processor !== undefined) {
        const host = new ProcessorHost(started.processors, processor);
        void new Inbox(started.processing, host, inbox).ended.then(() => host.end());
      }
      const scheme = options.input === 'grpc' ? 'grpc' : args['tlsCertPath'] === undefined ? 'http' : 'https';
      const name =
        host === '0.0.0.0' || host === '::'
          ? '127.0.0.1'
          : host.includes(':')
            ? `[${host.replace(/[[\]]/g, '')}]`
            : host;
      const policy = started.scoring && new PolicyHost(...started.scoring, options.router?.policy as RoutingPolicy);
      return new Frontend(handle, own, port === 0 ? '' : `${scheme}://${name}:${port}`, port, policy);
    });
  }

  /** How its routing policy fared; undefined without one. `/metrics` has it as `router_policy_requests_total`. */
  get policyCounts(): PolicyCounts | undefined {
    return this.#policy?.counts;
  }

  /** The names of the models that can be asked now. Plain HTTP only. */
  async models(options: { readonly signal?: AbortSignal } = {}): Promise<string[]> {
    const path = 'frontend.models';
    checkOptions(`${path} options`, options, ['signal']);
    if (options.signal !== undefined) checkSignal(`${path} options.signal`, options.signal);
    this.checkOpen(path);
    if (!this.url.startsWith('http:')) {
      throw new DynamoError('NotImplemented', `${path}: expected a plain HTTP frontend, got ${this.url}`);
    }
    const response = await fetch(`${this.url}/v1/models`, { signal: options.signal ?? null }).catch((error: Error) => {
      options.signal?.throwIfAborted();
      this.checkOpen(path);
      throw new DynamoError('Unavailable', `${path}: ${this.url} does not answer: ${String(error.cause ?? error)}`);
    });
    const { data } = (await response.json()) as { data: { id: string }[] };
    return data.map(({ id }) => id);
  }

  /** Resolves once a model can be asked: one of its workers is there. Plain HTTP only. */
  async waitForModel(
    name: string,
    options: { readonly timeoutMs?: number; readonly signal?: AbortSignal } = {},
  ): Promise<void> {
    const path = 'frontend.waitForModel';
    checkString(`${path} name`, name);
    checkOptions(`${path} options`, options, ['timeoutMs', 'signal']);
    const { timeoutMs = 30_000, signal } = options;
    checkInteger(`${path} options.timeoutMs`, timeoutMs, 1);
    if (signal !== undefined) checkSignal(`${path} options.signal`, signal);
    const deadline = Date.now() + timeoutMs;
    await this.ready;
    for (;;) {
      const models = await this.models(options.signal === undefined ? {} : { signal: options.signal });
      if (models.includes(name)) return;
      signal?.throwIfAborted();
      if (Date.now() > deadline) {
        const seen = models.length === 0 ? 'none' : models.join(', ');
        throw new DynamoError(
          'DeadlineExceeded',
          `${path}: no worker of ${name} within ${timeoutMs} ms; models seen: ${seen}`,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  }
}

/** An engine of the crates' own, served as a worker. */
export type BuiltInEngine =
  /** Gives back the words of the prompt; frontends hand it the text. */
  | { readonly kind: 'echo'; readonly modelName: string }
  /** Random tokens at the pace of an engine, with a simulated KV cache. `config` has `MockerConfig`'s own shape, such as `{engine: {speedup_ratio: 10}}`. */
  | {
      readonly kind: 'mocker';
      readonly modelPath: string;
      /** @default modelPath */
      readonly modelName?: string;
      readonly workerType?: 'aggregated' | 'prefill' | 'decode';
      /** Tokens in a KV cache block. @default 16 */
      readonly kvCacheBlockSize?: number;
      readonly config?: Readonly<Record<string, unknown>>;
    };

/** A worker with an engine of the crates' own. */
export class BuiltInWorker extends Entrypoint {
  private constructor(
    handle: Handle,
    runtime: DistributedRuntime,
    /** The endpoint that it serves. */
    readonly endpoint: string,
  ) {
    super(handle, runtime, 'BuiltInWorker');
  }

  /** Serves an engine on an endpoint, `namespace.component.endpoint`. The worker closes its runtime when it ends. */
  static start(
    runtime: DistributedRuntime | RuntimeOptions,
    endpoint: string,
    engine: BuiltInEngine,
  ): Promise<BuiltInWorker> {
    const path = 'BuiltInWorker.start';
    checkString(`${path} endpoint`, endpoint);
    if (!/^[a-z0-9_-]+\.[a-z0-9_-]+\.[a-z0-9_-]+$/.test(endpoint)) {
      throw new RangeError(`${path} endpoint: expected namespace.component.endpoint, got ${JSON.stringify(endpoint)}`);
    }
    checkObject(`${path} engine`, engine, [
      'kind',
      'modelPath',
      'modelName',
      'workerType',
      'kvCacheBlockSize',
      'config',
    ]);
    checkOneOf(`${path} engine.kind`, engine.kind, ['echo', 'mocker']);
    if (engine.kind === 'mocker') checkString(`${path} engine.modelPath`, engine.modelPath);
    if (engine.kind === 'echo' || engine.modelName !== undefined)
      checkString(`${path} engine.modelName`, engine.modelName);
    const { kind, modelName, modelPath, workerType, kvCacheBlockSize, config } = engine as Extract<
      BuiltInEngine,
      { kind: 'mocker' }
    >;
    if (workerType !== undefined)
      checkOneOf(`${path} engine.workerType`, workerType, ['aggregated', 'prefill', 'decode']);
    if (kvCacheBlockSize !== undefined) checkInteger(`${path} engine.kvCacheBlockSize`, kvCacheBlockSize, 1, MAX_U32);
    if (config !== undefined) checkObject(`${path} engine.config`, config);
    const args = {
      input: `dyn://${endpoint}`,
      engine: kind,
      model: modelPath,
      modelName,
      workerType,
      kvCacheBlockSize,
      mocker: mockerConfig(path, config, workerType),
    };
    return start(path, runtime, defined(args), (handle, own) => new BuiltInWorker(handle, own, endpoint));
  }
}

/** The card alone would make it a prefill worker in name: the engine has a part of its own. */
function mockerConfig(
  path: string,
  config: Readonly<Record<string, unknown>> | undefined,
  workerType: string | undefined,
): unknown {
  if (workerType === undefined) return config;
  const { engine = {} } = config ?? {};
  checkObject(`${path} engine.config.engine`, engine);
  return { ...config, engine: { ...engine, worker_type: workerType } };
}
