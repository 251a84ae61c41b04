export { ClosedError, DynamoError, type DynamoErrorOptions, type ErrorClass, type ErrorCode } from './errors.js';
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
