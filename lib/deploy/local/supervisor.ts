import { availableParallelism } from 'node:os';
import type { GraphSpec, ServiceSpec } from '../../sdk/graph-spec.js';
import { LINGER_MS } from '../../sdk/host/leave.js';
import { DeployError } from '../deploy-error.js';
import type { GpuAllocator } from './gpu-allocator.js';
import { ManagedWorker, type SpawnWorker } from './managed-worker.js';
import { scaleChange } from './scale-plan.js';
import { FRONTEND } from './spawn-python.js';
import { drainGroups, startGroups } from './start-order.js';
import { isAlive, type WorkerPolicy, type WorkerState } from './worker-state.js';

/** What a supervisor runs, and with what. */
export interface SupervisorOptions {
  readonly spec: GraphSpec;
  readonly policy: WorkerPolicy;
  readonly gpus: GpuAllocator;
  readonly spawn: SpawnWorker;
  /**
   * At most this many workers start at the same time, and as many load ahead. Default: twice the processor cores, at
   * least 8.
   */
  readonly maxStarting?: number;
  /** Called after each change of a worker. */
  readonly onChange?: (worker: ManagedWorker, before: WorkerState) => void;
}

/** Runs the workers of a graph: starts them in order, restarts, scales and drains them. */
export class Supervisor {
  /** Settles when all workers have ended. Rejects if a service has lost all its workers. */
  readonly ended: Promise<void>;
  /** Settles when the start is over, also if it has failed or a drain has ended it. */
  readonly started: Promise<void>;
  #over = (): void => {};
  readonly #options: SupervisorOptions;
  readonly #maxStarting: number;
  readonly #workers = new Map<string, ManagedWorker[]>();
  readonly #services: ReadonlyMap<string, ServiceSpec>;
  readonly #desired: Map<string, number>;
  /** Reloads in progress. New workers of their services may fail without an end of the graph. */
  readonly #reloading = new Map<string, Promise<void>>();
  #isStarted = false;
  #draining: Promise<void> | undefined;
  #settle!: (error: DeployError | undefined) => void;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#maxStarting = options.maxStarting ?? Math.max(8, 2 * availableParallelism());
    this.#services = new Map(options.spec.services.map((service) => [service.name, service]));
    this.#desired = new Map(options.spec.services.map(({ name, workers }) => [name, workers]));
    this.ended = new Promise((resolve, reject) => {
      this.#settle = (error) => (error === undefined ? resolve() : reject(error));
    });
    this.ended.catch(() => {});
    this.started = new Promise((resolve) => {
      this.#over = resolve;
    });
  }

  /** All workers that have not ended for good, and those that failed. */
  get workers(): readonly ManagedWorker[] {
    return [...this.#workers.values()].flat();
  }

  /** The number of workers that a service was last set to. */
  desired(service: string): number {
    return this.#desired.get(service) ?? 0;
  }

  /**
   * Starts all workers, each when those that it depends on are ready.
   *
   * @throws DeployError `E_GPU_SHORT` (69), or `E_WORKER_FAILED` (1) for the first worker that does not start; the
   *   caller then drains the others
   */
  start(): Promise<void> {
    return this.#start().finally(this.#over);
  }

  async #start(): Promise<void> {
    const { spec } = this.#options;
    for (const service of spec.services)
      for (let number = 0; number < service.workers; number++) this.#create(service, number);
    // Code loads concurrently. A program of Python starts when it may serve, because it registers itself.
    const loading = this.workers.filter(({ identity }) => this.#services.get(identity.service)?.program !== 'python');
    for (const worker of loading.slice(0, this.#maxStarting)) worker.dispatch({ type: 'prepare' });
    for (const group of startGroups(spec)) {
      const workers = group.flatMap((name) => this.#workersOf(name));
      await this.#startAll(workers);
      if (this.#draining !== undefined) return this.#draining;
    }
    this.#isStarted = true;
  }

  /**
   * Changes the numbers of workers. The change begins at once, also while an earlier one is not complete, but after a
   * reload of one of the services. Resolves when the new workers are ready and the removed ones have drained.
   *
   * @param graceMs how long removed workers may complete their requests, instead of that of the policy
   * @throws DeployError `E_GPU_SHORT` (69) before any change, or `E_WORKER_FAILED` (1) for a worker that does not start
   */
  async scale(counts: ReadonlyMap<string, number>, graceMs = this.#options.policy.graceMs): Promise<void> {
    // During a reload there are two workers of each number.
    for (let names = this.#reloadingOf(counts); names.length > 0; names = this.#reloadingOf(counts))
      await Promise.allSettled(names.map((name) => this.#reloading.get(name)));
    const { added, removed } = this.#change(counts);
    for (const [name, count] of counts) this.#desired.set(name, count);
    for (const worker of removed) worker.dispatch({ type: 'drain', lingerMs: LINGER_MS, graceMs });
    try {
      await Promise.all([this.#startAll(added), ...removed.map((worker) => worker.ended())]);
    } finally {
      for (const worker of [...removed, ...added]) if (!isAlive(worker.state)) this.#remove(worker);
    }
  }

  /**
   * Replaces the processes of all workers of a service, under the same numbers. The new ones start first, and the old
   * ones then complete their requests. Workers with a port or a GPU are replaced one by one, the old one first.
   *
   * @param signal ends new workers that still start
   * @throws DeployError `E_WORKER_FAILED` (1) for a new worker that does not start; the old ones that remain serve on
   * @throws the reason of `signal` if it has ended new workers
   */
  async reload(name: string, signal?: AbortSignal): Promise<void> {
    const service = this.#services.get(name) as ServiceSpec;
    const replacing = Promise.resolve().then(() => this.#replace(service, signal));
    this.#reloading.set(name, replacing);
    try {
      await replacing;
    } finally {
      this.#reloading.delete(name);
    }
  }

  #reloadingOf(counts: ReadonlyMap<string, number>): string[] {
    return [...counts.keys()].filter((name) => this.#reloading.has(name));
  }

  async #replace(service: ServiceSpec, signal: AbortSignal | undefined): Promise<void> {
    const old = this.#workersOf(service.name).filter(({ state }) => state.phase !== 'draining');
    const groups = isShared(service) ? [old] : old.map((worker) => [worker]);
    for (const group of groups) {
      if (this.#draining !== undefined) return;
      signal?.throwIfAborted();
      if (!isShared(service)) await this.#retire(group);
      const fresh = group.map(({ identity }) => this.#create(service, identity.number));
      const end = (): void => {
        for (const worker of fresh) if (worker.state.phase !== 'ready') worker.dispatch({ type: 'kill' });
      };
      signal?.addEventListener('abort', end);
      try {
        await this.#startAll(fresh);
        if (fresh.some(({ state }) => state.phase !== 'ready')) signal?.throwIfAborted();
      } catch (error) {
        if (isShared(service)) await this.#discard(fresh);
        // Others stay in the list, so that the next reload replaces them.
        else if (signal?.aborted === true) await Promise.all(fresh.map((worker) => worker.ended()));
        throw error;
      } finally {
        signal?.removeEventListener('abort', end);
      }
      if (isShared(service) && this.#draining === undefined) await this.#retire(group);
    }
  }

  /** Ends all workers, callers before what they call. Idempotent. */
  drain(): Promise<void> {
    this.#draining ??= this.#drain().finally(this.#over);
    return this.#draining;
  }

  /** Ends all processes at once. */
  kill(): void {
    for (const worker of this.workers) worker.dispatch({ type: 'kill' });
  }

  #workersOf(service: string): ManagedWorker[] {
    return this.#workers.get(service) ?? [];
  }

  #create(service: ServiceSpec, number: number): ManagedWorker {
    const { policy, spawn, gpus } = this.#options;
    const grant = gpus.allocate(service.name, service.resources.gpu);
    const identity = { service: service.name, number };
    const worker = new ManagedWorker(identity, grant, policy, spawn, (one, before) => this.#changed(one, before));
    this.#workers.set(service.name, [...this.#workersOf(service.name), worker]);
    return worker;
  }

  #remove(worker: ManagedWorker): void {
    const { service } = worker.identity;
    const present = this.#workersOf(service);
    if (!present.includes(worker)) return;
    this.#options.gpus.release(worker.gpus);
    this.#workers.set(
      service,
      present.filter((one) => one !== worker),
    );
  }

  /** Lets workers complete their requests, and removes them. */
  async #retire(workers: readonly ManagedWorker[]): Promise<void> {
    for (const worker of workers) worker.dispatch({ type: 'drain', lingerMs: LINGER_MS });
    await Promise.all(workers.map((worker) => worker.ended()));
    for (const worker of workers) this.#remove(worker);
  }

  async #discard(workers: readonly ManagedWorker[]): Promise<void> {
    for (const worker of workers) worker.dispatch({ type: 'kill' });
    await Promise.all(workers.map((worker) => worker.ended()));
    for (const worker of workers) this.#remove(worker);
  }

  /** @throws DeployError `E_WORKER_FAILED` (1) for the first that does not start; those that wait then never do */
  async #startAll(workers: readonly ManagedWorker[]): Promise<void> {
    // Services that depend on one another start together, and each needs a worker early.
    const queue = workers.toSorted((one, other) => one.identity.number - other.identity.number).values();
    const startSome = async (): Promise<void> => {
      for (const worker of queue) {
        // A drain ends those that wait, group by group. None of them may start before its turn to end.
        if (this.#draining !== undefined) return;
        worker.dispatch({ type: 'start' });
        if ((await worker.ready()) || worker.state.phase !== 'failed') continue;
        for (const waiting of queue) waiting.dispatch({ type: 'kill' });
        throw failure(worker);
      }
    };
    await Promise.all(Array.from({ length: Math.min(this.#maxStarting, workers.length) }, startSome));
  }

  /** Creates the workers that are missing, and selects those to remove. */
  #change(counts: ReadonlyMap<string, number>): { added: ManagedWorker[]; removed: ManagedWorker[] } {
    const added: ManagedWorker[] = [];
    const removed: ManagedWorker[] = [];
    if (this.#draining !== undefined || !this.#isStarted)
      throw new DeployError(
        'E_NOT_RUNNING',
        `graph ${this.#options.spec.name} ${this.#draining === undefined ? 'is starting' : 'ends'}`,
        { exitCode: 69 },
      );
    try {
      for (const [name, count] of counts) {
        for (const worker of this.#workersOf(name)) if (!isAlive(worker.state)) this.#remove(worker);
        const present = this.#workersOf(name);
        const { add, remove } = scaleChange(
          present.map(({ identity, state }) => ({ number: identity.number, phase: state.phase })),
          count,
        );
        removed.push(...present.filter(({ identity }) => remove.includes(identity.number)));
        for (const number of add) added.push(this.#create(this.#services.get(name) as ServiceSpec, number));
      }
    } catch (error) {
      for (const worker of added) this.#remove(worker);
      throw error;
    }
    return { added, removed };
  }

  async #drain(): Promise<void> {
    for (const group of drainGroups(this.#options.spec)) {
      const workers = group.flatMap((name) => this.#workersOf(name));
      for (const worker of workers) worker.dispatch({ type: 'drain', lingerMs: 0 });
      await Promise.all(workers.map((worker) => worker.ended()));
    }
    this.#settle(undefined);
  }

  #changed(worker: ManagedWorker, before: WorkerState): void {
    this.#options.onChange?.(worker, before);
    if (worker.state.phase !== 'failed' || before.phase === 'failed' || this.#draining !== undefined) return;
    const isServed = this.#workersOf(worker.identity.service).some(({ state }) => isAlive(state));
    if (this.#isStarted && (isServed || this.#reloading.has(worker.identity.service))) return;
    this.#settle(failure(worker));
  }
}

/** Whether the old and the new process of a worker can run together: neither needs a port or a GPU. */
const isShared = ({ program, httpPort = 0, resources, python }: ServiceSpec): boolean =>
  program !== 'frontend' && python?.module !== FRONTEND && httpPort === 0 && resources.gpu === 0;

function failure(worker: ManagedWorker): DeployError {
  const { state, name } = worker;
  const often = state.crashes > 1 ? ` ${state.crashes} times in a row` : '';
  const what = state.wasReady || state.crashes > 1 ? `crashed${often}` : 'did not start';
  return new DeployError('E_WORKER_FAILED', `${name} ${what}: ${state.reason ?? 'for an unknown reason'}`);
}
