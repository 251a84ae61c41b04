import {
  type DecisionRecord,
  type FrontendMetrics,
  Planner,
  type PlannerServiceOptions,
  type PlannerState,
  RuntimeObserver,
  type Scaler,
} from '../planner/index.js';
import type { PlannedPools } from '../planner/service.js';
import type { DistributedRuntime } from '../runtime/distributed-runtime.js';

/** What the planner of a graph needs besides its options. */
export interface PlannerRunOptions {
  readonly pools: PlannedPools;
  readonly runtime: DistributedRuntime;
  readonly scaler: Scaler;
  readonly frontends: readonly FrontendMetrics[] | (() => Promise<readonly FrontendMetrics[]>);
  /** What it has learned before. @default nothing */
  readonly state?: PlannerState | undefined;
  readonly onDecision: (record: DecisionRecord, planner: Planner) => void;
}

/** The planner of a graph, with its observer. */
export interface PlannerRun {
  readonly planner: Planner;
  /** Waits for a decision that is being made. */
  close(): Promise<void>;
}

/** Runs the planner of a graph on the runtime of its worker. */
export async function runPlanner(
  { model, advisory, timeoutMs }: PlannerServiceOptions,
  { pools, runtime, scaler, frontends, state, onDecision }: PlannerRunOptions,
): Promise<PlannerRun> {
  const endpoints = Object.entries(pools.endpoints).map(([role, path]) => [role, runtime.endpoint(path)]);
  const observer = await RuntimeObserver.create({
    endpoints: Object.fromEntries(endpoints),
    frontends,
    ...(model === undefined ? {} : { model }),
  });
  const planner: Planner = Planner.start({
    observer,
    scaler,
    config: pools.config,
    ...(advisory === undefined ? {} : { advisory }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(state === undefined ? {} : { state }),
    onDecision: (record) => onDecision(record, planner),
  });
  return {
    planner,
    async close() {
      await planner.close();
      await observer.close();
    },
  };
}
