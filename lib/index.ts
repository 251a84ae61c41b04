export { ClosedError, DynamoError, type DynamoErrorOptions, type ErrorClass, type ErrorCode } from './errors.js';
export type {
  EngineBase,
  EngineConfig,
  EngineWorker,
  KvCacheEvent,
  KvEventSource,
  LLMEngine,
  LlmRegistration,
  LoadSnapshot,
  RawEngine,
} from './llm/engine.js';
export { type BuiltInEngine, BuiltInWorker, Frontend } from './llm/frontend.js';
export type {
  FrontendEngine,
  FrontendOptions,
  GrpcFrontendOptions,
  HttpFrontendOptions,
  TextFrontendOptions,
  TlsOptions,
} from './llm/frontend-options.js';
export {
  fetchModel,
  MODEL_INPUTS,
  MODEL_TYPES,
  type ModelInput,
  type ModelOptions,
  type ModelType,
  registerModel,
  unregisterModel,
  updateModelTaints,
  WORKER_TYPES,
  type WorkerType,
} from './llm/model.js';
export type {
  CompletionUsage,
  FinishReason,
  GuidedDecoding,
  LLMEngineOutput,
  OutputOptions,
  PreprocessedRequest,
  SamplingOptions,
  StopConditions,
  TopLogprob,
} from './llm/protocol.js';
export type { BusyThresholds, FrontendRouterMode, KvRouterConfig, RouterOptions } from './llm/router-options.js';
export { ServedEngine, serveEngine, type ServeEngineOptions } from './llm/worker.js';
export { Annotated, type AnnotatedFields } from './runtime/annotated.js';
export { Client, type ClientOptions, type RequestOptions, type RouterMode, type WaitOptions } from './runtime/client.js';
export type { Discovery, RuntimeOptions } from './runtime/config.js';
export { type CancelKind, currentRequest, RequestCancelled, type RequestContext } from './runtime/context.js';
export { DistributedRuntime, versions } from './runtime/distributed-runtime.js';
export { Component, Endpoint, Namespace } from './runtime/endpoint.js';
export { type Event, EventPublisher, type Scope } from './runtime/events.js';
export type { Instance, InstanceChange } from './runtime/instance.js';
export { type LogLevel, type LogLine, type LogOptions, openLog } from './runtime/log.js';
export { Counter, Gauge, Histogram, type HistogramOptions, type MetricOptions, Metrics, MetricsText } from './runtime/metrics.js';
export { ResponseStream } from './runtime/response.js';
export {
  type BidirectionalHandler,
  type CloseOptions,
  type Handler,
  type HandlerResult,
  ServedEndpoint,
  type ServeOptions,
} from './runtime/serve.js';
export { closeOnSignal } from './runtime/signals.js';
