import type { PoolCounts, PoolRole, Scaler, Targets } from '../planner/index.js';

/** What adds and removes the workers of a service. */
export interface ScaledWorkers {
  /** The number of workers that run now. */
  count(service: string): number;
  add(service: string): Promise<unknown>;
  /** Drains one worker. It no longer counts when the call returns. */
  remove(service: string): Promise<unknown>;
}

/** Scales the workers of a graph in this process. Workers of one service start one after the other. */
export class GraphScaler implements Scaler {
  readonly #roles: readonly (readonly [PoolRole, string])[];
  /** By the service, during a change. */
  readonly #wanted = new Map<string, number>();
  readonly #changes = new Set<Promise<void>>();
  #failure: { readonly error: unknown } | undefined;
  #isClosed = false;

  /** @param services the service of each role */
  constructor(
    private readonly workers: ScaledWorkers,
    services: Readonly<Partial<Record<PoolRole, string>>>,
  ) {
    this.#roles = Object.entries(services) as [PoolRole, string][];
  }

  /** @throws what the start of a worker has thrown since the last call */
  current(): Readonly<Partial<Record<PoolRole, PoolCounts>>> {
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) throw failure.error;
    const counts = this.#roles.map(([role, service]) => {
      const ready = this.workers.count(service);
      return [role, { desired: this.#wanted.get(service) ?? ready, ready }] as const;
    });
    return Object.fromEntries(counts);
  }

  async scale(targets: Targets): Promise<void> {
    for (const [role, service] of this.#roles) {
      const target = targets[role];
      if (target === undefined || this.#isClosed) continue;
      const isChanging = this.#wanted.has(service);
      this.#wanted.set(service, target);
      if (!isChanging) this.#begin(this.#reach(service));
    }
  }

  /** Begins no further changes, and waits for those that run. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all(this.#changes);
  }

  #begin(change: Promise<void>): void {
    const settled = change
      .catch((error: unknown) => {
        if (!this.#isClosed) this.#failure = { error };
      })
      .finally(() => this.#changes.delete(settled));
    this.#changes.add(settled);
  }

  /** Adds and removes workers until there are as many as are wanted, which may change in the meantime. */
  async #reach(service: string): Promise<void> {
    const { workers } = this;
    try {
      while (!this.#isClosed) {
        const missing = (this.#wanted.get(service) as number) - workers.count(service);
        if (missing === 0) return;
        if (missing > 0) await workers.add(service);
        else for (let index = missing; index < 0; index++) this.#begin(this.#remove(service));
      }
    } finally {
      this.#wanted.delete(service);
    }
  }

  async #remove(service: string): Promise<void> {
    await this.workers.remove(service);
  }
}
