import type { GpuGrant } from './gpu-allocator.js';
import type { WorkerProcess } from './worker-process.js';
import { advance, isAlive, NEW_WORKER, type WorkerEvent, type WorkerPolicy, type WorkerState } from './worker-state.js';

/** Which worker it is. */
export interface WorkerIdentity {
  readonly service: string;
  /** Its number among the workers of its service, from 0. */
  readonly number: number;
}

/** Starts the process of a worker and reports what happens to it. */
export type SpawnWorker = (
  worker: WorkerIdentity & { readonly gpus: readonly string[] },
  report: (event: WorkerEvent) => void,
) => WorkerProcess;

/** A worker and its process, driven by `advance`. */
export class ManagedWorker {
  #state = NEW_WORKER;
  #process: WorkerProcess | undefined;
  #timer: NodeJS.Timeout | undefined;
  readonly #waiting = new Set<() => void>();

  constructor(
    readonly identity: WorkerIdentity,
    readonly gpus: GpuGrant,
    readonly policy: WorkerPolicy,
    readonly spawn: SpawnWorker,
    readonly onChange: (worker: ManagedWorker, before: WorkerState) => void,
  ) {}

  get state(): WorkerState {
    return this.#state;
  }

  get process(): WorkerProcess | undefined {
    return this.#process;
  }

  /** `Service#0`, as in logs. */
  get name(): string {
    return `${this.identity.service}#${this.identity.number}`;
  }

  dispatch(event: WorkerEvent): void {
    const before = this.#state;
    const { state, effects } = advance(before, event, this.policy);
    if (state.phase !== before.phase) clearTimeout(this.#timer);
    this.#state = state;
    if (!state.hasProcess) this.#process = undefined;
    for (const effect of effects) {
      if (effect.type === 'spawn') this.#start();
      if (effect.type === 'release') this.#process?.release();
      if (effect.type === 'drain') this.#process?.drain(effect.graceMs, effect.lingerMs);
      if (effect.type === 'kill') this.#process?.kill();
      if (effect.type === 'timer') this.#wait(effect.ms);
    }
    if (state === before) return;
    this.onChange(this, before);
    for (const wake of [...this.#waiting]) wake();
  }

  /** Resolves with true when it is ready, with false when it has ended for good. */
  async ready(): Promise<boolean> {
    await this.#until(() => this.#state.phase === 'ready' || !isAlive(this.#state));
    return this.#state.phase === 'ready';
  }

  /** Resolves when it has ended for good. */
  ended(): Promise<void> {
    return this.#until(() => !isAlive(this.#state));
  }

  #wait(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.dispatch({ type: 'timer' }), ms);
  }

  #start(): void {
    let isCurrent = true;
    const report = (event: WorkerEvent): void => {
      // A message may arrive after the end of its process.
      if (!isCurrent) return;
      isCurrent = event.type !== 'exited';
      this.dispatch(event);
    };
    this.#process = this.spawn({ ...this.identity, gpus: this.gpus.ids }, report);
  }

  #until(isDone: () => boolean): Promise<void> {
    if (isDone()) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = (): void => {
        if (!isDone()) return;
        this.#waiting.delete(wake);
        resolve();
      };
      this.#waiting.add(wake);
    });
  }
}
