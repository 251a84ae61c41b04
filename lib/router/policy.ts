import { unpack } from '../addon/codec.js';
import { Inbox, type InboxRequest } from '../addon/inbox.js';
import { invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { checkFunction, checkNumber, checkObject } from '../check.js';
import { failureFrom } from '../errors.js';
import { asBytes, floats, word32s, words } from '../words.js';

/** A request and the workers that may get it, as they were when it came: a copy, column by column in one order. */
export interface RoutingBatch {
  readonly workerType: 'aggregated' | 'prefill' | 'decode' | 'encode';
  /** Empty where the request is of no session. */
  readonly sessionId: string;
  readonly promptTokens: number;
  readonly promptBlocks: number;
  /** Tokens in a block. */
  readonly blockSize: number;
  /** 0 where the request does not say. */
  readonly expectedOutputTokens: number;
  /** Candidates. */
  readonly length: number;
  readonly workerIds: BigUint64Array;
  readonly dpRanks: Uint32Array;
  /** Blocks of the prompt's beginning that a worker has on its device, then further ones in host memory, then on disk. */
  readonly deviceBlocks: Float64Array;
  readonly hostBlocks: Float64Array;
  readonly diskBlocks: Float64Array;
  /** Blocks of a shared cache beyond those on the device. */
  readonly sharedBlocks: Float64Array;
  /** Tokens that wait for prefill. */
  readonly activePrefillTokens: Float64Array;
  /** Blocks in use once the request is there. */
  readonly decodeBlocks: Float64Array;
  readonly activeRequests: Float64Array;
  /** By the request's preferred taints; 1 without. */
  readonly taintMultipliers: Float64Array;
  /** What the default policy would say: the costs that hold where yours do not come. */
  readonly costs: Float64Array;
}

/**
 * A routing policy in TypeScript: it gives each candidate a cost, and the least wins.
 *
 * A router waits for the costs with the request in hand, so `score` should do little and wait for nothing. Past the limit,
 * or where it throws or gives no finite cost for each candidate, the default policy's costs hold and the case is counted.
 *
 * @example
 * const stayOnOdd: RoutingPolicy = { score: ({ workerIds, costs }) => costs.map((cost, row) => (workerIds[row]! % 2n === 1n ? cost : cost + 1000)) };
 */
export interface RoutingPolicy {
  /** A cost for each candidate, in the batch's order. */
  score(batch: RoutingBatch): ArrayLike<number> | Promise<ArrayLike<number>>;
  /** How long a request waits for it, in milliseconds. @default 2 */
  readonly timeLimitMs?: number;
}

/** How often a policy was asked, by what came of it. */
export interface PolicyCounts {
  /** Its costs held. */
  readonly scored: number;
  /** It did not answer within `timeLimitMs`. */
  readonly timedOut: number;
  /** It threw, or gave something else than one finite cost a candidate. */
  readonly failed: number;
}

const DEFAULT_LIMIT_MS = 2;

export function checkPolicy(path: string, policy: unknown): asserts policy is RoutingPolicy {
  checkObject(path, policy, undefined);
  checkFunction(`${path}.score`, policy['score']);
  const { timeLimitMs } = policy;
  if (timeLimitMs === undefined) return;
  checkNumber(`${path}.timeLimitMs`, timeLimitMs);
  if (!(timeLimitMs > 0 && timeLimitMs <= 1000)) {
    throw new RangeError(`${path}.timeLimitMs: expected a number above 0 and up to 1000, got ${timeLimitMs}`);
  }
}

/** As `PolicyArgs` of `native/core/src/router/policy.rs` has them. */
export function policyArgs({ timeLimitMs = DEFAULT_LIMIT_MS }: RoutingPolicy): { timeLimitUs: number } {
  return { timeLimitUs: Math.max(1, Math.round(timeLimitMs * 1000)) };
}

/** Answers a native scorer. */
export class PolicyHost {
  readonly #counter: Handle;

  constructor(inbox: Handle, counter: Handle, policy: RoutingPolicy) {
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
      throw new RangeError(`policy.score: expected ${batch.length} costs, one a candidate, got ${costs.length}`);
    }
    await sink.write(asBytes(costs instanceof Float64Array ? costs : Float64Array.from(costs)), false, true);
  } catch (error) {
    sink.end(failureFrom(error));
  }
}

const COLUMNS = [
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
  for (const column of COLUMNS) snapshot[column] = floats(snapshot[column] as Uint8Array);
  const workerIds = words(snapshot['workerIds'] as Uint8Array);
  const dpRanks = word32s(snapshot['dpRanks'] as Uint8Array);
  return { ...snapshot, workerIds, dpRanks, length: workerIds.length } as RoutingBatch;
}
