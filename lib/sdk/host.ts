import { checkInstance, checkObject } from '../check.js';
import { badArgument, ClosedError } from '../errors.js';
import { callback, custom, integer, milliseconds, type OptionTable, optionTable } from '../options.js';
import { type CloseOptions, closeOptions } from '../runtime/close-options.js';
import { DistributedRuntime } from '../runtime/distributed-runtime.js';
import type { ClientOf, EndpointCalls } from './client.js';
import { Graph } from './graph.js';
import { Clients } from './host/clients.js';
import { startCode } from './host/code.js';
import { workerAddress } from './host/http.js';
import { type OnRequest, observedEngine } from './host/observed.js';
import type { StartedProgram, StartPlanner } from './host/started.js';
import { frontendScope, inNamespace, servedNamespace } from './namespace.js';
import { validate } from './schema.js';
import {
  checkBlockSize,
  DEPENDS_ROWS,
  type DependsOptions,
  type Service,
  type ServiceLike,
  serviceOf,
} from './service.js';
import type { ServiceContext } from './service-context.js';

/** How a service is run. */
export interface HostOptions {
  /** The number of this worker among those of its service on this machine. @default 0 */
  readonly worker?: number;
  /** The configuration of the service, before the check by its schema. @default {} */
  readonly config?: Readonly<Record<string, unknown>>;
  /** The port of its HTTP server, 0 for any. @default $DYNAMO_PORT, else that of the service, plus `worker` */
  readonly httpPort?: number;
  /**
   * Called with each request to an endpoint or an engine in TypeScript before it is answered, such as for a record. The
   * caller gets what it throws.
   */
  readonly onRequest?: OnRequest;
  /**
   * Runs a planner, which needs what starts and stops the workers of the graph.
   *
   * @internal
   */
  readonly startPlanner?: StartPlanner;
}

const HOST_OPTIONS: OptionTable<HostOptions> = optionTable<HostOptions>({
  worker: integer(0).about('The number of this worker.'),
  config: custom<Readonly<Record<string, unknown>>>('an object', checkObject).about(
    'The configuration of the service.',
  ),
  httpPort: integer(0, 65_535).about('The port of its HTTP server, 0 for any.'),
  onRequest: callback<OnRequest>().about('Called with each request before it is answered.'),
  startPlanner: callback<StartPlanner>(),
});

/** The port of a frontend that names none. */
const FRONTEND_PORT = 8000;

const CLOSE_OPTIONS: OptionTable<CloseOptions> = closeOptions(0);

/** A worker of a service in this process. Made by `startService`. */
export class RunningService implements AsyncDisposable {
  /** Settles when it has ended. Rejects with the reason if it ended without a `close`. */
  readonly ended: Promise<void>;
  #closing: Promise<void> | undefined;
  readonly #end: (options: CloseOptions) => Promise<void>;

  /** @internal */
  constructor(
    readonly service: Service,
    /** The namespace in which it registers: `$DYN_NAMESPACE` and `$DYN_NAMESPACE_WORKER_SUFFIX` may have changed it. */
    readonly namespace: string,
    /** The address for HTTP clients, if it is a frontend or has endpoints with the transport `http`. */
    readonly url: string | undefined,
    ended: Promise<void> | undefined,
    end: (options: CloseOptions) => Promise<void>,
  ) {
    let closed = (): void => {};
    const isClosed = new Promise<void>((resolve) => {
      closed = resolve;
    });
    this.ended = Promise.race(ended === undefined ? [isClosed] : [isClosed, ended]);
    this.ended.catch(() => {});
    this.#end = (options) => end(options).finally(closed);
  }

