import { Inbox } from '../addon/inbox.js';
import type { Handle } from '../addon/native.js';
import { checkString } from '../check.js';
import { DynamoError } from '../errors.js';
import { integer, type OptionTable, optionTable, signal } from '../options.js';
import { type PolicyCounts, PolicyHost, type RoutingPolicy } from '../router/policy.js';
import type { RuntimeOptions } from '../runtime/config.js';
import type { DistributedRuntime } from '../runtime/distributed-runtime.js';
import { Entrypoint, startEntrypoint } from './entrypoint.js';
import { type FrontendOptions, frontendArgs, type HttpFrontendOptions } from './frontend-options.js';
import { ProcessorHost } from './processor.js';
import { RouteHost } from './routes.js';

/** Requests of a frontend that are processed concurrently; others wait on the native side. */
const CONCURRENCY = 4096;

/** @inline */
interface ModelsOptions {
  readonly signal?: AbortSignal;
}

/** @inline */
interface WaitForModelOptions extends ModelsOptions {
  /** @default 30000 */
  readonly timeoutMs?: number;
}

const MODELS_OPTIONS: OptionTable<ModelsOptions> = optionTable<ModelsOptions>({ signal });

const WAIT_FOR_MODEL_OPTIONS: OptionTable<WaitForModelOptions> = optionTable<WaitForModelOptions>({
  timeoutMs: integer(1),
  signal,
});

/**
 * Dynamo's frontend: the OpenAI-compatible HTTP server, the KServe gRPC server, or a conversation on the terminal. It
 * discovers models and their workers, applies chat templates, tokenizes, routes, and detokenizes.
 *
 * @example
 * const frontend = await Frontend.start({ discovery: { kind: 'file', dir } }, { host: '127.0.0.1', port: 8000 });
 * await frontend.ready;
 * console.log(`${frontend.url}/v1/models`);
 */
export class Frontend extends Entrypoint {
  /** The address for clients, such as `http://127.0.0.1:8000`; empty on a terminal. */
  readonly url: string;
  /** The port on which it listens, also if the option `port` was 0. 0 on a terminal. */
  readonly port: number;

  readonly #policy: PolicyHost | undefined;

  private constructor(
    handle: Handle<'entrypoint'>,
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
   * Starts a frontend on an existing runtime, or on a new runtime with the given options. The frontend owns the runtime
   * from then on, and closes it when it ends.
   *
   * @throws DynamoError `DYN_UNAVAILABLE` with reason `frontend.bind` and `details: {host, port}` if it cannot listen
   */
  static start(runtime: DistributedRuntime | RuntimeOptions, options: FrontendOptions = {}): Promise<Frontend> {
    const args = frontendArgs('Frontend.start options', options);
    const { routes, processor } = options as HttpFrontendOptions;
    return startEntrypoint('Frontend.start', runtime, args, (handle, owned, started) => {
      const { host, port } = started;
      const inbox = { concurrency: CONCURRENCY, background: true };
      if (routes !== undefined) {
        const host = new RouteHost(routes);
        void new Inbox(started.routes, host, inbox).ended.then(() => host.end());
      }
      if (processor !== undefined) {
        const host = new ProcessorHost(started.processors, processor);
        void new Inbox(started.processing, host, inbox).ended.then(() => host.end());
      }
      const scheme = options.input === 'grpc' ? 'grpc' : args['tlsCertPath'] === undefined ? 'http' : 'https';
      const policy = started.scoring && new PolicyHost(...started.scoring, options.router?.policy as RoutingPolicy);
      const url = port === 0 ? '' : `${scheme}://${hostInUrl(host)}:${port}`;
      return new Frontend(handle, owned, url, port, policy);
    });
  }

  /**
   * Counts of its routing policy; undefined without a policy. `/metrics` has them as `router_policy_requests_total`.
   */
  get policyCounts(): PolicyCounts | undefined {
    return this.#policy?.counts;
  }

  /** The names of the models that are available now. Plain HTTP only. */
  async models(options: ModelsOptions = {}): Promise<string[]> {
    const path = 'frontend.models';
    MODELS_OPTIONS.check(`${path} options`, options);
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

  /**
   * Resolves when a model is listed: the workers that it needs are present. Plain HTTP only.
   *
   * A frontend that has just found a prefill worker is not yet connected to it. For some milliseconds it answers
   * requests with status 503, and clients that retry, as those of OpenAI do, never see it. Source: dynamo-llm
   * `kv_router/prefill_router`.
   *
   * @throws DynamoError `DYN_DEADLINE_EXCEEDED` after `timeoutMs`, with the models seen
   */
  async waitForModel(name: string, options: WaitForModelOptions = {}): Promise<void> {
    const path = 'frontend.waitForModel';
    checkString(`${path} name`, name);
    WAIT_FOR_MODEL_OPTIONS.check(`${path} options`, options);
    const { timeoutMs = 30_000, signal } = options;
    const deadline = Date.now() + timeoutMs;
    await this.ready;
    for (;;) {
      const models = await this.models(signal === undefined ? {} : { signal });
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

/** The host of a URL that reaches a server on `host`. */
function hostInUrl(host: string): string {
  if (host === '0.0.0.0' || host === '::') return '127.0.0.1';
  return host.includes(':') ? `[${host.replace(/[[\]]/g, '')}]` : host;
}
