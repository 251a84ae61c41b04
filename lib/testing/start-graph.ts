import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { checkInstance, wrongType } from '../check.js';
import { custom, milliseconds, type OptionTable, optionTable } from '../options.js';
import { DistributedRuntime } from '../runtime/distributed-runtime.js';
import type { ClientOf } from '../sdk/client.js';
import { Graph } from '../sdk/graph.js';
import { type ConnectedService, connectService, type RunningService, startService } from '../sdk/host.js';
import { type Service, type ServiceLike, serviceOf } from '../sdk/service.js';

type Configs = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

/** How a graph is run for a test. */
export interface StartGraphOptions {
  /** The configuration of services, by their names. @default none */
  readonly config?: Configs;
  /** Time at close for the requests in flight. @default 5000 */
  readonly closeTimeoutMs?: number;
}

const START_GRAPH_OPTIONS: OptionTable<StartGraphOptions> = optionTable<StartGraphOptions>({
  config: custom<Configs>('an object of objects', checkConfigs).about('The configuration of services.'),
  closeTimeoutMs: milliseconds().about('Time at close for the requests in flight.'),
});

function checkConfigs(path: string, value: unknown): void {
  const isObject = (one: unknown): boolean => typeof one === 'object' && one !== null && !Array.isArray(one);
  if (!isObject(value)) wrongType(path, 'an object of objects', value);
  for (const [name, config] of Object.entries(value as object))
    if (!isObject(config)) wrongType(`${path}.${name}`, 'an object', config);
}

interface Worker {
  readonly running: RunningService;
  readonly runtime: DistributedRuntime;
}

/** A graph that runs in this process. Made by `startGraph`. */
export class RunningGraph implements AsyncDisposable {
  readonly #graph: Graph;
  readonly #options: StartGraphOptions;
  readonly #folder = mkdtempSync(join(tmpdir(), 'dynamo-graph-'));
  readonly #workers = new Map<Service, Worker[]>();
  readonly #connected: ConnectedService<never>[] = [];
  readonly #runtimes: DistributedRuntime[] = [];
  #closing: Promise<void> | undefined;

  /** @internal */
  constructor(graph: Graph, options: StartGraphOptions) {
    this.#graph = graph;
    this.#options = options;
  }

  /** The address for HTTP clients of its entry; undefined if that has none. */
  get url(): string | undefined {
    return this.workers(this.#graph.entry)[0]?.url;
  }

  /** The workers of a service that run now. */
  workers(service: ServiceLike | string): readonly RunningService[] {
    return this.#workersOf(service).map(({ running }) => running);
  }

  /** A client of a service, as a service that depends on it has. It waits until a worker can be called. */
  async client<Methods>(service: ServiceLike<Methods>): Promise<ClientOf<Methods>> {
    const { client, close } = await connectService(await this.#runtime(), service);
    this.#connected.push({ client: client as never, close, [Symbol.asyncDispose]: close });
    const calls = Object.values(client) as { waitForInstances(options: object): Promise<unknown> }[];
    if (this.#workersOf(service).length > 0)
      await Promise.all(calls.map((call) => call.waitForInstances({ timeoutMs: 30_000 })));
    return client;
  }

  /** Starts one more worker of a service. */
  async add(service: ServiceLike | string): Promise<RunningService> {
    const found = this.#service(service);
    const workers = this.#workersOf(found);
    const runtime = await this.#runtime();
    const running = await startService(runtime, this.#graph, found, {
      worker: workers.length,
      config: this.#options.config?.[found.name] ?? {},
      httpPort: 0,
    });
    this.#workers.set(found, [...workers, { running, runtime }]);
    return running;
  }

  /** Drains one worker of a service. Its clients then use the others. */
  async remove(service: ServiceLike | string): Promise<void> {
    const found = this.#service(service);
    const workers = this.#workersOf(found);
    const last = workers.at(-1);
    if (last === undefined) throw new RangeError(`service ${found.name}: expected a worker to remove, got none`);
    this.#workers.set(found, workers.slice(0, -1));
    await this.#closeWorker(last);
  }

  /** Drains all services, the entry first, and removes what they left on disk. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #service(service: ServiceLike | string): Service {
    return this.#graph.service(typeof service === 'string' ? service : serviceOf('service', service).name);
  }

  #workersOf(service: ServiceLike | string): readonly Worker[] {
    return this.#workers.get(this.#service(service)) ?? [];
  }

  async #runtime(): Promise<DistributedRuntime> {
    const discovery = { kind: 'file', dir: this.#folder } as const;
    const runtime = await DistributedRuntime.create({ discovery, host: '127.0.0.1' });
    this.#runtimes.push(runtime);
    return runtime;
  }

  async #closeWorker({ running, runtime }: Worker): Promise<void> {
    const { closeTimeoutMs: timeoutMs = 5000 } = this.#options;
    await running.close({ timeoutMs });
    await runtime.close({ timeoutMs });
  }

  async #close(): Promise<void> {
    try {
      await Promise.all(this.#connected.map((one) => one.close()));
      for (const service of [...this.#graph.services].reverse())
        await Promise.all(this.#workersOf(service).map((worker) => this.#closeWorker(worker)));
    } finally {
      await Promise.all(this.#runtimes.map((runtime) => runtime.close({ timeoutMs: 1 })));
      rmSync(this.#folder, { recursive: true, force: true });
    }
  }
}

/**
 * Runs all services of a graph in this process, each worker on its own runtime, without a server and on free ports of
 * loopback. Services of Python need a process: replace them with `graph.link`, or use `dynamo serve`.
 *
 * @throws what the start of a service throws; then nothing is left running
 *
 * @example
 * import { defineService, graph } from 'dynamo-node/sdk';
 * import { startGraph } from 'dynamo-node/testing';
 *
 * const Words = defineService('Words').endpoint('split', async (text: string) => text.split(' '));
 *
 * await using running = await startGraph(graph('words', Words));
 * const words = await running.client(Words);
 * console.log(await words.split('moved in blocks'));
 */
export async function startGraph(graph: Graph, options: StartGraphOptions = {}): Promise<RunningGraph> {
  checkInstance('startGraph graph', graph, Graph);
  START_GRAPH_OPTIONS.check('startGraph options', options);
  const running = new RunningGraph(graph, options);
  try {
    for (const { name, workers } of graph.toJSON().services)
      for (let worker = 0; worker < workers; worker++) await running.add(name);
    return running;
  } catch (error) {
    await running.close().catch(() => {});
    throw error;
  }
}
