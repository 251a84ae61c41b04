import { checkObject, isAsyncIterable } from '../check.js';
import { badArgument } from '../errors.js';
import { BuiltInWorker } from '../llm/built-in-worker.js';
import { Frontend } from '../llm/frontend.js';
import { serveEngine } from '../llm/worker.js';
import { custom, integer, type OptionTable, optionTable } from '../options.js';
import type { Client } from '../runtime/client.js';
import type { RequestOptions } from '../runtime/client-options.js';
import type { CloseOptions } from '../runtime/close-options.js';
import type { RequestContext } from '../runtime/context.js';
import type { DistributedRuntime } from '../runtime/distributed-runtime.js';
import type { EndpointDefinition } from './endpoint-definition.js';
import type { Graph } from './graph.js';
import { validate } from './schema.js';
import { type DependsOptions, type Hook, type HookKind, type Service, type ServiceLike, serviceOf } from './service.js';
import type { ServiceContext } from './service-context.js';

/** How a service is run. */
export interface HostOptions {
  /** The number of this worker among those of its service on this machine. @default 0 */
  readonly worker?: number;
  /** The configuration of the service, before the check by its schema. @default {} */
  readonly config?: Readonly<Record<string, unknown>>;
}

const HOST_OPTIONS: OptionTable<HostOptions> = optionTable<HostOptions>({
  worker: integer(0).about('The number of this worker.'),
  config: custom<Readonly<Record<string, unknown>>>('an object', checkObject).about(
    'The configuration of the service.',
  ),
});

type Closeable = { close(options?: CloseOptions): Promise<void> };

/** A worker of a service in this process. Made by `startService`. */
export class RunningService implements AsyncDisposable {
  /** Settles when it has ended. Rejects with the reason if it ended without a `close`. */
  readonly ended: Promise<void>;
  #closing: Promise<void> | undefined;
  readonly #end: (options: CloseOptions) => Promise<void>;

  /** @internal */
  constructor(
    readonly service: Service,
    /** The address for HTTP clients, if it is a frontend. */
    readonly url: string | undefined,
    ended: Promise<void>,
    end: (options: CloseOptions) => Promise<void>,
  ) {
    this.ended = ended;
    this.#end = end;
  }

