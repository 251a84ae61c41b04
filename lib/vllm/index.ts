export { stripTransferParams } from '../llm/kv-transfer.js';
export type { PromptIdentity } from './block-index.js';
export { compatibilityHash, VLLM_VERSIONS, type VllmCompatibility } from './compatibility.js';
export { VllmError, type VllmReason } from './errors.js';
export { decodeKvEvents, type VllmKvEvent, type VllmKvEventOptions, VllmKvEvents } from './kv-events.js';
export { VllmKvStore } from './kv-store.js';
export {
  type BlockAxis,
  type BlockElements,
  type BlockShape,
  elementsOf,
  kernelBlocks,
  layoutOf,
  packBlock,
  unpackBlock,
  VLLM_LAYOUTS,
  type VllmBlockLayout,
} from './layouts.js';
export {
  decodeHandshake,
  decodeMetadata,
  encodeHandshake,
  encodeMetadata,
  type VllmAgentMetadata,
  type VllmHandshake,
} from './metadata.js';
export type { OfferEnd, VllmOffer } from './offers.js';
export { type PullTarget, VllmPeer, type VllmPeerOptions, type VllmPullOptions } from './peer.js';
export { routerEventOf } from './router-events.js';
export {
  type AskOptions,
  askSideChannel,
  SideChannel,
  type SideChannelAnswer,
  type SideChannelFault,
  type SideChannelOptions,
  type SideChannelStatistics,
  type VllmRank,
} from './side-channel.js';
export type {
  KeepOptions,
  KeptBlocks,
  StoredKv,
  VllmKvStoreOptions,
  VllmKvStoreStatistics,
  WorkerAddress,
} from './store-options.js';
export { type ShapeForOptions, shapeFor, shapeOf, type VllmStoreShape } from './store-shape.js';
export {
  checkTransferParams,
  KEEP_BLOCKS,
  type TransferParamsLimits,
  type VllmTransferParams,
} from './transfer-params.js';
export type { ZmtpFault } from './zmtp-frames.js';
