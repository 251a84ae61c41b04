export { adaptiveForecast, type Forecast, type Noise } from './core/adaptive.js';
export type {
  LoadThresholds,
  PlannerConfig,
  PlannerMode,
  PlannerObjective,
  PoolOptions,
  SlaOptions,
} from './core/config.js';
export { decide, initialState } from './core/decide.js';
export { type PassTime, passTimeOf } from './core/performance.js';
export { PREDICTORS, type Predictor, type PredictorName, type PredictorOptions } from './core/predictors.js';
export type { Bin, TimeSeries } from './core/series.js';
export { DEFAULT_ENGINE } from './core/simulate/engines.js';
export { formatMooncake, type MooncakeOptions, parseMooncake } from './core/simulate/mooncake.js';
export { type PlotOptions, type PlottedRun, plotRuns } from './core/simulate/plot.js';
export {
  type RequestLatency,
  type ScalingEvent,
  type ScalingPolicy,
  type SimulationOptions,
  type SimulationReport,
  simulate,
} from './core/simulate/simulation.js';
export {
  synthesizeTrace,
  TRACE_SHAPES,
  type TraceOptions,
  type TraceRequest,
  type TraceShape,
} from './core/simulate/trace.js';
export type { SimulatedEngineOptions } from './core/simulate/worker.js';
export type {
  Decision,
  ObservedLoad,
  PassBucket,
  PassSample,
  PendingStart,
  PerformanceState,
  PlannerState,
  PoolRole,
  PoolSnapshot,
  PoolState,
  Reason,
  ReasonCode,
  Recommendation,
  Snapshot,
  Targets,
  TrafficSample,
  WorkerSnapshot,
} from './core/types.js';
export { type DecisionOutcome, type DecisionRecord, decisionLine } from './decision-log.js';
export { type FrontendMetrics, RuntimeObserver, type RuntimeObserverOptions } from './observe.js';
export { Planner, type PlannerOptions } from './planner.js';
export { type EngineProfile, parseProfile } from './profile.js';
export { type ReplayPlannerOptions, replayPlanner } from './replay.js';
export type { Observation, Observer, PoolCounts, PortOptions, Scaler } from './scaler.js';
export { type PlannerServiceOptions, plannerService } from './service.js';
export {
  VirtualClient,
  type VirtualClientOptions,
  type VirtualDecision,
  type VirtualOptions,
  VirtualScaler,
  type VirtualScalerOptions,
} from './virtual.js';
