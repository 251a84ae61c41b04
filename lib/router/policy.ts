import { unpack } from '../addon/codec.js';
import { Inbox, type InboxRequest } from '../addon/inbox.js';
import { invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { checkFunction, checkNumber, checkObject } from '../check.js';
import { failureFrom } from '../errors.js';
import { custom, type Option } from '../options.js';
import { asBytes, floats, word32s, words } from '../words.js';
import type { WorkerType } from './worker-type.js';

/** A request and its candidates, as a copy of their state when the request arrived. All columns have the same order. */
export interface RoutingBatch {
  readonly workerType: WorkerType;
  /** Empty if the request has no session. */
  readonly sessionId: string;
  readonly promptTokens: number;
  readonly promptBlocks: number;
  /** Tokens in a block. */
  readonly blockSize: number;
  /** 0 if the request does not state it. */
  readonly expectedOutputTokens: number;
  /** Number of candidates. */
  readonly length: number;
  readonly workerIds: BigUint64Array;
  readonly dpRanks: Uint32Array;
  /** Blocks of the prompt's beginning on a worker's device. */
  readonly deviceBlocks: Float64Array;
  /** The blocks after those, in host memory. */
  readonly hostBlocks: Float64Array;
  /** The blocks after those, on disk. */
  readonly diskBlocks: Float64Array;
  /** Blocks of a shared cache after those on the device. */
  readonly sharedBlocks: Float64Array;
  /** Tokens that wait for prefill. */
  readonly activePrefillTokens: Float64Array;
  /** Blocks in use with this request. */
  readonly decodeBlocks: Float64Array;
  readonly activeRequests: Float64Array;
  /** By the request's preferred taints. 1 without them. */
  readonly taintMultipliers: Float64Array;
  /** The costs of the default policy. They are used if `score` fails or is late. */
  readonly costs: Float64Array;
}

/**
 * A routing policy in TypeScript. It returns a cost for each candidate; the lowest cost wins.
 *
 * A request waits for `score`, so `score` should be fast and should not do input or output. The router uses the default
 * policy's costs if `score` is late, throws, or does not return one finite cost for each candidate. It counts these
 * cases.
 *
 * @example
 * const stayOnOdd: RoutingPolicy = {
 *   score: ({ workerIds, costs }) => costs.map((cost, row) => (workerIds[row]! % 2n === 1n ? cost : cost + 1000)),
 * };
 */
export interface RoutingPolicy {
  /** Returns a cost for each candidate, in the batch's order. */
  score(batch: RoutingBatch): ArrayLike<number> | Promise<ArrayLike<number>>;
  /** How long a request waits for `score`, in milliseconds: above 0, at most 1000. @default 2 */
  readonly timeoutMs?: number;
}

/** How often a policy was called, by result. */
export interface PolicyCounts {
  /** Its costs were used. */
  readonly scored: number;
  /** It did not answer within `timeoutMs`. */
  readonly timedOut: number;
  /** It threw, or did not return one finite cost for each candidate. */
  readonly failed: number;
}

const DEFAULT_TIMEOUT_MS = 2;
const MAX_POLICY_TIMEOUT_MS = 1000;

/** A policy may be an instance of a class, so it may have other properties. */
export const policyRow: Option<RoutingPolicy> = custom('an object with a function score', (path, policy) => {
  checkObject(path, policy);
  checkFunction(`${path}.score`, policy['score']);
  const { timeoutMs } = policy;
  if (timeoutMs === undefined) return;
  checkNumber(`${path}.timeoutMs`, timeoutMs);
  if (timeoutMs <= 0 || timeoutMs > MAX_POLICY_TIMEOUT_MS) {
    throw new RangeError(
      `${path}.timeoutMs: expected a number above 0 and up to ${MAX_POLICY_TIMEOUT_MS}, got ${timeoutMs}`,
    );
  }
});

/** The `PolicyArgs` of `native/core/src/router/policy.rs`. */
export function policyArgs({ timeoutMs = DEFAULT_TIMEOUT_MS }: RoutingPolicy): { timeLimitUs: number } {
  return { timeLimitUs: Math.max(1, Math.round(timeoutMs * 1000)) };
}

/** Answers the native scorer's requests with the costs of a policy. */
export class PolicyHost {
  readonly #counter: Handle<'policy'>;

  constructor(inbox: Handle<'inbox'>, counter: Handle<'policy'>, policy: RoutingPolicy) {
    this.#counter = counter;
    const handler = { request: (request: InboxRequest) => answer(policy, request), lost: () => {} };
    void new Inbox(inbox, handler, { concurrency: 64, background: true }).ended;
  }

  get counts(): PolicyCounts {
    return unpack(invokeSync(native.policyCounts, 'policy.counts', { handle: this.#counter })) as PolicyCounts;
  }
}

async function answer(policy: RoutingPolicy, { payload, sink }: InboxRequest): Promise<void> {
  try {
    const batch = batchFrom(unpack(payload) as Record<string, unknown>);
    const scored = policy.score(batch);
    const costs = scored instanceof Promise ? await scored : scored;
    if (costs.length !== batch.length) {
      throw new RangeError(`policy.score: expected ${batch.length} costs, one for each candidate, got ${costs.length}`);
    }
    await sink.write(asBytes(costs instanceof Float64Array ? costs : Float64Array.from(costs)), false, true);
  } catch (error) {
    sink.end(failureFrom(error));
  }
}

const FLOAT_COLUMNS = [
  'deviceBlocks',
  'hostBlocks',
  'diskBlocks',
  'sharedBlocks',
  'activePrefillTokens',
  'decodeBlocks',
  'activeRequests',
  'taintMultipliers',
  'costs',
];

function batchFrom(snapshot: Record<string, unknown>): RoutingBatch {
  for (const column of FLOAT_COLUMNS) snapshot[column] = floats(snapshot[column] as Uint8Array);
  const workerIds = words(snapshot['workerIds'] as Uint8Array);
  const dpRanks = word32s(snapshot['dpRanks'] as Uint8Array);
  return { ...snapshot, workerIds, dpRanks, length: workerIds.length } as RoutingBatch;
}
