import { checkNumber, checkObject, MAX_U32, wrongType } from '../check.js';
import { badArgument } from '../errors.js';
import {
  boolean,
  custom,
  instanceId,
  integer,
  listOf,
  nested,
  type OptionRows,
  type OptionTable,
  optionTable,
  text,
} from '../options.js';
import { asBytes, tokenWords } from '../words.js';
import { HASH_ROWS, type HashOptions, multimodalArgs } from './hashing.js';
import { anyNumber, dpRankRow } from './option-rows.js';

/** One rank of a worker. */
export interface WorkerRank {
  readonly workerId: bigint;
  /** @default 0 */
  readonly dpRank?: number;
}

const WORKER_RANK: OptionTable<WorkerRank> = optionTable<WorkerRank>({
  workerId: instanceId.required(),
  dpRank: dpRankRow,
});

/**
 * The part of a router's configuration that a request may change. Source: `dynamo-kv-router` `RouterConfigOverride`.
 */
export interface RoutingOverride {
  readonly assumeKvReuse?: boolean;
  readonly trackPrefillTokens?: boolean;
  readonly temperature?: number;
}

const ROUTING_OVERRIDE: OptionTable<RoutingOverride> = optionTable<RoutingOverride>({
  assumeKvReuse: boolean,
  trackPrefillTokens: boolean,
  temperature: anyNumber,
});

/** A prompt that needs a worker. */
export interface RoutingRequest extends Omit<HashOptions, 'eagle'> {
  readonly tokens: Uint32Array | readonly number[];
  /** Identifies a reserved request. @default a random one if the request is reserved */
  readonly id?: string;
  readonly expectedOutputTokens?: number;
  /** Seconds by which it moves ahead in a queue. @default 0 */
  readonly priority?: number;
  /** Goes before all requests of lower strict priority. @default 0 */
  readonly strictPriority?: number;
  /** Keeps the requests of a session on one worker, if the router has session affinity. */
  readonly sessionId?: string;
  /** The only worker that may get it. */
  readonly pinned?: WorkerRank;
  /** The workers that may get it. @default all */
  readonly allowedWorkerIds?: readonly bigint[];
  /** Taints that a worker must have. */
  readonly requiredTaints?: readonly string[];
  /** Weights of taints: above 0 for preferred ones, below 0 for avoided ones. */
  readonly preferredTaints?: Readonly<Record<string, number>>;
  readonly override?: RoutingOverride;
}

const { eagle: _, ...hashRows } = HASH_ROWS;

export const ROUTING_REQUEST_ROWS: OptionRows<RoutingRequest> = {
  ...hashRows,
  tokens: custom<RoutingRequest['tokens']>('a Uint32Array or an array of token ids', checkTokens).required(),
  id: text,
  expectedOutputTokens: integer(0, MAX_U32),
  priority: anyNumber,
  strictPriority: integer(0, MAX_U32),
  sessionId: text,
  pinned: nested(WORKER_RANK),
  allowedWorkerIds: listOf(instanceId, 'instance ids'),
  requiredTaints: listOf(text, 'strings'),
  preferredTaints: custom('an object of numbers', checkWeights),
  override: nested(ROUTING_OVERRIDE),
};

export const ROUTING_REQUEST: OptionTable<RoutingRequest> = optionTable<RoutingRequest>(ROUTING_REQUEST_ROWS);

/** `tokenWords` checks the ids while it copies them. */
function checkTokens(path: string, tokens: unknown): void {
  if (!(tokens instanceof Uint32Array) && !Array.isArray(tokens))
    wrongType(path, 'a Uint32Array or an array of token ids', tokens);
}

function checkWeights(path: string, weights: unknown): void {
  checkObject(path, weights);
  for (const [taint, weight] of Object.entries(weights)) checkNumber(`${path}.${taint}`, weight);
}

/** The worker that was chosen. */
export interface RoutingDecision {
  readonly workerId: bigint;
  readonly dpRank: number;
  /** Tokens of the prompt's beginning that it has in any tier. */
  readonly cachedTokens: number;
  /** Blocks in use there with this request. */
  readonly potentialDecodeBlocks: number;
}

/** Checks a request and returns its native form: tokens as words, all other fields with the crates' names. */
export function requestParts<Request extends RoutingRequest>(
  path: string,
  request: Request,
  table: OptionTable<Request>,
): { payload: Uint8Array; fields: Record<string, unknown> } {
  table.check(path, request);
  const { override, pinned } = request;
  const payload = asBytes(tokenWords(`${path}.tokens`, request.tokens));
  if (payload.byteLength === 0)
    throw badArgument(new RangeError(`${path}.tokens: expected at least one token, got none`));
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
