import type { Server } from 'node:net';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { checkInteger, MAX_TIMEOUT_MS } from '../../check.js';
import type { RuntimeOptions } from '../../runtime/config.js';
import type { GraphSpec } from '../../sdk/graph-spec.js';
import { inNamespace } from '../../sdk/namespace.js';
import { DeployError } from '../deploy-error.js';
import type { GraphModule } from '../load-graph.js';
import { awaitModels } from './await-models.js';
import { type ControlAnswer, type ControlRequest, startControl } from './control.js';
import { type DiscoverySettings, runtimeOptionsOf } from './discovery-settings.js';
import { GpuAllocator } from './gpu-allocator.js';
import { gpuInventory } from './gpu-inventory.js';
import { GraphWatch } from './graph-watch.js';
import { InstanceWatch } from './instance-watch.js';
import { LogFile } from './log-file.js';
import { LogOutput } from './log-output.js';
import type { ManagedWorker, WorkerIdentity } from './managed-worker.js';
import { PlannerClaim } from './planner-claim.js';
import { outerPid } from './process-id.js';
import { Recalls } from './recalls.js';
import { DEFAULT_RESTARTS, type RestartPolicy } from './restart-policy.js';
import { RunFolder, type RunState, runsFolder, type WorkerStatus } from './run-folder.js';
import { parseScale } from './scale-plan.js';
import { spawnerOf } from './spawn-worker.js';
import { Supervisor } from './supervisor.js';
import type { RecalledPhases, WorkerMetrics } from './worker-messages.js';
import type { WorkerState } from './worker-state.js';

/** How a graph runs on this machine. */
export interface LocalGraphOptions extends DiscoverySettings {
  readonly module: GraphModule;
  /** With the values of the configuration. */
  readonly spec: GraphSpec;
  /** The name of its run folder. @default the name of the graph */
  readonly name?: string | undefined;
  readonly env: NodeJS.ProcessEnv;
  /** The process that the user started. @default this one */
  readonly pid?: number | undefined;
  /** The words before the command of each worker. @default none */
  readonly prefix?: readonly string[];
  /** Where HTTP servers listen. @default what the services say */
  readonly httpHost?: string | undefined;
  readonly httpPort?: number | undefined;
  /** @default the folder `logs` of the run folder */
  readonly logDir?: string | undefined;
  /** How long a worker may drain. @default 30000 */
  readonly graceMs?: number | undefined;
  /** How long a worker may start. @default 600000 */
  readonly startTimeoutMs?: number | undefined;
  readonly restarts?: Partial<RestartPolicy>;
  readonly allowGpuOversubscribe?: boolean | undefined;
  /** Where the lines of the workers go. */
  readonly out: Writable;
  /** The text before each line of a worker. @default `[Service#0] ` */
  readonly prefixOf?: (worker: WorkerIdentity) => string;
  /** Takes what happens to the workers, in words. */
  readonly note: (message: string) => void;
}

const GRACE_MS = 30_000;
const START_TIMEOUT_MS = 600_000;
const LAST_LINES_MS = 1000;

/** The graph with the namespaces that its environment asks for. */
function placedSpec(spec: GraphSpec, env: NodeJS.ProcessEnv): GraphSpec {
  try {
    return inNamespace(spec, env);
  } catch (cause) {
    throw new DeployError('E_NAMESPACE', (cause as Error).message, { exitCode: 64, cause });
  }
}

/** A graph that runs on this machine, one process a worker. */
export class LocalGraph {
  readonly #options: LocalGraphOptions;
  readonly #folder: RunFolder;
  readonly #runtime: RuntimeOptions;
  readonly #supervisor: Supervisor;
  readonly #output: LogOutput;
  readonly #watch: InstanceWatch;
  readonly #logs = new Map<string, LogFile>();
  /** By the name of a worker. */
  readonly #metrics = new Map<string, WorkerMetrics>();
  readonly #recalls = new Recalls();
  readonly #copies = new Set<Promise<void>>();
  readonly #claim = new PlannerClaim();
  readonly #startedAt = new Date().toISOString();
  #control: Server | undefined;
  #codeWatch: GraphWatch | undefined;
  #phase: RunState['phase'] = 'starting';
  #isStateDirty = false;
  #isClosed = false;

