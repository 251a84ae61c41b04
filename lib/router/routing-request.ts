import { checkInstanceId, checkInteger, checkNumber, checkObject, checkOptions, checkString } from '../check.js';
import { asBytes, tokenWords } from '../words.js';
import { type HashOptions, multimodalArgs } from './hashing.js';

/** One rank of one worker. */
export interface WorkerRank {
  readonly workerId: bigint;
  /** @default 0 */
  readonly dpRank?: number;
}

/** What of a router's configuration one request may change. Source: `dynamo-kv-router` `RouterConfigOverride`. */
export interface RoutingOverride {
  readonly assumeKvReuse?: boolean;
  readonly trackPrefillTokens?: boolean;
  readonly temperature?: number;
}

/** A prompt to find a worker for. */
export interface RoutingRequest extends Omit<HashOptions, 'eagle'> {
  readonly tokens: Uint32Array | readonly number[];
  /** Names the request, for its bookkeeping. @default a random one where it is booked */
  readonly id?: string;
  readonly expectedOutputTokens?: number;
  /** Seconds by which it may go ahead of others in a queue. @default 0 */
  readonly priority?: number;
  /** Goes before all of lower strict priority. @default 0 */
  readonly strictPriority?: number;
  /** Keeps requests of a session on one worker, where the router has session affinity. */
  readonly sessionId?: string;
  /** The one worker that may get it. */
  readonly pinned?: WorkerRank;
  /** Those that may get it. @default all */
  readonly allowedWorkerIds?: readonly bigint[];
  /** Taints that a worker must have. */
  readonly requiredTaints?: readonly string[];
  /** Taints that a worker had better have (above 0) or not have (below 0). */
  readonly preferredTaints?: Readonly<Record<string, number>>;
  readonly override?: RoutingOverride;
}

/** The worker that was chosen. */
export interface RoutingDecision {
  readonly workerId: bigint;
  readonly dpRank: number;
  /** Tokens of the prompt's beginning that it has in some tier. */
  readonly cachedTokens: number;
  /** Blocks in use there once the request is there. */
  readonly potentialDecodeBlocks: number;
}

const KNOWN = [
  'tokens',
  'id',
  'loraName',
  'cacheSalt',
  'multimodal',
  'expectedOutputTokens',
  'priority',
  'strictPriority',
  'sessionId',
  'pinned',
  'allowedWorkerIds',
  'requiredTaints',
  'preferredTaints',
  'override',
];

function check(path: string, request: RoutingRequest, more: readonly string[]): void {
  checkOptions(path, request, [...KNOWN, ...more]);
  const {
    id,
    loraName,
    cacheSalt,
    sessionId,
    expectedOutputTokens,
    strictPriority,
    priority,
    pinned,
    allowedWorkerIds,
  } = request;
  for (const [name, value] of Object.entries({ id, loraName, cacheSalt, sessionId })) {
    if (value !== undefined) checkString(`${path}.${name}`, value);
  }
  for (const [name, value] of Object.entries({ expectedOutputTokens, strictPriority })) {
    if (value !== undefined) checkInteger(`${path}.${name}`, value, 0, 0xffff_ffff);
  }
  if (priority !== undefined) checkNumber(`${path}.priority`, priority);
  if (pinned !== undefined) {
    checkObject(`${path}.pinned`, pinned, ['workerId', 'dpRank']);
    checkInstanceId(`${path}.pinned.workerId`, pinned.workerId);
  }
  allowedWorkerIds?.forEach((id, index) => checkInstanceId(`${path}.allowedWorkerIds[${index}]`, id));
  for (const [taint, weight] of Object.entries(request.preferredTaints ?? {}))
    checkNumber(`${path}.preferredTaints.${taint}`, weight);
  if (request.override !== undefined)
    checkObject(`${path}.override`, request.override, ['assumeKvReuse', 'trackPrefillTokens', 'temperature']);
}

/** What crosses for a request: its tokens, and all else in the crates' own field names. */
export function requestParts(
  path: string,
  request: RoutingRequest,
  more: readonly string[] = [],
): { payload: Uint8Array; fields: Record<string, unknown> } {
  check(path, request, more);
  const { override, pinned } = request;
  const payload = asBytes(tokenWords(`${path}.tokens`, request.tokens));
  if (payload.byteLength === 0) throw new RangeError(`${path}.tokens: expected a token at least, got none`);
  const fields = {
    selection_id: request.id,
    lora_name: request.loraName,
    cache_salt: request.cacheSalt,
    block_mm_infos: multimodalArgs(request.multimodal),
    expected_output_tokens: request.expectedOutputTokens,
    priority_jump: request.priority ?? 0,
    strict_priority: request.strictPriority ?? 0,
    session_id: request.sessionId,
    pinned_worker: pinned && { worker_id: pinned.workerId, dp_rank: pinned.dpRank ?? 0 },
    allowed_worker_ids: request.allowedWorkerIds,
    routing_constraints: {
      required_taints: request.requiredTaints ?? [],
      preferred_taints: request.preferredTaints ?? {},
    },
    router_config_override: override && {
      assume_kv_reuse: override.assumeKvReuse,
      track_prefill_tokens: override.trackPrefillTokens,
      router_temperature: override.temperature,
    },
  };
  return { payload, fields };
}
