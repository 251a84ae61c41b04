import type { Arg, Async, Bytes, Handle, Sync, U32s, U64s } from './call.js';

/** `rankOrAll` is 0 for every rank of a worker, else the rank + 1. */
export interface RouterNative {
  hashBlocks: Sync<Bytes | undefined, { args?: Bytes; payload: U32s; a: Arg<'blockSize'> }>;
  hashSequences: Sync<Bytes | undefined, { payload: U64s }>;
  radixTreeCreate: Sync<Handle<'radixTree'>>;
  radixTreeApply: Sync<number, { handle: Handle<'radixTree'>; payload: Bytes }>;
  radixTreeMatch: Sync<Bytes | undefined, { handle: Handle<'radixTree'>; payload: U64s; a: Arg<'isEarlyExit'> }>;
  radixTreeRemove: Sync<undefined, { handle: Handle<'radixTree'>; payload: U64s; a: Arg<'rankOrAll'> }>;
  radixTreeDump: Sync<Bytes | undefined, { handle: Handle<'radixTree'> }>;
  radixTreeState: Sync<Bytes, { handle: Handle<'radixTree'> }>;
  indexerCreate: Sync<Handle<'indexer'>, { args: Bytes }>;
  indexerApply: Async<undefined, { handle: Handle<'indexer'>; payload: Bytes }>;
  indexerMatch: Async<Bytes | undefined, { handle: Handle<'indexer'>; payload: U64s }>;
  indexerMatchHere: Sync<Bytes | undefined, { handle: Handle<'indexer'>; payload: U64s }>;
  indexerRouted: Async<undefined, { handle: Handle<'indexer'>; payload: U64s; a: Arg<'dpRank'> }>;
  indexerRemove: Async<undefined, { handle: Handle<'indexer'>; payload: U64s; a: Arg<'rankOrAll'> }>;
  indexerDump: Async<Bytes | undefined, { handle: Handle<'indexer'> }>;
  indexerClose: Async<undefined, { handle: Handle<'indexer'> }>;
  kvPublisherCreate: Async<Handle<'kvPublisher'>, { handle: Handle<'endpoint'>; args: Bytes }>;
  kvPublisherPublish: Sync<undefined, { handle: Handle<'kvPublisher'>; payload: Bytes }>;
  kvPublisherClose: Sync<undefined, { handle: Handle<'kvPublisher'> }>;
  loadPublisherCreate: Async<Handle<'loadPublisher'>, { handle: Handle<'endpoint'> }>;
  loadPublisherPublish: Sync<undefined, { handle: Handle<'loadPublisher'>; args: Bytes }>;
  loadPublisherClose: Sync<undefined, { handle: Handle<'loadPublisher'> }>;
  selectionCreate: Async<
    Handle<'selection'> | [undefined, Handle<'selection'>, Handle<'inbox'>, Handle<'policy'>],
    { args: Bytes }
  >;
  selectionPutWorker: Async<Bytes, { handle: Handle<'selection'>; args: Bytes }>;
  selectionRemoveWorker: Async<Bytes, { handle: Handle<'selection'>; payload: U64s }>;
  selectionApply: Async<undefined, { handle: Handle<'selection'>; args: Bytes; payload: Bytes }>;
  selectionQuery: Async<Bytes | undefined, { handle: Handle<'selection'>; args: Bytes }>;
  selectionSelect: Async<Bytes, { handle: Handle<'selection'>; args: Bytes; payload?: U32s; a: Arg<'isReserved'> }>;
  selectionSelectMany: Sync<Handle<'stream'>, { handle: Handle<'selection'>; payload: Bytes }>;
  selectionOverlap: Async<Bytes, { handle: Handle<'selection'>; args: Bytes; payload?: U32s }>;
  selectionPotentialLoads: Async<Bytes, { handle: Handle<'selection'>; args: Bytes; payload?: U32s }>;
  selectionExplain: Async<Bytes, { handle: Handle<'selection'>; args: Bytes; payload?: U32s }>;
  selectionClose: Async<undefined, { handle: Handle<'selection'> }>;
  kvRouterCreate: Async<
    Handle<'kvRouter'> | [undefined, Handle<'kvRouter'>, Handle<'inbox'>, Handle<'policy'>],
    { handle: Handle<'endpoint'>; args: Bytes }
  >;
  kvRouterSelect: Async<Bytes, { handle: Handle<'kvRouter'>; args: Bytes; payload: U32s }>;
  kvRouterSelectMany: Sync<Handle<'stream'>, { handle: Handle<'kvRouter'>; payload: Bytes }>;
  kvRouterOverlap: Async<Bytes, { handle: Handle<'kvRouter'>; args: Bytes; payload: U32s }>;
  kvRouterLoads: Async<Bytes, { handle: Handle<'kvRouter'>; args: Bytes; payload: U32s }>;
  kvRouterExplain: Async<Bytes, { handle: Handle<'kvRouter'>; args: Bytes; payload: U32s }>;
  kvRouterMark: Async<undefined, { handle: Handle<'kvRouter'>; args: Bytes; a: Arg<'isEnd'> }>;
  kvRouterDump: Async<Bytes | undefined, { handle: Handle<'kvRouter'> }>;
  kvRouterClose: Sync<undefined, { handle: Handle<'kvRouter'> }>;
  routerDefaults: Sync<Bytes>;
  policyCounts: Sync<Bytes, { handle: Handle<'policy'> }>;
  replayInbox: Sync<Handle<'inbox'>>;
  replayRun: Async<Bytes, { handle?: Handle<'inbox'>; args: Bytes; a: Arg<'isCancellable'> }>;
}
