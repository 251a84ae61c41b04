export {
  ClosedError,
  DynamoError,
  type DynamoErrorOptions,
  type ErrorClass,
  type ErrorCode,
  NixlError,
} from './errors.js';
export { HTTP_STATUSES } from './http-status.js';
export { MutableBlocks, RegisteredBlocks, type ScatteredBlocks, StagedBlocks, WeakBlocks } from './kvbm/blocks.js';
export {
  BlockChecksumError,
  BlockFileError,
  BlockLayoutError,
  BlockStateError,
  BlocksExhaustedError,
} from './kvbm/errors.js';
export type { BlockEvent, BlockEventSource, BlockEventTier, Tier } from './kvbm/events.js';
export { LineageHashes } from './kvbm/hashes.js';
export { type BlockLayout, type BlockStorage, blockBytes, type ElementType, type LayerRange } from './kvbm/layout.js';
export { BlockManager, type CopyOptions } from './kvbm/manager.js';
export type { BlockManagerOptions, Eviction } from './kvbm/options.js';
export { PagedSequence, type PagedSequenceOptions } from './kvbm/paged.js';
export { BlockRegistry, type BlockRegistryOptions, type RegistryEvent } from './kvbm/registry.js';
export { type PullOptions, RemoteBlocks, type RemoteBlocksStatistics } from './kvbm/remote.js';
export { type MultimodalRun, TokenSequence, type TokenSequenceOptions, type Tokens } from './kvbm/sequence.js';
export {
  SharedBlocks,
  type ShareEndpoint,
  type ShareOptions,
  type ShareRequest,
  type ShareResponse,
} from './kvbm/share.js';
export type { BlockStatistics } from './kvbm/statistics.js';
export { BlockTiers, type BlockTiersOptions, type BlockTiersStatistics } from './kvbm/tiers.js';
export { type BuiltInEngine, BuiltInWorker } from './llm/built-in-worker.js';
export type { CardConflict } from './llm/card-conflicts.js';
export { encodeEmbedding } from './llm/embeddings.js';
export type {
  EngineBase,
  EngineConfig,
  EngineMetrics,
  EngineWorker,
  GenerateContext,
  KvCacheEvent,
  KvEventSource,
  LLMEngine,
  LlmRegistration,
  LoadSnapshot,
  RawEngine,
} from './llm/engine.js';
export { FirstTokenSource } from './llm/first-token.js';
export {
  type ForwardPass,
  ForwardPassPublisher,
  type ForwardPassPublisherOptions,
  ForwardPassRelay,
  type QueuedWork,
  type ScheduledWork,
} from './llm/forward-pass.js';
export { type ForwardPassMetrics, ForwardPassSubscriber } from './llm/forward-pass-subscriber.js';
export { Frontend } from './llm/frontend.js';
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
  modelParsers,
  registerModel,
  unregisterModel,
  updateModelTaints,
} from './llm/model.js';
export type {
  ChatChunk,
  ChatRequest,
  ProcessedModel,
  Processor,
  ProcessorContext,
  ProcessorFactory,
  TokenRequest,
} from './llm/processor.js';
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
export type { BusyThresholds, FrontendRouterMode, RouterOptions } from './llm/router-options.js';
export type { FrontendRoute, FrontendRoutes, FrontendState, RouteContext } from './llm/routes.js';
export { ServedEngine, type ServeEngineOptions, serveEngine } from './llm/worker.js';
export { NixlAgent } from './nixl/agent.js';
export type {
  AllocateOptions,
  MetadataOptions,
  NixlAgentOptions,
  NixlCloseOptions,
  NixlPlugin,
  PeerAddress,
  RegisterOptions,
} from './nixl/agent-options.js';
export { BlockList, type BlocksOptions } from './nixl/blocks.js';
export {
  type NixlDoctorOptions,
  type NixlPluginReport,
  type NixlProblem,
  type NixlReport,
  nixlDoctor,
  type UcxReport,
} from './nixl/diagnosis/doctor.js';
export {
  type NixlEvidence,
  type NixlExplainOptions,
  type NixlExplanation,
  type NixlPair,
  type NixlRequirement,
  nixlExplain,
} from './nixl/diagnosis/explain.js';
export { formatNixlReport } from './nixl/diagnosis/format.js';
export type { RdmaDevice, RdmaPort, RdmaReport, SystemReport } from './nixl/diagnosis/system.js';
export type { NixlTransport } from './nixl/diagnosis/ucx-report.js';
export {
  loadNixl,
  type MockKnobs,
  type NixlCuda,
  type NixlFeature,
  NixlLibrary,
  NixlLoadError,
  type NixlLoadOptions,
  type NixlMode,
  type NixlTried,
} from './nixl/library.js';
export type { WaitLimit } from './nixl/limit.js';
export {
  attachRegion,
  MEMORY_TYPES,
  type MemoryDescriptor,
  MemoryRegion,
  MemorySlice,
  type MemoryType,
  type RegionToken,
  SharedRegion,
} from './nixl/memory.js';
export type { Notification } from './nixl/notification-queue.js';
export { type NotificationOptions, Notifications } from './nixl/notifications.js';
export { NixlPeer, type RemoteAddress, RemoteMemory } from './nixl/peer.js';
export type { LocalMemory, TransferOperation, TransferTarget } from './nixl/plan.js';
export type { AddressSource, DescriptorSource, FileSource, MemorySource } from './nixl/register.js';
export {
  type CostEstimate,
  type PostOptions,
  PreparedTransfer,
  type PrepareOptions,
  type TransferOptions,
  type TransferResult,
  type TransferSetup,
  type TransferTelemetry,
} from './nixl/transfer.js';
export {
  decidePrefillPlace,
  type PrefillPlace,
  type PrefillPlaceDecision,
  type PrefillPlaceInputs,
} from './router/conditional-disaggregation.js';
export { KV_ROUTER_DEFAULTS, type KvRouterConfig } from './router/config.js';
export {
  type ClearedEvent,
  type KvEvent,
  type RemovedEvent,
  type RouterEvent,
  STORAGE_TIERS,
  type StorageTier,
  type StoredEvent,
} from './router/events.js';
export {
  type ExplainingRouter,
  type ExplainOptions,
  formatExplanation,
  type RoutingCandidate,
  type RoutingExplanation,
} from './router/explanation.js';
export {
  computeBlockHashes,
  computeSequenceHashes,
  type HashOptions,
  type MultimodalObject,
} from './router/hashing.js';
export { type IndexerKind, KvIndexer, type KvIndexerOptions } from './router/kv-indexer.js';
export { KvPublisher, type KvPublisherOptions, type ZmqSource } from './router/kv-publisher.js';
export { KvRouter, type KvRouterOptions } from './router/kv-router.js';
export type { OverlapScores } from './router/overlap.js';
export type { PolicyCounts, RoutingBatch, RoutingPolicy } from './router/policy.js';
export { RadixTree } from './router/radix-tree.js';
export {
  type ReplayOptions,
  type ReplayPool,
  type ReplayReport,
  type ReplaySla,
  replayTrace,
  type SimulatedEngine,
} from './router/replay.js';
export type {
  ReplayPass,
  ReplayPoolSnapshot,
  ReplayRole,
  ReplayScalingDecision,
  ReplayScalingPolicy,
  ReplayScalingSnapshot,
  ReplayTraffic,
} from './router/replay-scaling.js';
export type { PotentialLoad, RouterBaseOptions, WorkerOverlap } from './router/router-base.js';
export type { RoutingDecision, RoutingOverride, RoutingRequest, WorkerRank } from './router/routing-request.js';
export type {
  ReplicaOptions,
  SelectionPool,
  SelectionRequest,
  SelectionServiceOptions,
  SelectionWorker,
} from './router/selection-options.js';
export { type SelectionDecision, SelectionService } from './router/selection-service.js';
export { type WorkerLoad, WorkerMetricsPublisher } from './router/worker-metrics-publisher.js';
export { WORKER_TYPES, type WorkerType } from './router/worker-type.js';
export { Annotated, type AnnotatedFields } from './runtime/annotated.js';
export { Client } from './runtime/client.js';
export type { ClientOptions, RequestOptions, RouterMode, WaitOptions } from './runtime/client-options.js';
export type { CloseOptions } from './runtime/close-options.js';
export type { Discovery, RuntimeOptions } from './runtime/config.js';
export { type CancelKind, currentRequest, RequestCancelled, type RequestContext } from './runtime/context.js';
export { DistributedRuntime, type Versions, versions } from './runtime/distributed-runtime.js';
export { Component, Endpoint, Namespace } from './runtime/endpoint.js';
export { type Event, EventPublisher, type EventSubscription, type Scope } from './runtime/events.js';
export { healthCheckFromEnvironment } from './runtime/health-check.js';
export type { Instance, InstanceChange } from './runtime/instance.js';
export { type LogLevel, type LogLine, type LogOptions, type RunningLog, startLog } from './runtime/log.js';
export { prometheusNames } from './runtime/metric-names.js';
export {
  Counter,
  Gauge,
  Histogram,
  type HistogramOptions,
  type MetricOptions,
  Metrics,
  MetricsText,
  type MetricsTextOptions,
} from './runtime/metrics.js';
export { ResponseStream } from './runtime/response.js';
export { type BidirectionalHandler, type Handler, type HandlerResult, ServedEndpoint } from './runtime/serve.js';
export type { ServeOptions } from './runtime/serve-options.js';
export { closeOnSignal } from './runtime/signals.js';
export type { NatsTls, TransportTls } from './runtime/tls.js';
export type { OnRequest } from './sdk/host/observed.js';
export {
  type ConnectedService,
  type ConnectServiceOptions,
  connectService,
  type HostOptions,
  RunningService,
  startService,
} from './sdk/host.js';
