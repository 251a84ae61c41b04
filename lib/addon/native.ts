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
/** What a payload may be: words count as their bytes. */
export type Payload = Bytes | Uint32Array | BigUint64Array;
export type Nothing = null | undefined;

export type Sync<Result> = (
  handle?: Handle | Nothing,
  args?: Bytes | Nothing,
  payload?: Payload | Nothing,
  a?: number,
  b?: number,
  other?: Handle | Nothing,
) => Result;

declare const resultBrand: unique symbol;

export type Async<Result> = ((
  handle?: Handle | Nothing,
  args?: Bytes | Nothing,
  payload?: Payload | Nothing,
  a?: number,
  b?: number,
  other?: Handle | Nothing,
  background?: boolean,
) => number) & { readonly [resultBrand]?: Result };

/**
 * What is asked of a block manager for every batch. Numbers travel in a frame: two arguments, the first of which the result
 * replaces; how many batches are given back before; and their ids. Others write to the words, from the one on that the
 * second argument names.
 */
export type BoundBlocks = [
  use: (words: Uint32Array, frame: Float64Array) => void,
  /** Takes how many blocks; gives the batch's id, or 0. */
  allocate: () => void,
  /** Takes which blocks; gives the batch's id, or 0. */
  match: (sequence: Handle) => void,
  /** Takes the batch, and which blocks of the sequence name its blocks. */
  stage: (sequence: Handle) => void,
  /** Takes the batch; gives how many of its blocks were replaced. */
  register: () => void,
  release: () => void,
];

export interface Native {
  open(deliver: (batch: unknown[]) => void): void;
  cancel(op: number): void;

  versions: Sync<Bytes>;
  logOpen: Sync<Handle>;
  streamPull: Async<Bytes>;
  streamCancel: Sync<undefined>;
  sinkWrite: Sync<number>;
  sinkEnd: Sync<undefined>;
  sinkNotify: Sync<undefined>;
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
  runtimeMetricsText: Sync<Handle | [undefined, Handle, Handle]>;
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
  clientUnary: Async<Bytes>;
  clientOpenBidirectional: Sync<[undefined, Handle, Handle]>;
  clientInstances: Sync<Bytes>;
  clientWait: Async<Bytes>;
  clientClose: Sync<undefined>;

  entrypointStart: Async<[Bytes, Handle, Handle, Handle, Handle, Handle?, Handle?]>;
  entrypointReady: Async<undefined>;
  entrypointWait: Async<undefined>;
  entrypointClose: Async<undefined>;
  processorGenerate: Sync<Handle>;
  workerStart: Async<[undefined, Handle, Handle]>;
  workerReady: Async<undefined>;
  workerWait: Async<undefined>;
  workerClose: Async<undefined>;
  workerMetricsText: Sync<undefined>;
  workerPublishKv: Sync<number>;
  workerPublishLoad: Sync<number>;
  modelRegister: Async<undefined>;
  modelUnregister: Async<undefined>;
  modelTaints: Async<undefined>;
  modelFetch: Async<Bytes>;
  modelParsers: Sync<Bytes>;
  clientWaitForData: Async<Bytes>;
  firstTokenOpen: Async<Handle>;
  firstTokenNotify: Sync<undefined>;
  firstTokenClose: Sync<undefined>;
  forwardPassOpen: Async<Handle>;
  forwardPassPublish: Sync<undefined>;
  forwardPassClose: Sync<undefined>;
  forwardPassRelay: Async<Handle>;
  conformanceInbox: Sync<Handle>;
  conformanceRun: Async<undefined>;

  sequenceCreate: Sync<Handle>;
  sequenceExtend: Sync<number>;
  sequenceTruncate: Sync<undefined>;
  sequenceTokens: Sync<Bytes | undefined>;
  sequenceHashes: Sync<Bytes | undefined>;
  sequenceClone: Sync<Handle>;
  sequenceClose: Sync<undefined>;
  registryCreate: Sync<Handle>;
  registryPresence: Sync<Bytes | undefined>;
  registryFrequency: Sync<Bytes | undefined>;
  registryCount: Sync<number>;
  registryEvents: Sync<Handle>;
  blocksCreate: Sync<Handle>;
  blocksAttach: Sync<[Bytes, Handle, Handle]>;
  blocksId: Sync<number>;
  blocksAvailable: Sync<number>;
  blocksStatistics: Sync<Bytes>;
  blocksDrain: Sync<Bytes>;
  blocksEvents: Sync<Handle>;
  blocksAllocate: Sync<number>;
  blocksStage: Sync<undefined>;
  blocksStageAs: Sync<undefined>;
  blocksRegister: Sync<number>;
  blocksCommit: Sync<number>;
  blocksUnstage: Sync<undefined>;
  blocksMatch: Sync<number>;
  blocksMatchEach: Sync<number>;
  blocksScan: Sync<number>;
  blocksClone: Sync<number>;
  blocksSplit: Sync<number>;
  blocksJoin: Sync<undefined>;
  blocksWeak: Sync<number>;
  blocksUpgrade: Sync<number>;
  blocksHashes: Sync<Bytes | undefined>;
  blocksResetOnRelease: Sync<undefined>;
  blocksClose: Sync<undefined>;
  blocksDigest: Sync<Bytes>;
  blocksNote: Sync<undefined>;
  blocksChecksums: Sync<Bytes | undefined>;
  blocksIdentities: Sync<Bytes | undefined>;
  kvbmBench: Sync<number>;
  blocksCopy: Async<undefined>;
  blocksRead: Async<Bytes>;
  blocksWrite: Async<undefined>;
  blockView: Sync<ArrayBuffer>;
  blocksBind: Sync<BoundBlocks>;
  bufferDetach(buffer: ArrayBuffer): void;

