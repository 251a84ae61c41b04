import type { GraphSpec, ServiceSpec } from '../../sdk/graph-spec.js';
import { DeployError } from '../deploy-error.js';
import type { GpuAllocator } from './gpu-allocator.js';
import { ManagedWorker, type SpawnWorker } from './managed-worker.js';
import { scaleChange } from './scale-plan.js';
import { drainGroups, startGroups } from './start-order.js';
import { isAlive, type WorkerPolicy, type WorkerState } from './worker-state.js';

/** How long callers may take to see that a worker has left discovery. In a drain of the graph they have ended first. */
const LINGER_MS = 1000;

/** What a supervisor runs, and with what. */
export interface SupervisorOptions {
  readonly spec: GraphSpec;
  readonly policy: WorkerPolicy;
  readonly gpus: GpuAllocator;
  readonly spawn: SpawnWorker;
  /** Called after each change of a worker. */
  readonly onChange?: (worker: ManagedWorker, before: WorkerState) => void;
}

/** Runs the workers of a graph: starts them in order, restarts, scales and drains them. */
export class Supervisor {
  /** Settles when all workers have ended. Rejects if a service has lost all its workers. */
  readonly ended: Promise<void>;
  readonly #options: SupervisorOptions;
  readonly #workers = new Map<string, ManagedWorker[]>();
  readonly #services: ReadonlyMap<string, ServiceSpec>;
  #isStarted = false;
  #draining: Promise<void> | undefined;
  #scaling: Promise<unknown> = Promise.resolve();
  #settle!: (error: DeployError | undefined) => void;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#services = new Map(options.spec.services.map((service) => [service.name, service]));
    this.ended = new Promise((resolve, reject) => {
      this.#settle = (error) => (error === undefined ? resolve() : reject(error));
    });
    this.ended.catch(() => {});
  }

  /** All workers that have not ended for good, and those that failed. */
  get workers(): readonly ManagedWorker[] {
    return [...this.#workers.values()].flat();
  }

  /**
   * Starts all workers, each when those that it depends on are ready.
   *
   * @throws DeployError `E_GPU_SHORT` (69), or `E_WORKER_FAILED` (1) for the first worker that does not start; the
   *   caller then drains the others
   */
  async start(): Promise<void> {
    const { spec } = this.#options;
    for (const service of spec.services)
      for (let number = 0; number < service.workers; number++) this.#create(service, number);
    // Code loads concurrently. A program of Python starts when it may serve, because it registers itself.
    for (const worker of this.workers)
      if (this.#services.get(worker.identity.service)?.program !== 'python') worker.dispatch({ type: 'prepare' });
    for (const group of startGroups(spec)) {
      const workers = group.flatMap((name) => this.#workersOf(name));
      await this.#startAll(workers);
      if (this.#draining !== undefined) return this.#draining;
    }
    this.#isStarted = true;
  }

  /**
   * Changes the numbers of workers. Resolves when the new ones are ready and the removed ones have drained. Calls run
   * one after the other.
   *
   * @throws DeployError `E_GPU_SHORT` (69) before any change, or `E_WORKER_FAILED` (1) for a worker that does not start
   */
  scale(counts: ReadonlyMap<string, number>): Promise<void> {
    const scaled = this.#scaling.then(() => this.#scale(counts));
    this.#scaling = scaled.catch(() => {});
    return scaled;
  }

  /** Ends all workers, callers before what they call. Idempotent. */
  drain(): Promise<void> {
    this.#draining ??= this.#drain();
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
    this.#options.gpus.release(worker.gpus);
    this.#workers.set(
      service,
      this.#workersOf(service).filter((one) => one !== worker),
    );
  }

  async #startAll(workers: readonly ManagedWorker[]): Promise<void> {
    for (const worker of workers) worker.dispatch({ type: 'start' });
    await Promise.all(
      workers.map(async (worker) => {
        if (await worker.ready()) return;
        if (worker.state.phase === 'failed') throw failure(worker);
      }),
    );
  }

  async #scale(counts: ReadonlyMap<string, number>): Promise<void> {
    const added: ManagedWorker[] = [];
    const removed: ManagedWorker[] = [];
    if (this.#draining !== undefined || !this.#isStarted)
      throw new DeployError('E_NOT_RUNNING', `graph ${this.#options.spec.name} is starting or draining`);
    try {
      for (const [name, count] of counts) {
        for (const worker of this.#workersOf(name)) if (!isAlive(worker.state)) this.#remove(worker);
        const present = this.#workersOf(name);
        const { add, remove } = scaleChange(
          present.map(({ identity }) => identity.number),
          count,
        );
        removed.push(...present.filter(({ identity }) => remove.includes(identity.number)));
        for (const number of add) added.push(this.#create(this.#services.get(name) as ServiceSpec, number));
      }
    } catch (error) {
      for (const worker of added) this.#remove(worker);
      throw error;
    }
    for (const worker of removed) worker.dispatch({ type: 'drain', lingerMs: LINGER_MS });
    try {
      await Promise.all([this.#startAll(added), ...removed.map((worker) => worker.ended())]);
    } finally {
      for (const worker of [...removed, ...added]) if (!isAlive(worker.state)) this.#remove(worker);
    }
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
    if (this.#isStarted && isServed) return;
    this.#settle(failure(worker));
  }
}

function failure(worker: ManagedWorker): DeployError {
  const { state, name } = worker;
  const often = state.crashes > 1 ? ` ${state.crashes} times in a row` : '';
  const what = state.wasReady || state.crashes > 1 ? `crashed${often}` : 'did not start';
  return new DeployError('E_WORKER_FAILED', `${name} ${what}: ${state.reason ?? 'for an unknown reason'}`);
}