  private constructor(options: LocalGraphOptions, folder: RunFolder, runtime: RuntimeOptions, gpus: GpuAllocator) {
    this.#options = options;
    this.#runtime = runtime;
    this.#folder = folder;
    this.#watch = new InstanceWatch(runtime);
    this.#output = new LogOutput(options.out, () => void this.drain());
    const { module, spec, env, prefix = [], httpHost, httpPort, restarts } = options;
    const spawn = spawnerOf({
      module,
      spec,
      runtime,
      folder,
      watch: this.#watch,
      env,
      prefix,
      ...(httpHost === undefined ? {} : { httpHost }),
      ...(httpPort === undefined ? {} : { httpPort }),
      onMetrics: ({ service, number }, metrics) => void this.#metrics.set(`${service}#${number}`, metrics),
      onRecalled: (recalled) => this.#recalls.add(recalled),
      onOutput: (worker, stream) => this.#copy(worker, stream),
    });
    this.#supervisor = new Supervisor({
      spec,
      policy: {
        restarts: { ...DEFAULT_RESTARTS, ...restarts },
        startTimeoutMs: options.startTimeoutMs ?? START_TIMEOUT_MS,
        graceMs: options.graceMs ?? GRACE_MS,
      },
      gpus,
      spawn,
      onChange: (worker, before) => this.#changed(worker, before),
    });
  }

  /**
   * Takes the run folder of a graph. Nothing runs yet.
   *
   * @throws DeployError `E_ALREADY_RUNNING`, `E_RUN_FOLDER` (73), `E_DISCOVERY` or `E_NAMESPACE` (64)
   */
  static async create(options: LocalGraphOptions): Promise<LocalGraph> {
    const { spec, env, note, allowGpuOversubscribe, name = spec.name } = options;
    runtimeOptionsOf(options, env, '.');
    const placed = { ...options, spec: placedSpec(spec, env) };
    const needsGpu = spec.services.some(({ resources }) => resources.gpu > 0);
    const gpus = new GpuAllocator(needsGpu ? await gpuInventory(env) : [], allowGpuOversubscribe, note);
    const folder = RunFolder.take(runsFolder(env), name);
    return new LocalGraph(placed, folder, runtimeOptionsOf(options, env, folder.discovery), gpus);
  }

  /** Settles when all workers have ended. Rejects if a service has lost all its workers. */
  get ended(): Promise<void> {
    return this.#supervisor.ended;
  }

  /**
   * Starts all workers.
   *
   * @throws DeployError for a worker that does not start, or for too few GPUs
   */
  async start(): Promise<void> {
    this.#writeState();
    this.#folder.writeGraph({ spec: this.#options.spec, runtime: this.#runtime });
    this.#control = await startControl(this.#folder.socket, (request) => this.#answer(request));
    await this.#supervisor.start();
    const { spec, note } = this.#options;
    const urlOf = (service: string) => this.state.services.find(({ name }) => name === service)?.workers[0]?.url;
    for (const name of await awaitModels(spec, urlOf, () => this.#phase !== 'starting'))
      note(`${name} lists no model yet`);
    if (this.#phase === 'starting') this.#phase = 'ready';
    this.#writeState();
  }

  /** Ends all workers in order. */
  drain(): Promise<void> {
    this.#phase = 'draining';
    void this.#codeWatch?.close();
    setTimeout(() => this.#output.release(), LAST_LINES_MS).unref();
    this.#writeState();
    return this.#supervisor.drain();
  }

  /** Asks all workers for their metrics, which are then in `state`. */
  measure(): void {
    for (const { process } of this.#supervisor.workers) process?.measure();
  }

  /** What the workers know of a request that they have served. */
  recall(requestId: string): Promise<readonly RecalledPhases[]> {
    return this.#recalls.ask(requestId, () => {
      for (const { process } of this.#supervisor.workers) process?.recall(requestId);
    });
  }

  /**
   * Changes numbers of workers, such as `Worker=3`, and waits for the change. It begins when the graph has started.
   *
   * @throws DeployError as for `dynamo scale`
   */
  async scale(words: readonly string[], graceMs?: number): Promise<void> {
    const counts = parseScale(this.#options.spec, words);
    await this.#supervisor.started;
    return this.#supervisor.scale(counts, graceMs);
  }

  /**
   * Watches the modules of the graph, and replaces the workers of services whose code has changed.
   *
   * @throws DeployError `E_NO_ESBUILD` (69) if the project has neither esbuild, tsx nor vite
   */
  async watch(): Promise<void> {
    const { module, prefix = [], note } = this.#options;
    const reload = (service: string, signal: AbortSignal): Promise<void> => this.#supervisor.reload(service, signal);
    this.#codeWatch = await GraphWatch.start({ module, prefix, note, reload });
  }

  /** Sends a signal to the process of a worker and to those that it started, if it has one. */
  signal({ service, number }: WorkerIdentity, signal: NodeJS.Signals): void {
    const found = this.#supervisor.workers.find(
      ({ identity }) => identity.service === service && identity.number === number,
    );
    if (found?.process?.pid === undefined)
      throw new DeployError('E_NO_WORKER', `${service}#${number}: the graph has no such process`);
    process.kill(-found.process.pid, signal);
  }

  /** Ends all processes at once. */
  kill(): void {
    this.#supervisor.kill();
  }

  /** Releases the run folder, when all workers have ended. Their logs stay. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#control?.close();
    await this.#watch.close();
    // A process that left the group of its worker, or a reader that has stopped, may hold a stream open.
    await Promise.race([
      Promise.all(this.#copies),
      new Promise((resolve) => setTimeout(resolve, LAST_LINES_MS).unref()),
    ]);
    for (const log of this.#logs.values()) log.close();
    this.#folder.release();
  }

  get state(): RunState {
    const { module, spec, name = spec.name, pid } = this.#options;
    const services = spec.services.map((service) => ({
      name: service.name,
      desired: this.#supervisor.desired(service.name),
      workers: this.#supervisor.workers
        .filter(({ identity }) => identity.service === service.name)
        .map((worker) => this.#statusOf(worker)),
    }));
    const supervisor = this.#folder.owner;
    return {
      schema: 'dynamo-node.run/v1',
      graph: name,
      pid: pid ?? supervisor.pid,
      supervisor,
      file: module.file,
      startedAt: this.#startedAt,
      phase: this.#phase,
      urls: services.flatMap(({ workers }) => workers.flatMap(({ url }) => url ?? [])),
      services,
    };
  }

  async #answer(request: ControlRequest): Promise<ControlAnswer> {
    if ('planner' in request) this.#claim.renew(request.planner);
    if (request.command === 'recall') return { state: this.state, recalled: await this.recall(request.requestId) };
    if (request.command === 'status' && request.measure === true) this.measure();
    if (request.command === 'scale') await this.#scale(request);
    else if (request.command === 'stop') void this.drain();
    else if (request.command === 'kill') {
      void this.drain();
      this.kill();
    } else if (request.command !== 'status')
      throw new DeployError('E_CONTROL', 'expected one of status, recall, scale, stop, kill', { exitCode: 64 });
    return { state: this.state };
  }

  /** A person waits for the end of a change. A planner sees it in the state, and has other things to do. */
  async #scale({ words, planner, graceMs }: Extract<ControlRequest, { command: 'scale' }>): Promise<void> {
    if (graceMs !== undefined) checkInteger('graceMs', graceMs, 0, MAX_TIMEOUT_MS);
    if (planner === undefined) return this.scale(words, graceMs);
    const scaled = this.#supervisor.scale(parseScale(this.#options.spec, words), graceMs);
    const refused = scaled.then(() => undefined).catch((error: unknown) => error);
    const error = await Promise.race([refused, new Promise((resolve) => setImmediate(resolve))]);
    if (error !== undefined) throw error;
  }

  #logOf({ service, number }: WorkerIdentity): string {
    return join(this.#options.logDir ?? this.#folder.logs, `${service}-${number}.log`);
  }

  #copy(worker: WorkerIdentity, stream: Readable): void {
    const path = this.#logOf(worker);
    const file = this.#logs.get(path) ?? new LogFile(path, this.#options.note);
    this.#logs.set(path, file);
    const { prefixOf = ({ service, number }) => `[${service}#${number}] ` } = this.#options;
    const copied = this.#output.copy(stream, prefixOf(worker), file);
    this.#copies.add(copied);
    void copied.then(() => this.#copies.delete(copied));
  }

  #statusOf({ identity, name, state, process, gpus }: ManagedWorker): WorkerStatus {
    const { phase, restarts, url, instanceId, reason } = state;
    const metrics = this.#metrics.get(name);
    return {
      number: identity.number,
      phase,
      ...(process?.pid === undefined ? {} : { pid: outerPid(process.pid) }),
      restarts,
      ...(url === undefined ? {} : { url }),
      ...(instanceId === undefined ? {} : { instanceId }),
      ...(gpus.ids.length === 0 ? {} : { gpus: gpus.ids }),
      ...(metrics === undefined ? {} : { metrics }),
      ...(reason === undefined ? {} : { reason }),
      log: this.#logOf(identity),
    };
  }

  #changed(worker: ManagedWorker, before: WorkerState): void {
    const { note } = this.#options;
    const { phase, url, reason } = worker.state;
    if (phase !== before.phase) {
      if (phase === 'ready') note(`${worker.name} is ready${url === undefined ? '' : ` at ${url}`}`);
      if (phase === 'backing-off') note(`${worker.name} crashed: ${reason}; it starts again soon`);
      if (phase === 'failed') note(`${worker.name} failed: ${reason}; its log is ${this.#logOf(worker.identity)}`);
    }
    if (this.#isStateDirty) return;
    this.#isStateDirty = true;
    setImmediate(() => this.#writeState());
  }

  #writeState(): void {
    this.#isStateDirty = false;
    if (this.#isClosed) return;
    try {
      this.#folder.writeState(this.state);
    } catch {
      // A full disk: `dynamo ps` still gets the state by the socket.
    }
  }
}