  hashBlocks: Sync<Bytes | undefined>;
  hashSequences: Sync<Bytes | undefined>;
  radixTreeCreate: Sync<Handle>;
  radixTreeApply: Sync<number>;
  radixTreeMatch: Sync<Bytes | undefined>;
  radixTreeRemove: Sync<undefined>;
  radixTreeDump: Sync<Bytes | undefined>;
  radixTreeState: Sync<Bytes>;
  indexerCreate: Sync<Handle>;
  indexerApply: Async<undefined>;
  indexerMatch: Async<Bytes | undefined>;
  indexerMatchHere: Sync<Bytes | undefined>;
  indexerRouted: Async<undefined>;
  indexerRemove: Async<undefined>;
  indexerDump: Async<Bytes | undefined>;
  indexerClose: Async<undefined>;
  kvPublisherCreate: Async<Handle>;
  kvPublisherPublish: Sync<undefined>;
  kvPublisherClose: Sync<undefined>;
  loadPublisherCreate: Async<Handle>;
  loadPublisherPublish: Sync<undefined>;
  loadPublisherClose: Sync<undefined>;
  selectionCreate: Async<Handle | [undefined, Handle, Handle, Handle]>;
  selectionPutWorker: Async<Bytes>;
  selectionRemoveWorker: Async<Bytes>;
  selectionApply: Async<undefined>;
  selectionQuery: Async<Bytes | undefined>;
  selectionSelect: Async<Bytes>;
  selectionOverlap: Async<Bytes>;
  selectionPotentialLoads: Async<Bytes>;
  selectionExplain: Async<Bytes>;
  selectionClose: Async<undefined>;
  attachedCreate: Async<Handle | [undefined, Handle, Handle, Handle]>;
  attachedSelect: Async<Bytes>;
  attachedOverlap: Async<Bytes>;
  attachedLoads: Async<Bytes>;
  attachedExplain: Async<Bytes>;
  attachedMark: Async<undefined>;
  attachedDump: Async<Bytes | undefined>;
  attachedClose: Sync<undefined>;
  routerDefaults: Sync<Bytes>;
  policyCounts: Sync<Bytes>;
  replayRun: Async<Bytes>;

  nixlLibraryLoad: Sync<Bytes | [Bytes, Handle]>;
  nixlLibraryMock: Sync<[Bytes, Handle]>;
  nixlProcessRead: Sync<Bytes>;
  nixlProcessReceived: Sync<number>;
  nixlAgentCreate: Async<Handle>;
  nixlAgentClose: Async<number>;
  nixlAgentPlugins: Async<Bytes>;
  nixlAgentBackend: Async<undefined>;
  nixlAgentMetadata: Async<Bytes>;
  nixlAgentPartialMetadata: Async<Bytes>;
  nixlAgentConnect: Async<[Bytes, Handle]>;
  nixlAgentFetch: Async<[Bytes, Handle]>;
  nixlAgentSendMetadata: Async<undefined>;
  nixlAgentWithdrawMetadata: Async<undefined>;
  nixlAgentSelf: Async<[Bytes, Handle]>;
  nixlAgentNotify: Async<undefined>;
  nixlAgentNotifications: Async<Bytes>;
  nixlAgentQuery: Async<Bytes>;
  nixlPeerDisconnect: Async<undefined>;
  nixlRegionAllocate: Async<Bytes>;
  nixlRegionFile: Async<Bytes>;
  nixlRegionRegister: Async<Bytes>;
  nixlRegionRelease: Async<undefined>;
  nixlRegionWrite: Async<undefined>;
  nixlRegionRead: Async<Bytes>;
  nixlRegionCopy: Async<number>;
  nixlRegionFind: Sync<Handle>;
  nixlTransferRun: Sync<number | Handle | undefined>;
  nixlTransferStart: Async<number>;
  nixlTransferPrepare: Async<[Bytes, Handle]>;
  nixlTransferPostInline: Sync<number | Bytes | undefined>;
  nixlTransferPost: Async<number>;
  nixlTransferWait: Async<number>;
  nixlTransferRelease: Async<undefined>;
  nixlTransferTelemetry: Async<Bytes>;
  nixlTransferEstimate: Async<Bytes>;
  nixlBlocksPrepare: Async<Handle>;
  nixlBlocksRelease: Async<undefined>;
  nixlBlocksStart: Async<number>;
  nixlBlocksTransfer: Async<[Bytes, Handle]>;
  nixlRegionView(region: Handle): ArrayBuffer | null;
  nixlViewDetach(buffer: ArrayBuffer): void;
  nixlBufferAddress(buffer: ArrayBuffer): number;
}
