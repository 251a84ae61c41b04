import type { Arg, Async, Bytes, Handle, Sync } from './call.js';

export interface RuntimeNative {
  runtimeCreate: Async<[Bytes, Handle<'runtime'>], { args: Bytes }>;
  runtimeClose: Async<undefined, { handle: Handle<'runtime'>; a: Arg<'timeoutMs'> }>;
  runtimeEnding: Async<undefined, { handle: Handle<'runtime'> }>;
  runtimeInstances: Async<Bytes, { handle: Handle<'runtime'> }>;
  runtimeEndpoint: Sync<Handle<'endpoint'>, { handle: Handle<'runtime'>; args: Bytes }>;
  runtimePublisher: Async<Handle<'publisher'>, { handle: Handle<'runtime'>; args: Bytes }>;
  runtimeSubscribe: Async<Handle<'stream'>, { handle: Handle<'runtime'>; args: Bytes }>;
  runtimeMetric: Sync<Handle<'metric'>, { handle: Handle<'runtime'>; args: Bytes }>;
  runtimeMetrics: Sync<Bytes | undefined, { handle: Handle<'runtime'> }>;
  runtimeMetricsText: Sync<
    Handle<'metricsText'> | [undefined, Handle<'metricsText'>, Handle<'inbox'>],
    { handle: Handle<'runtime'>; args: Bytes }
  >;
  runtimeSetHealth: Sync<undefined, { handle: Handle<'runtime'>; a: Arg<'isReady'> }>;
  runtimeEngineRoute: Sync<Handle<'inbox'>, { handle: Handle<'runtime'>; args: Bytes }>;
  metricChange: Sync<undefined, { handle: Handle<'metric'>; args: Bytes }>;
  metricsTextSet: Sync<undefined, { handle: Handle<'metricsText'>; payload: Bytes }>;
  publisherPublish: Async<undefined, { handle: Handle<'publisher'>; payload: Bytes }>;
  publisherClose: Sync<undefined, { handle: Handle<'publisher'> }>;
  endpointServe: Async<[Bytes, Handle<'served'>, Handle<'inbox'>], { handle: Handle<'endpoint'>; args: Bytes }>;
  endpointRegister: Async<undefined, { handle: Handle<'endpoint'>; a: Arg<'isRegistered'> }>;
  endpointWatch: Sync<Handle<'stream'>, { handle: Handle<'endpoint'> }>;
  endpointClient: Async<Handle<'client'>, { handle: Handle<'endpoint'>; args: Bytes }>;
  servedClose: Async<undefined, { handle: Handle<'served'> }>;
  clientOpen: Sync<Handle<'stream'>, { handle: Handle<'client'>; args?: Bytes; payload: Bytes }>;
  clientUnary: Async<Bytes, { handle: Handle<'client'>; args?: Bytes; payload: Bytes }>;
  clientOpenBidirectional: Sync<
    [undefined, Handle<'stream'>, Handle<'sink'>],
    { handle: Handle<'client'>; args?: Bytes }
  >;
  clientInstances: Sync<Bytes, { handle: Handle<'client'> }>;
  clientWait: Async<Bytes, { handle: Handle<'client'>; a: Arg<'instanceCount'> }>;
  clientClose: Sync<undefined, { handle: Handle<'client'> }>;
}
