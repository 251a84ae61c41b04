import { setTimeout as sleep } from 'node:timers/promises';
import { checkInstance, wrongType } from '../check.js';
import { runPlanner } from '../deploy/planner-run.js';
import { ClosedError } from '../errors.js';
import { custom, listOf, milliseconds, type OptionTable, optionTable, text } from '../options.js';
import type { DecisionRecord, PlannerServiceOptions } from '../planner/index.js';
import { plannedPools } from '../planner/service.js';
import type { DistributedRuntime } from '../runtime/distributed-runtime.js';
import type { ClientOf } from '../sdk/client.js';
import { applyConfig, mergeConfig } from '../sdk/config.js';
import { Graph } from '../sdk/graph.js';
import { hasFrontendMetrics, type ServiceSpec } from '../sdk/graph-spec.js';
import { LINGER_MS, leaveDiscovery } from '../sdk/host/leave.js';
import type { StartedProgram, StartPlanner } from '../sdk/host/started.js';
import { connectService, type RunningService, startService } from '../sdk/host.js';
import { parseOverrides } from '../sdk/overrides.js';
import { type Service, type ServiceLike, serviceOf } from '../sdk/service.js';
import { startCluster, TestCluster, testRow } from './cluster.js';
import { GraphScaler } from './graph-scaler.js';
import { RecordedRequests } from './recorded-requests.js';
import { closeAfterTest, type TestContext } from './test-context.js';

type Configs = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

/** How a graph is run for a test. */
export interface StartGraphOptions {
  /** The configuration of services, by their names. @default none */
  readonly config?: Configs;
  /** Over it, values as on the command line, such as `--Worker.ServiceArgs.workers=2`. @default none */
  readonly overrides?: readonly string[];
  /** The deployment that it is a part of. @default its own, with discovery by files */
  readonly cluster?: TestCluster;
  /** Time at close for the requests in flight. @default 5000 */
  readonly closeTimeoutMs?: number;
  /** The context of a test: the graph is closed at its end, also after a timeout. @default closed by the caller */
  readonly test?: TestContext;
}

const START_GRAPH_OPTIONS: OptionTable<StartGraphOptions> = optionTable<StartGraphOptions>({
  config: custom<Configs>('an object of objects', checkConfigs).about('The configuration of services.'),
  overrides: listOf(text, 'overrides such as --Worker.key=value').about('Values over the configuration.'),
  cluster: custom<TestCluster>('a cluster', (path, value) => checkInstance(path, value, TestCluster)).about(
    'The deployment that it is a part of.',
  ),
  closeTimeoutMs: milliseconds().about('Time at close for the requests in flight.'),
  test: testRow,
});

/** @internal */
export function checkConfigs(path: string, value: unknown): void {
  const isObject = (one: unknown): boolean => typeof one === 'object' && one !== null && !Array.isArray(one);
  if (!isObject(value)) wrongType(path, 'an object of objects', value);
  for (const [name, config] of Object.entries(value as object))
    if (!isObject(config)) wrongType(`${path}.${name}`, 'an object', config);
}

interface Worker {
  readonly running: RunningService;
  readonly runtime: DistributedRuntime;
}

interface Parts {
  readonly graph: Graph;
  /** With their configuration. */
  readonly services: readonly ServiceSpec[];
  readonly cluster: TestCluster;
  readonly ownsCluster: boolean;
  readonly closeTimeoutMs: number;
}

/** A graph that runs in this process. Made by `startGraph`. */
export class RunningGraph implements AsyncDisposable {
  readonly #parts: Parts;
  readonly #workers = new Map<Service, Worker[]>();
  readonly #requests = new Map<string, RecordedRequests>();
  readonly #connected: AsyncDisposable[] = [];
  readonly #decisions: DecisionRecord[] = [];
  /** Calls of `add` that have not settled. */
  readonly #adding = new Set<Promise<RunningService>>();
  #closing: Promise<void> | undefined;

  /** @internal */
  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** The deployment that it is a part of. */
  get cluster(): TestCluster {
    return this.#parts.cluster;
  }