  /** Completes the requests in flight, runs the shutdown hooks, and leaves the runtime open. Idempotent. */
  close(options: CloseOptions = {}): Promise<void> {
    this.#closing ??= this.#end(options);
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/**
 * Runs one worker of a service of a graph in this process, on a runtime. It is ready when the promise resolves.
 *
 * @param service the service, its class or its name
 * @throws GraphError for a faulty graph, TypeError for a service that TypeScript cannot run
 * @throws DynamoError `DYN_INVALID_REQUEST` for a configuration that its schema refuses
 * @throws what the start of the service throws
 */
export async function startService(
  runtime: DistributedRuntime,
  graph: Graph,
  service: ServiceLike | string,
  options: HostOptions = {},
): Promise<RunningService> {
  HOST_OPTIONS.check('startService options', options);
  const wanted =
    typeof service === 'string' ? graph.service(service) : graph.service(serviceOf('service', service).name);
  const { worker = 0, config = {} } = options;
  const shutdown = new AbortController();
  const { name, namespace, component, options: declared } = wanted;
  const context: ServiceContext = {
    service: name,
    namespace,
    component,
    worker,
    config: declared.config === undefined ? config : await validate(`${name} config`, declared.config, config),
    runtime,
    signal: shutdown.signal,
    clients: await clientsOf(runtime, graph, wanted),
  };
  return starters[wanted.program.kind](wanted as never, context, shutdown);
}

const forever = new Promise<void>(() => {});

type Starter<Kind extends Service['program']['kind']> = (
  service: Service & { readonly program: Extract<Service['program'], { kind: Kind }> },
  context: ServiceContext,
  shutdown: AbortController,
) => Promise<RunningService>;

const starters: { readonly [Kind in Service['program']['kind']]: Starter<Kind> } = {
  async code(service, context, shutdown) {
    const self = await service.program.create(context);
    await runHooks(service, 'start', self, context);
    const served: Closeable[] = [];
    const closeAll = async (options: CloseOptions): Promise<void> => {
      await Promise.all(served.map((one) => one.close(options)));
      shutdown.abort();
      await runHooks(service, 'shutdown', self, context);
    };
    try {
      for (const endpoint of service.endpoints)
        if (endpoint.transports.includes('dynamo')) served.push(await serve(endpoint, self, context));
    } catch (error) {
      await closeAll({}).catch(() => {});
      throw error;
    }
    return new RunningService(service, undefined, forever, closeAll);
  },

  async engine(service, context, shutdown) {
    const { engine, ...options } = await service.program.create(context);
    const served = await serveEngine(addressOf(context, 'generate'), engine, options);
    await served.ready;
    return running(service, served, shutdown);
  },

  async builtIn(service, context, shutdown) {
    const engine = await service.program.create(context);
    const path = `${context.namespace}.${context.component}.generate`;
    const worker = await BuiltInWorker.start(context.runtime, path, engine);
    await worker.ready;
    return running(service, worker, shutdown);
  },

  async frontend(service, context, shutdown) {
    const frontend = await Frontend.start(context.runtime, await service.program.create(context));
    await frontend.ready;
    return running(service, frontend, shutdown, frontend.url);
  },

  async python({ name }) {
    throw badArgument(
      new TypeError(`service ${name}: a program of Python runs in a process of its own, not in this one`),
    );
  },

  async abstract({ name }) {
    throw badArgument(new TypeError(`service ${name}: expected an implementation, got an abstract service`));
  },
};

function running(
  service: Service,
  served: Closeable & { readonly ended: Promise<void> },
  shutdown: AbortController,
  url?: string,
): RunningService {
  return new RunningService(service, url, served.ended, async (options) => {
    shutdown.abort();
    await served.close(options);
  });
}

async function runHooks(service: Service, kind: HookKind, self: unknown, context: ServiceContext): Promise<void> {
  const hooks: readonly Hook[] = service.hooks.filter((hook) => hook.kind === kind);
  for (const hook of hooks) await hook.call(self, context);
}

const addressOf = ({ runtime, namespace, component }: ServiceContext, endpoint: string) =>
  runtime.endpoint(`${namespace}.${component}.${endpoint}`);

/** Without a schema the method is the handler, so a call costs nothing more. */
function serve(endpoint: EndpointDefinition, self: unknown, context: ServiceContext): Promise<Closeable> {
  const { input, call, stream, name, concurrency } = endpoint;
  const path = `${context.service}.${name} request`;
  const answer = (request: unknown, of: RequestContext): unknown => call(self, request, context, of);
  const checked = async (request: unknown, of: RequestContext): Promise<unknown> =>
    answer(input === undefined ? request : await validate(path, input, request), of);
  async function* checkedStream(request: unknown, of: RequestContext): AsyncGenerator<unknown> {
    const items = await checked(request, of);
    if (isAsyncIterable(items)) yield* items;
    else yield* items as Iterable<unknown>;
  }
  const handler = input === undefined ? answer : stream ? checkedStream : checked;
  return addressOf(context, name).serve(handler as never, concurrency === undefined ? {} : { concurrency });
}

async function clientsOf(
  runtime: DistributedRuntime,
  graph: Graph,
  service: Service,
): Promise<Readonly<Record<string, unknown>>> {
  const clients = graph
    .dependenciesOf(service)
    .map(async ({ property, to, options }) => [property, await clientOf(runtime, to, options)] as const);
  return Object.fromEntries(await Promise.all(clients));
}

/** The client of a service: a call for each endpoint. An unknown name throws an error that lists the known ones. */
async function clientOf(runtime: DistributedRuntime, to: Service, options: DependsOptions): Promise<unknown> {
  const callable = to.endpoints.filter(({ transports }) => transports.includes('dynamo'));
  const known = callable.map(({ property }) => property);
  const calls = await Promise.all(
    callable.map(async ({ property, name, stream }) => {
      const client = await runtime.endpoint(`${to.namespace}.${to.component}.${name}`).client(options);
      return [property, callsOf(client, stream)] as const;
    }),
  );
  const unknown = new Proxy(Object.prototype, {
    get(target, property) {
      if (typeof property === 'symbol' || property === 'then' || property in target)
        return Reflect.get(target, property) as unknown;
      throw new TypeError(
        `No Dynamo endpoint '${property}' found on service '${to.name}'. Available endpoints: [${known.join(', ')}]`,
      );
    },
  });
  return Object.freeze(Object.assign(Object.create(unknown) as object, Object.fromEntries(calls)));
}

function callsOf(client: Client<unknown, unknown>, stream: boolean): unknown {
  const call = (stream ? client.generate : client.unary).bind(client) as (
    request: unknown,
    options?: RequestOptions,
  ) => unknown;
  return Object.assign((request: unknown, options?: RequestOptions) => call(request, options), {
    direct: (instanceId: bigint, request: unknown, options: RequestOptions = {}) =>
      call(request, { ...options, instanceId }),
    instances: () => client.instances(),
    waitForInstances: client.waitForInstances.bind(client),
  });
}
