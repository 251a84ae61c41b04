import type { Awaitable } from '../check.js';
import type { PoolRole, Targets, TrafficSample, WorkerSnapshot } from './core/types.js';

/** The workers of a role, as a scaler knows them. */
export interface PoolCounts {
  /** The count that it was last set to. */
  readonly desired: number;
  /** Workers that accept requests. */
  readonly ready: number;
}

/** How long a call of a port may take. */
export interface PortOptions {
  /** Aborts when the planner no longer waits. */
  readonly signal: AbortSignal;
}

/** Starts and stops workers. A planner calls it; the local supervisor and Kubernetes implement it. */
export interface Scaler {
  /** The counts of each role that it can scale. */
  current(options: PortOptions): Awaitable<Readonly<Partial<Record<PoolRole, PoolCounts>>>>;
  /**
   * Sets the wanted counts. Resolves when they are accepted; the workers may become ready later. Roles that are absent
   * stay unchanged.
   */
  scale(targets: Targets, options: PortOptions): Promise<void>;
}

/** What an observer has seen since its last call. */
export interface Observation {
  readonly workers: Readonly<Partial<Record<PoolRole, readonly WorkerSnapshot[]>>>;
  /** Absent if the frontend did not answer. */
  readonly traffic?: TrafficSample;
}

/** Reads metrics. */
export interface Observer {
  /** What was seen since the last call. */
  observe(options: PortOptions): Awaitable<Observation>;
}
