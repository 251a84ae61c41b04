import type { TimeSeries } from './series.js';

/** What a pool of workers does. `worker` does both phases. */
export type PoolRole = 'worker' | 'prefill' | 'decode';

/** One forward pass of a rank. Tokens and requests are those of that pass. */
export interface PassSample {
  /** The duration of the pass. 0 is the heartbeat of an idle rank. */
  readonly wallMs: number;
  readonly prefillTokens: number;
  readonly decodeRequests: number;
  /** The tokens of the decode requests in the KV cache. */
  readonly kvTokens: number;
}

/** What waits on a worker and what it processes now, summed over its ranks. */
export interface ObservedLoad {
  readonly queuedPrefillTokens: number;
  readonly queuedRequests: number;
  /** Tokens of preempted requests, and of requests whose prefill ran elsewhere. */
  readonly queuedKvTokens: number;
  readonly decodeRequests: number;
  /** Tokens in the KV cache that running requests use. */
  readonly kvTokens: number;
}

/** A worker as its metrics show it. */
export interface WorkerSnapshot {
  readonly id: string;
  /** The time since its last metrics. */
  readonly ageMs: number;
  readonly load: ObservedLoad;
  /** Passes since the last snapshot, or some of them. */
  readonly passes: readonly PassSample[];
}

/** The workers of a role. */
export interface PoolSnapshot {
  /** The count that the scaler was last set to. */
  readonly desired: number;
  /** Workers that accept requests. */
  readonly ready: number;
  readonly workers: readonly WorkerSnapshot[];
}

/** What users sent and received since the last snapshot. */
export interface TrafficSample {
  /** The time that the sample covers. */
  readonly durationMs: number;
  /** Requests that arrived. */
  readonly requests: number;
  /** Mean prompt length, in tokens. Absent without requests. */
  readonly inputTokens?: number;
  /** Mean answer length, in tokens. */
  readonly outputTokens?: number;
  /** Mean time to first token. */
  readonly ttftMs?: number;
  /** Mean inter-token latency. */
  readonly itlMs?: number;
  /** The share of prompt tokens that were in a cache, 0 to 1. */
  readonly hitRate?: number;
}

/** All that a decision is made from. */
export interface Snapshot {
  /** Any origin; it must not run backwards. */
  readonly nowMs: number;
  readonly pools: Readonly<Partial<Record<PoolRole, PoolSnapshot>>>;
  /** Absent if the frontend did not answer. */
  readonly traffic?: TrafficSample;
}

/** Why a target is what it is. */
export type ReasonCode =
  | 'demand'
  | 'backlog'
  | 'threshold'
  | 'idle'
  | 'hold'
  | 'warming-up'
  | 'no-metrics'
  | 'no-traffic'
  | 'no-model'
  | 'clock-jump'
  | 'minimum'
  | 'budget'
  | 'step-limit'
  | 'starting-overdue';

/** One step of the reasoning for a role. The values are the figures that it used. */
export interface Reason {
  readonly role: PoolRole;
  readonly code: ReasonCode;
  readonly text: string;
  readonly values: Readonly<Record<string, number>>;
}

/** The count of workers of each planned role. */
export type Targets = Readonly<Partial<Record<PoolRole, number>>>;

/** Counts that were recommended at a time. */
export interface Recommendation {
  readonly atMs: number;
  /** As many as were needed then, also for requests that waited. */
  readonly needed: number;
  /** As many as were enough for the demand. */
  readonly enough: number;
}

/** Workers that were requested together and are not all ready. */
export interface PendingStart {
  readonly atMs: number;
  readonly count: number;
}

/** What the planner remembers of a pool. */
export interface PoolState {
  readonly desired: number;
  readonly ready: number;
  readonly pending: readonly PendingStart[];
  /** Lower bounds of the recent past, of which the largest holds. */
  readonly recommendations: readonly Recommendation[];
  /** When ready workers were last removed; absent if that has proved too early. */
  readonly removedMs?: number | undefined;
  /** How much longer than usual a smaller need must hold, from 1. */
  readonly patience: number;
}

/** Mean features and mean duration of similar passes. */
export interface PassBucket {
  readonly key: string;
  readonly count: number;
  readonly prefillTokens: number;
  readonly decodeRequests: number;
  readonly kvTokens: number;
  readonly wallMs: number;
}

/** What a performance model has learned: JSON. */
export interface PerformanceState {
  readonly buckets: readonly PassBucket[];
}

/** All memory between decisions: JSON. */
export interface PlannerState {
  readonly startedMs: number;
  readonly nowMs: number;
  readonly requests: TimeSeries;
  readonly inputTokens: TimeSeries;
  readonly outputTokens: TimeSeries;
  readonly hitRate: number;
  /** The last cold starts that were measured. */
  readonly coldStartsMs: readonly number[];
  readonly pools: Readonly<Partial<Record<PoolRole, PoolState>>>;
  readonly models: Readonly<Partial<Record<PoolRole, PerformanceState>>>;
}

/** The result of `decide`. */
export interface Decision {
  readonly targets: Targets;
  readonly reasons: readonly Reason[];
  /** When the next decision is due, on the clock of the snapshot. */
  readonly nextTickMs: number;
  readonly state: PlannerState;
}
