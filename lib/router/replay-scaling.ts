import { pack, unpack } from '../addon/codec.js';
import { Inbox, type InboxRequest } from '../addon/inbox.js';
import { invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import type { Sink } from '../addon/sink.js';
import {
  type Awaitable,
  checkFunction,
  checkInteger,
  checkNames,
  checkObject,
  checkRange,
  MAX_TIMEOUT_MS,
} from '../check.js';
import { badArgument, failureFrom } from '../errors.js';
import { custom, type Option } from '../options.js';

/** What a pool of simulated workers does. `worker` does both phases. */
export type ReplayRole = 'worker' | 'prefill' | 'decode';

/** The last forward pass of a simulated rank since the last tick, and what waited then. */
export interface ReplayPass {
  /** The id of the worker, which no other worker of its pool gets. */
  readonly worker: number;
  readonly dpRank: number;
  /** The simulated duration. 0 for a rank that was idle for a second. */
  readonly wallMs: number;
  readonly prefillRequests: number;
  readonly prefillTokens: number;
  readonly decodeRequests: number;
  /** The tokens of the decode requests in the KV cache. */
  readonly decodeKvTokens: number;
  readonly queuedPrefillRequests: number;
  readonly queuedPrefillTokens: number;
  readonly queuedDecodeRequests: number;
  readonly queuedDecodeKvTokens: number;
}

/** The simulated workers of a role, by id. */
export interface ReplayPoolSnapshot {
  /** Workers that accept requests. */
  readonly active: readonly number[];
  /** Workers that are not ready yet. */
  readonly starting: readonly number[];
  /** Workers that complete their requests and end. */
  readonly draining: readonly number[];
  readonly passes: readonly ReplayPass[];
}

/** The requests since the last tick. Means are absent without a request that counts for them. */
export interface ReplayTraffic {
  /** The simulated time that it covers. */
  readonly durationMs: number;
  /** Requests that arrived. */
  readonly requests: number;
  /** Mean prompt length of completed requests, in tokens. */
  readonly inputTokens?: number;
  /** Mean answer length of completed requests, in tokens. */
  readonly outputTokens?: number;
  /** Mean time to first token. */
  readonly ttftMs?: number;
  /** Mean inter-token latency. */
  readonly itlMs?: number;
  /** The share of prompt tokens that were in a cache, 0 to 1. For mode `kv`. */
  readonly hitRate?: number;
}

/** A simulated fleet at a tick. */
export interface ReplayScalingSnapshot {
  /** Number of the tick, from 0 on. */
  readonly tick: number;
  /** Simulated time. */
  readonly nowMs: number;
  /** `worker` for an aggregated pool, else `prefill` and `decode`. */
  readonly pools: Readonly<Partial<Record<ReplayRole, ReplayPoolSnapshot>>>;
  readonly traffic: ReplayTraffic;
}

/** What a policy wants. */
export interface ReplayScalingDecision {
  /**
   * Workers that are not draining, by role: from 1, because the simulator refuses requests without a worker, to 16384.
   * Absent roles stay unchanged.
   */
  readonly targets?: Readonly<Partial<Record<ReplayRole, number>>>;
  /** The simulated time of the next tick, after this one. Without it no tick follows. */
  readonly nextTickMs?: number;
}

/**
 * Sets the number of simulated workers while a trace is replayed. The simulation waits for each answer, so the policy
 * sees a consistent state, and its own duration does not count. New workers take the engine's `startup_time` to start.
 * Source: `aisimulate-core` `replay/scaling.rs`.
 *
 * @example
 * const twice: ReplayScalingPolicy = {
 *   decide: ({ nowMs, pools }) => ({
 *     targets: { worker: pools.worker!.passes.some((pass) => pass.queuedPrefillTokens > 8192) ? 8 : 4 },
 *     nextTickMs: nowMs + 5000,
 *   }),
 * };
 */
export interface ReplayScalingPolicy {
  /** Decides. An error that it throws is the error of the replay. */
  decide(snapshot: ReplayScalingSnapshot): Awaitable<ReplayScalingDecision>;
  /** The simulated time of the first tick. @default 5000 */
  readonly firstTickMs?: number;
  /**
   * How long the simulation waits for a promise of `decide`, in milliseconds of real time. The replay then fails with
   * `DYN_DEADLINE_EXCEEDED`. A `decide` that blocks JavaScript for ever cannot be ended.
   *
   * @default 10000
   */
  readonly timeoutMs?: number;
}

const DEFAULT_TICK_MS = 5000;
const DEFAULT_TIMEOUT_MS = 10_000;
const MAX_WORKERS = 1 << 14;

/** A policy may be an instance of a class, so it may have other properties. */
export const scalingRow: Option<ReplayScalingPolicy> = custom('an object with a function decide', (path, policy) => {
  checkObject(path, policy);
  checkFunction(`${path}.decide`, policy['decide']);
  const { firstTickMs, timeoutMs } = policy;
  if (firstTickMs !== undefined) checkRange(`${path}.firstTickMs`, firstTickMs, 0);
  if (timeoutMs !== undefined) checkInteger(`${path}.timeoutMs`, timeoutMs, 1, MAX_TIMEOUT_MS);
});

/** The `ScalingArgs` of `native/core/src/router/replay_scaling.rs`. */
export function scalingArgs({ firstTickMs = DEFAULT_TICK_MS, timeoutMs = DEFAULT_TIMEOUT_MS }: ReplayScalingPolicy): {
  firstTickMs: number;
  timeLimitMs: number;
} {
  return { firstTickMs, timeLimitMs: timeoutMs };
}

/** The `Decision` of `native/core/src/router/replay_scaling.rs`. */
function answerOf(decision: unknown, { nowMs, pools }: ReplayScalingSnapshot): Record<string, number> {
  const path = 'scaling.decide result';
  checkObject(path, decision);
  const { targets = {}, nextTickMs } = decision as ReplayScalingDecision;
  checkNames(`${path}.targets`, targets, Object.keys(pools));
  const answer: Record<string, number> = {};
  for (const [role, target] of Object.entries(targets)) {
    if (target === undefined) continue;
    checkInteger(`${path}.targets.${role}`, target, 1, MAX_WORKERS);
    answer[role === 'prefill' ? 'prefill' : 'decode'] = target;
  }
  if (nextTickMs === undefined) return answer;
  checkRange(`${path}.nextTickMs`, nextTickMs, 0);
  if (nextTickMs <= nowMs)
    throw badArgument(new RangeError(`${path}.nextTickMs: expected a time after ${nowMs}, got ${nextTickMs}`));
  return { ...answer, nextTickMs };
}

/** Answers the ticks of one replay with the decisions of a policy. */
export class ScalingHost {
  readonly handle: Handle<'inbox'>;
  readonly #inbox: Inbox;
  #waiting: Sink | undefined;
  /** What the policy has thrown. */
  failure: { readonly error: unknown } | undefined;

  constructor(
    operation: string,
    private readonly policy: ReplayScalingPolicy,
  ) {
    this.handle = invokeSync(native.replayInbox, operation);
    const handler = { request: (request: InboxRequest) => this.#tick(request), lost: () => {} };
    this.#inbox = new Inbox(this.handle, handler, { concurrency: 1, background: true });
  }

  async #tick({ payload, sink }: InboxRequest): Promise<void> {
    this.#waiting = sink;
    try {
      const snapshot = unpack(payload) as ReplayScalingSnapshot;
      await sink.write(pack(answerOf(await this.policy.decide(snapshot), snapshot)), false, true);
    } catch (error) {
      this.failure ??= { error };
      sink.end(failureFrom(error));
    } finally {
      this.#waiting = undefined;
    }
  }

  /** Ends the replay, if it still waits for the policy. */
  close(): void {
    this.#inbox.close();
    this.#waiting?.end({ class: 'Cancelled', reason: 'request.cancelled', message: 'the replay was cancelled' });
  }
}