  /**
   * Completes the requests in flight, aborts the signal of the service, runs the shutdown hooks, and leaves the runtime
   * open. Idempotent.
   *
   * @throws what a shutdown hook throws, after all of them have run
   */
  async close(options: CloseOptions = {}): Promise<void> {
    CLOSE_OPTIONS.check('service.close options', options);
    this.#closing ??= this.#end(options);
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/**
 * Runs one worker of a service of a graph in this process, on its own runtime. It is ready when the promise resolves;
 * then `/health` of the runtime's status server says so.
 *
 * @param service the service, its class or its name
 * @throws GraphError for a faulty graph, TypeError for a service that TypeScript cannot run
 * @throws DynamoError `DYN_INVALID_REQUEST` for a configuration that its schema refuses
 * @throws what the start of the service throws; then nothing of it is served
 */
export async function startService(
  runtime: DistributedRuntime,
  graph: Graph,
  service: ServiceLike | string,
  options: HostOptions = {},
): Promise<RunningService> {
  checkInstance('startService runtime', runtime, DistributedRuntime);
  checkInstance('startService graph', graph, Graph);
  HOST_OPTIONS.check('startService options', options);
  const wanted =
    typeof service === 'string'
      ? graph.service(service)
      : graph.service(serviceOf('startService service', service).name);
  const { worker = 0, config = {} } = options;
  const { name, component, options: declared } = wanted;
  const namespace = servedNamespace(wanted, graph.entry.namespace, process.env);
  const checked = declared.config === undefined ? config : await validate(`${name} config`, declared.config, config);
  const clients = await Clients.connect(runtime, graph, wanted);
  const ending = new AbortController();
  const { signal } = ending;
  const context = { service: name, namespace, component, worker, config: checked, runtime, signal };
  try {
    const started = await starters[wanted.program.kind](
      wanted as never,
      { ...context, clients: clients.byProperty },
      options,
      graph,
    );
    setHealthy(runtime, true);
    return new RunningService(wanted, namespace, started.url, started.ended, async (how) => {
      setHealthy(runtime, false);
      try {
        await started.close(how);
        ending.abort();
        await started.shutdown?.();
      } finally {
        ending.abort();
        await clients.close();
      }
    });
  } catch (error) {
    ending.abort();
    await clients.close();
    throw error;
  }
}

/** How code that is no service itself calls a service. */
export interface ConnectServiceOptions extends DependsOptions {
  /** How long to wait for a first worker of each endpoint; 0 does not wait. @default 30000 */
  readonly timeoutMs?: number;
}

const CONNECT_OPTIONS: OptionTable<ConnectServiceOptions> = optionTable<ConnectServiceOptions>({
  ...DEPENDS_ROWS,
  timeoutMs: milliseconds(0).about('How long to wait for a first worker of each endpoint.'),
});

/** Also for graphs that start at the same time. */
const CONNECT_MS = 30_000;

/** The client of a service for code that is no service itself. */
export interface ConnectedService<Methods> extends AsyncDisposable {
  readonly client: ClientOf<Methods>;
  /** Ends the background tasks of the client. */
  close(): Promise<void>;
}

/**
 * Connects code that is no service itself, such as a web application, to a service of the same deployment. It waits
 * until each endpoint of the service can be called.
 *
 * @throws TypeError, RangeError for what is no service, and for a wrong option
 * @throws DynamoError `DYN_DEADLINE_EXCEEDED` if no worker is found within `timeoutMs`; then nothing stays open
 *
 * @example
 * import { connectService, DistributedRuntime } from 'dynamo-node';
 * import { defineService } from 'dynamo-node/sdk';
 *
 * const Words = defineService('Words').endpoint('split', async (text: string) => text.split(' '));
 *
 * const runtime = await DistributedRuntime.create({ discovery: { kind: 'file' }, host: '127.0.0.1' });
 * await using words = await connectService(runtime, Words);
 * console.log(await words.client.split('moved in blocks'));
 */
export async function connectService<Methods>(
  runtime: DistributedRuntime,
  service: ServiceLike<Methods>,
  options: ConnectServiceOptions = {},
): Promise<ConnectedService<Methods>> {
  checkInstance('connectService runtime', runtime, DistributedRuntime);
  CONNECT_OPTIONS.check('connectService options', options);
  checkBlockSize('connectService options', options);
  const { timeoutMs = CONNECT_MS, ...how } = options;
  const { client, close } = await Clients.connectTo(runtime, serviceOf('connectService service', service), how);
  try {
    const calls = Object.values(client as object) as EndpointCalls[];
    if (timeoutMs > 0) await Promise.all(calls.map((call) => call.waitForInstances({ timeoutMs })));
  } catch (error) {
    await close();
    throw error;
  }
  return { client: client as ClientOf<Methods>, close, [Symbol.asyncDispose]: close };
}

/** A runtime that was closed before its service has no health. */
function setHealthy(runtime: DistributedRuntime, isHealthy: boolean): void {
  try {
    runtime.setHealthy(isHealthy);
  } catch (error) {
    if (!(error instanceof ClosedError)) throw error;
  }
}

async function ready<Served extends StartedProgram & { readonly ready: Promise<unknown> }>(
  served: Served,
): Promise<Served> {
  try {
    await served.ready;
    return served;
  } catch (error) {
    await served.close({}).catch(() => {});
    throw error;
  }
}

type Starter<Kind extends Service['program']['kind']> = (
  service: Service & { readonly program: Extract<Service['program'], { kind: Kind }> },
  context: ServiceContext,
  options: HostOptions,
  graph: Graph,
) => Promise<StartedProgram>;

/** What only some workers run is loaded by those alone: it is nearly a third of the modules. */
const starters: { readonly [Kind in Service['program']['kind']]: Starter<Kind> } = {
  code: startCode,

  async engine({ program }, context, { onRequest }) {
    const { engine, ...options } = await program.create(context);
    const { runtime, namespace, component } = context;
    const observed = onRequest === undefined ? engine : observedEngine(engine, onRequest);
    const { serveEngine } = await import('../llm/worker.js');
    const served = await serveEngine(runtime.endpoint(`${namespace}.${component}.generate`), observed, options);
    return ready(served);
  },

  async builtIn({ program }, context) {
    const { runtime, namespace, component } = context;
    const engine = await program.create(context);
    const { BuiltInWorker } = await import('../llm/built-in-worker.js');
    const worker = await BuiltInWorker.start(runtime, `${namespace}.${component}.generate`, engine);
    return ready(worker);
  },

  async frontend({ program }, context, { httpPort }) {
    const { host, port = FRONTEND_PORT, ...options } = await program.create(context);
    const address = workerAddress(context.service, { host, port }, context.worker, httpPort);
    const listening = { port: address.port, ...(address.host === undefined ? {} : { host: address.host }) };
    const scope = frontendScope(process.env);
    const { Frontend } = await import('../llm/frontend.js');
    return ready(await Frontend.start(context.runtime, { ...scope, ...options, ...listening }));
  },

  async planner({ name, program }, context, { startPlanner }, graph) {
    if (startPlanner === undefined)
      throw badArgument(
        new TypeError(
          `service ${name}: a planner runs in \`dynamo serve\`, in a graph of \`startGraph\`, or in Kubernetes`,
        ),
      );
    return startPlanner(await program.create(context), context, inNamespace(graph.toJSON(), process.env));
  },

  async python({ name }) {
    throw badArgument(new TypeError(`service ${name}: a program of Python runs in its own process, not in this one`));
  },

  async abstract({ name }) {
    throw badArgument(new TypeError(`service ${name}: expected an implementation, got an abstract service`));
  },
};