  /** The address for HTTP clients of its entry; undefined if that has none. */
  get url(): string | undefined {
    return this.workers(this.#parts.graph.entry)[0]?.url;
  }

  /** What the planner of the graph has decided so far, in the order of time. Empty without a planner. */
  get decisions(): readonly DecisionRecord[] {
    return this.#decisions;
  }

  /** The workers of a service that run now. */
  workers(service: ServiceLike | string): readonly RunningService[] {
    return this.#workersOf(service).map(({ running }) => running);
  }

  /** A client of a service, as a service that depends on it has. It waits until a worker can be called. */
  async client<Methods>(service: ServiceLike<Methods>): Promise<ClientOf<Methods>> {
    const isServed = this.#workersOf(service).length > 0;
    const connected = await connectService(await this.cluster.runtime(), service, isServed ? {} : { timeoutMs: 0 });
    this.#connected.push(connected);
    return connected.client;
  }

  /**
   * The requests that the workers of a service have received, over all transports. Programs of Dynamo's own, such as
   * the mocker, record none.
   *
   * @param endpoint its name in Dynamo's address. @default 'generate', that of engines
   */
  requests<Request = unknown>(service: ServiceLike | string, endpoint = 'generate'): RecordedRequests<Request> {
    return this.#requestsOf(this.#service(service), endpoint) as RecordedRequests<Request>;
  }

  /**
   * Starts one more worker of a service.
   *
   * @throws ClosedError if the graph is closed before it has started; it is then closed too
   */
  async add(service: ServiceLike | string): Promise<RunningService> {
    if (this.#closing !== undefined) throw new ClosedError('the graph', 'add');
    const adding = this.#add(service);
    this.#adding.add(adding);
    try {
      return await adding;
    } finally {
      this.#adding.delete(adding);
    }
  }

  async #add(service: ServiceLike | string): Promise<RunningService> {
    const found = this.#service(service);
    const { graph, services, cluster } = this.#parts;
    const workers = this.#workersOf(found);
    const runtime = await cluster.runtime();
    const running = await startService(runtime, graph, found, {
      worker: workers.length,
      config: services.find(({ name }) => name === found.name)?.config ?? {},
      httpPort: 0,
      startPlanner: (...planner) => this.#plan(...planner),
      onRequest: (endpoint, request, context) => this.#requestsOf(found, endpoint).record(request, context),
    });
    if (this.#closing !== undefined) {
      await this.#closeWorker({ running, runtime });
      throw new ClosedError('the graph', 'add');
    }
    this.#workers.set(found, [...this.#workersOf(found), { running, runtime }]);
    return running;
  }

  /** Drains one worker of a service. Its clients then use the others. */
  async remove(service: ServiceLike | string): Promise<void> {
    await this.#closeWorker(this.#take(service));
  }

  /**
   * Drains all services, the entry first, waits for workers that still start, and removes what they left on disk.
   * Idempotent.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #service(service: ServiceLike | string): Service {
    return this.#parts.graph.service(typeof service === 'string' ? service : serviceOf('service', service).name);
  }

  #workersOf(service: ServiceLike | string): readonly Worker[] {
    return this.#workers.get(this.#service(service)) ?? [];
  }

  #requestsOf({ name }: Service, endpoint: string): RecordedRequests {
    const key = `${name}.${endpoint}`;
    const requests = this.#requests.get(key) ?? new RecordedRequests(key);
    this.#requests.set(key, requests);
    return requests;
  }

  /** The last worker of a service, which no longer counts. */
  #take(service: ServiceLike | string): Worker {
    const found = this.#service(service);
    const workers = this.#workersOf(found);
    const last = workers.at(-1);
    if (last === undefined) throw new RangeError(`service ${found.name}: expected a worker to remove, got none`);
    this.#workers.set(found, workers.slice(0, -1));
    return last;
  }

  /** Removes a worker, and first gives its callers time to see that it leaves. */
  async #retire(service: string): Promise<void> {
    const worker = this.#take(service);
    await leaveDiscovery(worker.runtime, worker.running);
    if (this.#closing === undefined) await sleep(LINGER_MS);
    await this.#closeWorker(worker);
  }

  /** Runs the planner of the graph, which scales its workers. */
  async #plan(...[made, { service, runtime }, spec]: Parameters<StartPlanner>): Promise<StartedProgram> {
    const options = made as PlannerServiceOptions;
    const pools = plannedPools(service, spec, options);
    const scaled = {
      count: (name: string) => this.#workersOf(name).length,
      add: (name: string) => this.add(name),
      remove: (name: string) => this.#retire(name),
    };
    const scaler = new GraphScaler(scaled, pools.services);
    const frontends = spec.services.filter(hasFrontendMetrics).map(({ name }) => name);
    const urls = (): string[] =>
      frontends.flatMap((name) =>
        this.workers(name).flatMap(({ url }) => (url === undefined ? [] : [`${url}/metrics`])),
      );
    const running = await runPlanner(options, {
      ...{ pools, runtime, scaler },
      frontends: options.frontends ?? (async () => urls()),
      onDecision: (record) => void this.#decisions.push(record),
    });
    return {
      async close() {
        await running.close();
        await scaler.close();
      },
    };
  }

  async #closeWorker({ running, runtime }: Worker): Promise<void> {
    const { closeTimeoutMs: timeoutMs } = this.#parts;
    await running.close({ timeoutMs });
    await runtime.close({ timeoutMs });
  }

  async #close(): Promise<void> {
    const { graph, cluster, ownsCluster } = this.#parts;
    try {
      await Promise.all(this.#connected.map((one) => one[Symbol.asyncDispose]()));
      const isPlanner = ({ program }: Service): boolean => program.kind === 'planner';
      const others = graph.services.filter((service) => !isPlanner(service));
      for (const service of [...graph.services.filter(isPlanner), ...others.reverse()])
        await Promise.all(this.#workersOf(service).map((worker) => this.#closeWorker(worker)));
      // A worker that starts closes by itself. Until then it may write to the folder of the cluster.
      const adds = Promise.allSettled(this.#adding);
      await Promise.race([adds, sleep(this.#parts.closeTimeoutMs, undefined, { ref: false })]);
    } finally {
      if (ownsCluster) await cluster.close();
    }
  }
}

/**
 * Runs all services of a graph in this process, each worker on its own runtime, without a server and on free ports of
 * loopback. A planner of the graph scales these workers. Services of Python need a process: replace them with
 * `graph.link`, or use `serveGraph`.
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
  const { config = {}, overrides = [], closeTimeoutMs = 5000, test } = options;
  const spec = graph.toJSON();
  const names = spec.services.map(({ name }) => name);
  const merged = mergeConfig(names, [{ data: config, placeOf: () => undefined }, parseOverrides(overrides)]);
  const { services } = applyConfig(spec, merged);
  const cluster = options.cluster ?? (await startCluster());
  const running = new RunningGraph({
    graph,
    services,
    cluster,
    ownsCluster: options.cluster === undefined,
    closeTimeoutMs,
  });
  options.cluster?.use(running);
  if (test !== undefined) closeAfterTest(test, running);
  try {
    for (const { name, workers } of services) for (let worker = 0; worker < workers; worker++) await running.add(name);
    return running;
  } catch (error) {
    await running.close().catch(() => {});
    throw error;
  }
}
