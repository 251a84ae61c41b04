import type { Arg, Async, Bytes, Handle, Sync } from './call.js';

/** `native/nixl/entries.h`. Payloads are bytes; lists of numbers in them are 64-bit floats. */
export interface NixlNative {
  nixlLibraryLoad: Sync<Bytes | [Bytes, Handle<'nixlLibrary'>], { args: Bytes }>;
  nixlLibraryMock: Sync<[Bytes, Handle<'nixlLibrary'>], { args: Bytes }>;
  nixlProcessRead: Sync<Bytes, { a: Arg<'process'>; b: Arg<'address'> }>;
  nixlProcessReceived: Sync<number>;
  nixlAgentCreate: Async<Handle<'nixlAgent'>, { handle: Handle<'nixlLibrary'>; args: Bytes }>;
  nixlAgentClose: Async<number, { handle: Handle<'nixlAgent'> }>;
  nixlAgentPlugins: Async<Bytes, { handle: Handle<'nixlAgent'> }>;
  nixlAgentBackend: Async<undefined, { handle: Handle<'nixlAgent'>; args: Bytes }>;
  nixlAgentMetadata: Async<Bytes, { handle: Handle<'nixlAgent'> }>;
  nixlAgentPartialMetadata: Async<Bytes, { handle: Handle<'nixlAgent'>; payload: Bytes; a: Arg<'memory'> }>;
  nixlAgentConnect: Async<[Bytes, Handle<'nixlPeer'>], { handle: Handle<'nixlAgent'>; payload: Bytes }>;
  nixlAgentFetch: Async<[Bytes, Handle<'nixlPeer'>], { handle: Handle<'nixlAgent'>; args: Bytes }>;
  nixlAgentSendMetadata: Async<
    undefined,
    { handle: Handle<'nixlAgent'>; args: Bytes; payload?: Bytes; a?: Arg<'memory'> }
  >;
  nixlAgentWithdrawMetadata: Async<undefined, { handle: Handle<'nixlAgent'>; args: Bytes }>;
  nixlAgentSelf: Async<[Bytes, Handle<'nixlPeer'>], { handle: Handle<'nixlAgent'> }>;
  nixlAgentNotify: Async<undefined, { handle: Handle<'nixlAgent'>; other: Handle<'nixlPeer'>; payload: Bytes }>;
  nixlAgentNotifications: Async<Bytes, { handle: Handle<'nixlAgent'>; a: Arg<'maxCount'> }>;
  nixlAgentQuery: Async<Bytes, { handle: Handle<'nixlAgent'>; args: Bytes }>;
  nixlPeerDisconnect: Async<undefined, { handle: Handle<'nixlPeer'> }>;
  nixlRegionAllocate: Async<
    Bytes,
    { handle: Handle<'nixlAgent'>; args: Bytes; a: Arg<'byteLength'>; b: Arg<'device'> }
  >;
  nixlRegionFile: Async<Bytes, { handle: Handle<'nixlAgent'>; args: Bytes; a: Arg<'byteLength'> }>;
  nixlRegionRegister: Async<Bytes, { handle: Handle<'nixlAgent'>; args: Bytes; payload: Bytes; a: Arg<'memory'> }>;
  nixlRegionRelease: Async<undefined, { handle: Handle<'nixlRegion'> }>;
  nixlRegionWrite: Async<undefined, { handle: Handle<'nixlRegion'>; payload: Bytes; a: Arg<'offset'> }>;
  nixlRegionRead: Async<Bytes, { handle: Handle<'nixlRegion'>; a: Arg<'offset'>; b: Arg<'byteLength'> }>;
  nixlRegionFind: Sync<Handle<'nixlRegion'>, { a: Arg<'region'> }>;
  nixlTransferRun: Sync<
    number | Handle<'nixlTransfer'> | undefined,
    {
      handle: Handle<'nixlAgent'>;
      other: Handle<'nixlPeer'>;
      args?: Bytes;
      payload: Bytes;
      a: Arg<'transferKinds'>;
      b: Arg<'looks'>;
    }
  >;
  nixlTransferStart: Async<
    number,
    { handle: Handle<'nixlAgent'>; other: Handle<'nixlPeer'>; args?: Bytes; payload: Bytes; a: Arg<'transferKinds'> }
  >;
  nixlTransferPrepare: Async<
    [Bytes, Handle<'nixlTransfer'>],
    { handle: Handle<'nixlAgent'>; other: Handle<'nixlPeer'>; args?: Bytes; payload: Bytes; a: Arg<'transferKinds'> }
  >;
  nixlTransferPostInline: Sync<
    number | Bytes | undefined,
    { handle: Handle<'nixlTransfer'>; args?: Bytes; b: Arg<'looks'> }
  >;
  nixlTransferPost: Async<number, { handle: Handle<'nixlTransfer'>; args?: Bytes }>;
  nixlTransferWait: Async<number, { handle: Handle<'nixlTransfer'> }>;
  nixlTransferRelease: Async<undefined, { handle: Handle<'nixlTransfer'> }>;
  nixlTransferTelemetry: Async<Bytes, { handle: Handle<'nixlTransfer'> }>;
  nixlTransferEstimate: Async<Bytes, { handle: Handle<'nixlTransfer'> }>;
  nixlBlocksPrepare: Async<
    Handle<'nixlBlocks'>,
    { handle: Handle<'nixlAgent'>; other?: Handle<'nixlPeer'>; args?: Bytes; payload: Bytes; a: Arg<'memory'> }
  >;
  nixlBlocksRelease: Async<undefined, { handle: Handle<'nixlBlocks'> }>;
  nixlBlocksStart: Async<
    number,
    { handle: Handle<'nixlBlocks'>; other: Handle<'nixlBlocks'>; args?: Bytes; payload: Bytes; a: Arg<'operation'> }
  >;
  nixlBlocksTransfer: Async<
    [Bytes, Handle<'nixlTransfer'>],
    { handle: Handle<'nixlBlocks'>; other: Handle<'nixlBlocks'>; args?: Bytes; payload: Bytes; a: Arg<'operation'> }
  >;

  /** Null if the region is not host memory that the agent allocated. */
  nixlRegionView(region: Handle<'nixlRegion'>): ArrayBuffer | null;
  /** The buffer's address, the id of a hold that keeps its bytes, and the hold. Null if this runtime cannot hold it. */
  nixlBufferHold(buffer: ArrayBuffer): [address: number, id: number, hold: Handle<'nixlHold'>] | null;
  nixlBufferAddress(buffer: ArrayBuffer): number;
}
