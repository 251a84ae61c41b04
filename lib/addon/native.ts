/**
 * Every native function, in the order of the tables in `native/binding`. A synchronous one gives its value or throws an
 * error with `failure`; an asynchronous one gives an operation id, under which its value is delivered.
 */
declare const handleBrand: unique symbol;

/** A native object; only the functions below look into it. */
export interface Handle {
  readonly [handleBrand]: never;
}

export type Bytes = Uint8Array;
export type Nothing = null | undefined;

export type Sync<Result> = (
  handle?: Handle | Nothing,
  args?: Bytes | Nothing,
  payload?: Bytes | Nothing,
  a?: number,
  b?: number,
  other?: Handle | Nothing,
) => Result;

declare const resultBrand: unique symbol;

export type Async<Result> = ((
  handle?: Handle | Nothing,
  args?: Bytes | Nothing,
  payload?: Bytes | Nothing,
  a?: number,
  b?: number,
  other?: Handle | Nothing,
  background?: boolean,
) => number) & { readonly [resultBrand]?: Result };

export interface Native {
  open(deliver: (batch: unknown[]) => void): void;
  cancel(op: number): void;

  versions: Sync<Bytes>;
  logOpen: Sync<Handle>;
  streamPull: Async<Bytes>;
  streamCancel: Sync<undefined>;
  sinkWrite: Sync<number>;
  sinkEnd: Sync<undefined>;
  sinkReady: Async<number>;
  inboxAccept: Async<[Bytes, ...Handle[]] | Bytes>;
  inboxGrant: Sync<undefined>;
  inboxClose: Sync<undefined>;

  runtimeCreate: Async<[Bytes, Handle]>;
  runtimeClose: Async<undefined>;
  runtimeInstances: Async<Bytes>;
  runtimeEndpoint: Sync<Handle>;
  runtimePublisher: Async<Handle>;
  runtimeSubscribe: Async<Handle>;
  runtimeMetric: Sync<Handle>;
  runtimeMetrics: Sync<Bytes | undefined>;
  runtimeMetricsText: Sync<Handle>;
  runtimeSetHealth: Sync<undefined>;
  runtimeEngineRoute: Sync<Handle>;
  metricChange: Sync<undefined>;
  metricsTextSet: Sync<undefined>;
  publisherPublish: Async<undefined>;
  publisherClose: Sync<undefined>;
  endpointServe: Async<[Bytes, Handle, Handle]>;
  endpointRegister: Async<undefined>;
  endpointWatch: Sync<Handle>;
  endpointClient: Async<Handle>;
  servedClose: Async<undefined>;
  clientOpen: Sync<Handle>;
  clientOpenBidirectional: Sync<[undefined, Handle, Handle]>;
  clientInstances: Sync<Bytes>;
  clientWait: Async<Bytes>;
  clientClose: Sync<undefined>;

  entrypointStart: Async<[Bytes, Handle]>;
  entrypointReady: Async<undefined>;
  entrypointWait: Async<undefined>;
  entrypointClose: Async<undefined>;
  workerStart: Async<[undefined, Handle, Handle]>;
  workerReady: Async<undefined>;
  workerWait: Async<undefined>;
  workerClose: Async<undefined>;
  workerPublishKv: Sync<number>;
  workerPublishLoad: Sync<number>;
  modelRegister: Async<undefined>;
  modelUnregister: Async<undefined>;
  modelTaints: Async<undefined>;
  modelFetch: Async<Bytes>;
  conformanceInbox: Sync<Handle>;
  conformanceRun: Async<undefined>;
}
