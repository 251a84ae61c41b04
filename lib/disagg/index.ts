export {
  type ConditionalDecision,
  ConditionalDisaggregation,
  type ConditionalDisaggregationOptions,
  type ConditionalInputs,
  type ConditionalReason,
  prefillPlaceOf,
} from './conditional.js';
export { ConditionalMetrics } from './conditional-metrics.js';
export { HandoffError, type HandoffReason } from './errors.js';
export { HANDOFF_VERSION, type HandoffParams, type KvHandoff, readHandoff } from './handoff.js';
export { type HeadLayout, type HeadRun, headRuns, joinHeads, rankLayout, splitHeads } from './head-layout.js';
export {
  type BootstrapRegistration,
  KvOffer,
  KvOffers,
  type KvOffersOptions,
  type KvOffersStatistics,
} from './offers.js';
export { type PhaseReport, RequestPhases } from './phases.js';
export type {
  OfferDescription,
  OfferEndpoint,
  OfferFailure,
  OfferRequest,
  OfferResponse,
  OfferState,
} from './protocol.js';
export { KvReceiver, type KvReceiverOptions, type KvReceiverStatistics, type KvRoute } from './receiver.js';
export { type KvTransferReport, transferLine } from './report.js';
export { type DisaggregatedRole, type RoleOptions, RoleWorker, type RoleWorkerOptions } from './role-worker.js';
export { KvTransfer } from './transfer.js';
