import { badArgument } from '../../errors.js';
import type { Client } from '../../runtime/client.js';
import type { RequestOptions } from '../../runtime/client-options.js';
import type { DistributedRuntime } from '../../runtime/distributed-runtime.js';
import type { Graph } from '../graph.js';
import type { DependsOptions, Service } from '../service.js';
import { KvCalls } from './kv-calls.js';

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
    try {
      const connected = graph
        .dependenciesOf(service)
        .map(async ({ property, to, options }) => [property, await clients.#clientOf(to, options)] as const);
      const byProperty = Object.fromEntries(await Promise.all(connected));
      return { byProperty, close: () => clients.#close() };
    } catch (error) {
      await clients.#close();
      throw error;
    }
  }

  /** The client of one service. */
  static async connectTo(
    runtime: DistributedRuntime,
    service: Service,
    options: DependsOptions,
  ): Promise<{ readonly client: unknown; close(): Promise<void> }> {
    const clients = new Clients(runtime);
    try {
      return { client: await clients.#clientOf(service, options), close: () => clients.#close() };
    } catch (error) {
      await clients.#close();
      throw error;
    }
  }

  async #close(): Promise<void> {
    await Promise.all(this.#open.splice(0).map((one) => one.close()));
  }

  /** A call for each endpoint. An unknown name throws an error that lists the known ones. */
  async #clientOf(to: Service, options: DependsOptions): Promise<unknown> {
    const callable = to.endpoints.filter(({ transports }) => transports.includes('dynamo'));
    const calls = await Promise.all(
      callable.map(async ({ property, name, stream }) => {
        const endpoint = this.runtime.endpoint(`${to.namespace}.${to.component}.${name}`);
        const { mode, blockSize } = options;
        if (mode !== 'kv') {
          const client = await endpoint.client(mode === undefined ? {} : { mode });
          this.#open.push(client);
          return [property, callsOf(client, (stream ? client.generate : client.unary).bind(client) as Call)] as const;
        }
        const client = await endpoint.client({ mode: 'direct' });
        this.#open.push(client);
        if (!stream)
          throw badArgument(new TypeError(`${client.path}: mode kv is for endpoints that answer with a stream`));
        const routed = await KvCalls.create(endpoint, client, blockSize as number);
        this.#open.push(routed);
        return [property, callsOf(client, routed.generate.bind(routed))] as const;
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

type Call = (request: unknown, options?: RequestOptions) => unknown;

function callsOf(client: Client<unknown, unknown>, call: Call): unknown {
  return Object.assign((request: unknown, options?: RequestOptions) => call(request, options), {
    direct: (instanceId: bigint, request: unknown, options: RequestOptions = {}) =>
      call(request, { ...options, instanceId }),
    instances: () => client.instances(),
    waitForInstances: client.waitForInstances.bind(client),
  });
}
