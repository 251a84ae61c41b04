import type { Client } from '../../runtime/client.js';
import type { RequestOptions } from '../../runtime/client-options.js';
import type { DistributedRuntime } from '../../runtime/distributed-runtime.js';
import type { Graph } from '../graph.js';
import { calledNamespaces } from '../namespace.js';
import type { DependsOptions, Service } from '../service.js';
import { type Call, type ConnectedEndpoint, connectEndpoint } from './endpoint-calls.js';
import { Generations } from './generations.js';

/** The clients of one worker. */
export class Clients {
  readonly #open: { close(): Promise<void> }[] = [];

  private constructor(readonly runtime: DistributedRuntime) {}

  /** The clients of all dependencies of a service, by their property. */
  static async connect(
    runtime: DistributedRuntime,
    graph: Graph,
    service: Service,
  ): Promise<{ readonly byProperty: Readonly<Record<string, unknown>>; close(): Promise<void> }> {
    const clients = new Clients(runtime);
    const { namespace } = graph.entry;
    try {
      const connected = graph
        .dependenciesOf(service)
        .map(async ({ property, to, options }) => [property, await clients.#clientOf(to, namespace, options)] as const);
      const byProperty = Object.fromEntries(await Promise.all(connected));
      return { byProperty, close: () => clients.#close() };
    } catch (error) {
      await clients.#close();
      throw error;
    }
  }

  /** The client of one service of a graph that is not known. So its namespace counts as that of the graph. */
  static async connectTo(
    runtime: DistributedRuntime,
    service: Service,
    options: DependsOptions,
  ): Promise<{ readonly client: unknown; close(): Promise<void> }> {
    const clients = new Clients(runtime);
    try {
      return { client: await clients.#clientOf(service, service.namespace, options), close: () => clients.#close() };
    } catch (error) {
      await clients.#close();
      throw error;
    }
  }

  async #close(): Promise<void> {
    await Promise.all(this.#open.splice(0).map((one) => one.close()));
  }

  /** A call for each endpoint. An unknown name throws an error that lists the known ones. */
  async #clientOf(to: Service, graph: string, options: DependsOptions): Promise<unknown> {
    const callable = to.endpoints.filter(({ transports }) => transports.includes('dynamo'));
    const scope = calledNamespaces(to, graph, process.env);
    const calls = await Promise.all(
      callable.map(async ({ property, name, stream }) => {
        const connect = (namespace: string): Promise<ConnectedEndpoint> =>
          connectEndpoint(this.runtime.endpoint(`${namespace}.${to.component}.${name}`), options, stream);
        if (scope.kind === 'prefix') {
          const place = { component: to.component, endpoint: name };
          const generations = await Generations.create(this.runtime, scope, place, connect);
          this.#open.push(generations);
          return [property, callsOf(generations, generations.call.bind(generations))] as const;
        }
        const connected = await connect(scope.namespace);
        this.#open.push(connected);
        return [property, callsOf(connected.client, connected.call)] as const;
      }),
    );
    const known = callable.map(({ property }) => property).join(', ');
    const unknown = new Proxy(Object.prototype, {
      get(target, property) {
        if (typeof property === 'symbol' || property === 'then' || property in target)
          return Reflect.get(target, property) as unknown;
        throw new TypeError(
          `No Dynamo endpoint '${property}' found on service '${to.name}'. Available endpoints: [${known}]`,
        );
      },
    });
    return Object.freeze(Object.assign(Object.create(unknown) as object, Object.fromEntries(calls)));
  }
}

function callsOf(client: Client<unknown, unknown> | Generations, call: Call): unknown {
  return Object.assign((request: unknown, options?: RequestOptions) => call(request, options), {
    direct: (instanceId: bigint, request: unknown, options: RequestOptions = {}) =>
      call(request, { ...options, instanceId }),
    instances: () => client.instances(),
    waitForInstances: client.waitForInstances.bind(client),
  });
}
