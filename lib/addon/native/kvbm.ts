import type { Arg, Async, Bytes, Handle, Sync, U32s, U64s } from './call.js';

/**
 * A block manager's functions that are called for every batch. They exchange numbers through a frame: two arguments,
 * the number of batches to release first, and the ids of these. The result replaces the first argument. Block ids are
 * written to the words, from the offset in the second argument on.
 */
export type BoundBlocks = [
  use: (words: Uint32Array, frame: Float64Array) => void,
  /** Takes a block count. Returns the batch's id, or 0. */
  allocate: () => void,
  /** Takes a range of blocks of the sequence. Returns the batch's id, or 0. */
  match: (sequence: Handle<'sequence'>) => void,
  /** Takes the batch, and the range of blocks of the sequence that name its blocks. */
  stage: (sequence: Handle<'sequence'>) => void,
  /** Takes the batch. Returns how many of its blocks were replaced. */
  register: () => void,
  release: () => void,
];

/** An `offset` is an index into the words of the payload. A range packs its first index and its count in one number. */
export interface KvbmNative {
  sequenceCreate: Sync<Handle<'sequence'>, { payload: U32s; args?: Bytes; a: Arg<'blockSize'> }>;
  sequenceExtend: Sync<number, { handle: Handle<'sequence'>; payload: U32s; args?: Bytes }>;
  sequenceTruncate: Sync<undefined, { handle: Handle<'sequence'>; a: Arg<'tokenCount'> }>;
  sequenceTokens: Sync<Bytes | undefined, { handle: Handle<'sequence'>; a: Arg<'start'>; b: Arg<'end'> }>;
  sequenceHashes: Sync<
    Bytes | undefined,
    { handle: Handle<'sequence'>; payload?: U64s; a?: Arg<'blockRange'>; b: Arg<'hashKind'> }
  >;
  sequenceClone: Sync<Handle<'sequence'>, { handle: Handle<'sequence'> }>;
  sequenceClose: Sync<undefined, { handle: Handle<'sequence'> }>;
  registryCreate: Sync<Handle<'registry'>, { args?: Bytes }>;
  registryPresence: Sync<
    Bytes | undefined,
    {
      handle: Handle<'registry'>;
      other?: Handle<'sequence'>;
      args?: Bytes;
      a?: Arg<'blockRange'>;
      b?: Arg<'blockSize'>;
    }
  >;
  registryFrequency: Sync<Bytes | undefined, { handle: Handle<'registry'>; args: Bytes; b: Arg<'isUse'> }>;
  registryCount: Sync<number, { handle: Handle<'registry'> }>;
  registryEvents: Sync<Handle<'stream'>, { handle: Handle<'registry'> }>;
  blocksCreate: Sync<Handle<'blocks'>, { other: Handle<'registry'>; args: Bytes }>;
  blocksAttach: Sync<[Bytes, Handle<'blocks'>, Handle<'registry'>], { a: Arg<'manager'> }>;
  blocksId: Sync<number, { handle: Handle<'blocks'> }>;
  blocksAvailable: Sync<number, { handle: Handle<'blocks'> }>;
  blocksStatistics: Sync<Bytes, { handle: Handle<'blocks'> }>;
  blocksDrain: Sync<Bytes, { handle: Handle<'blocks'> }>;
  blocksEvents: Sync<Handle<'stream'>, { handle: Handle<'blocks'>; a: Arg<'hasSnapshot'> }>;
  blocksAllocate: Sync<
    number,
    { handle: Handle<'blocks'>; args?: Bytes; payload: U32s; a: Arg<'blockCount'>; b: Arg<'offset'> }
  >;
  blocksStage: Sync<
    undefined,
    {
      handle: Handle<'blocks'>;
      other?: Handle<'sequence'>;
      args?: Bytes;
      payload?: Bytes;
      a: Arg<'mutableBatch'>;
      b?: Arg<'blockRange'>;
    }
  >;
  blocksStageAs: Sync<
    undefined,
    { handle: Handle<'blocks'>; other: Handle<'blocks'>; a: Arg<'mutableBatch'>; b: Arg<'registeredBatch'> }
  >;
  blocksRegister: Sync<number, { handle: Handle<'blocks'>; payload: U32s; a: Arg<'stagedBatch'>; b: Arg<'offset'> }>;
  blocksCommit: Sync<
    number,
    {
      handle: Handle<'blocks'>;
      other: Handle<'sequence'>;
      args: Bytes;
      payload: U32s;
      a: Arg<'mutableBatch'>;
      b: Arg<'offset'>;
    }
  >;
  blocksUnstage: Sync<undefined, { handle: Handle<'blocks'>; a: Arg<'stagedBatch'> }>;
  blocksMatch: Sync<
    number,
    {
      handle: Handle<'blocks'>;
      other?: Handle<'sequence'>;
      args?: Bytes;
      payload: U32s;
      a?: Arg<'blockRange'>;
      b: Arg<'offset'>;
    }
  >;
  blocksMatchEach: Sync<
    number,
    {
      handle: Handle<'blocks'>;
      other?: Handle<'sequence'>;
      args?: Bytes;
      payload: U32s;
      a?: Arg<'blockRange'>;
      b: Arg<'offset'>;
    }
  >;
  blocksScan: Sync<number, { handle: Handle<'blocks'>; args: Bytes; payload: U32s; a: Arg<'isUse'>; b: Arg<'offset'> }>;
  blocksClone: Sync<number, { handle: Handle<'blocks'>; a: Arg<'registeredBatch'>; b: Arg<'blockRange'> }>;
  blocksSplit: Sync<number, { handle: Handle<'blocks'>; a: Arg<'batch'>; b: Arg<'blockIndex'> }>;
  blocksJoin: Sync<undefined, { handle: Handle<'blocks'>; a: Arg<'batch'>; b: Arg<'appendedBatch'> }>;
  blocksWeak: Sync<number, { handle: Handle<'blocks'>; a: Arg<'registeredBatch'> }>;
  blocksUpgrade: Sync<number, { handle: Handle<'blocks'>; payload: U32s; a: Arg<'weakBatch'>; b: Arg<'offset'> }>;
  blocksHashes: Sync<Bytes | undefined, { handle: Handle<'blocks'>; a: Arg<'batch'> }>;
  blocksResetOnRelease: Sync<
    undefined,
    { handle: Handle<'blocks'>; a: Arg<'registeredBatch'>; b: Arg<'isResetOnRelease'> }
  >;
  blocksClose: Sync<undefined, { handle: Handle<'blocks'> }>;
  blocksChecksums: Sync<Bytes | undefined, { handle: Handle<'blocks'>; a: Arg<'batch'> }>;
  blocksDigest: Sync<Bytes, { handle: Handle<'blocks'>; payload?: Bytes; a?: Arg<'batch'> }>;
  blocksNote: Sync<
    undefined,
    { handle: Handle<'blocks'>; payload: Bytes; a: Arg<'mutableBatch'>; b: Arg<'layerRange'> }
  >;
  blocksIdentities: Sync<Bytes | undefined, { handle: Handle<'blocks'>; a: Arg<'registeredBatch'> }>;
  blocksCopy: Async<
    undefined,
    {
      handle: Handle<'blocks'>;
      other: Handle<'blocks'>;
      args?: Bytes;
      a: Arg<'registeredBatch'>;
      b: Arg<'mutableBatch'>;
    }
  >;
  blocksRead: Async<Bytes, { handle: Handle<'blocks'>; a: Arg<'registeredBatch'>; b: Arg<'blockIndex'> }>;
  blocksWrite: Async<
    undefined,
    { handle: Handle<'blocks'>; payload: Bytes; a: Arg<'mutableBatch'>; b: Arg<'blockIndex'> }
  >;

  /** One block of a batch; without both, the memory of all blocks. */
  blockView: Sync<ArrayBuffer, { handle: Handle<'blocks'>; a?: Arg<'batch'>; b?: Arg<'blockIndex'> }>;
  blocksBind: Sync<BoundBlocks, { handle: Handle<'blocks'> }>;
}
