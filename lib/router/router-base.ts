import { unpack } from '../addon/codec.js';
import type { Handle } from '../addon/native.js';
import { type OptionRows, oneOf } from '../options.js';
import { kvRouterConfigRow } from './conditional-disaggregation.js';
import type { KvRouterConfig } from './config.js';
import { PolicyHost, policyRow, type RoutingPolicy } from './policy.js';
import { WORKER_TYPES, type WorkerType } from './worker-type.js';

/** The load that a worker would have with the request. */
export interface PotentialLoad {
  readonly workerId: bigint;
  readonly dpRank: number;
  readonly potentialPrefillTokens: number;
  readonly potentialDecodeBlocks: number;
  readonly activeRequests: number;
}

/** How many blocks of a prompt's beginning a worker has. */
export interface WorkerOverlap {
  readonly workerId: bigint;
  readonly dpRank: number;
  readonly deviceBlocks: number;
  /** The blocks after those on the device. */
  readonly hostBlocks: number;
  /** The blocks after those in host memory. */
  readonly diskBlocks: number;
}

/** Options of both routers. */
export interface RouterBaseOptions {
  /** Weights and load tracking. @default `KV_ROUTER_DEFAULTS` */
  readonly config?: KvRouterConfig;
  /** The pool to which it routes. @default 'aggregated' */
  readonly workerType?: WorkerType;
  /** Computes costs that replace those of the default policy. */
  readonly policy?: RoutingPolicy;
}

export const ROUTER_BASE_ROWS: OptionRows<RouterBaseOptions> = {
  config: kvRouterConfigRow.about('Weights and load tracking.'),
  workerType: oneOf(...WORKER_TYPES).about('The pool to which it routes.'),
  policy: policyRow.about('Computes costs that replace those of the default policy.'),
};

export type Created<Noun extends string> = Handle<Noun> | [undefined, Handle<Noun>, Handle<'inbox'>, Handle<'policy'>];

/** Splits the result of a native constructor into the router and the host of its policy. */
export function createdParts<Noun extends string>(
  created: Created<Noun>,
  policy: RoutingPolicy | undefined,
): { handle: Handle<Noun>; policyHost: PolicyHost | undefined } {
  if (!Array.isArray(created)) return { handle: created, policyHost: undefined };
  const [, handle, inbox, counter] = created;
  return { handle, policyHost: new PolicyHost(inbox, counter, policy as RoutingPolicy) };
}

interface RawLoad {
  worker_id: number | bigint;
  dp_rank: number;
  potential_prefill_tokens: number;
  potential_decode_blocks: number;
  active_requests: number;
}

export function loadsFrom(bytes: Uint8Array): PotentialLoad[] {
  return (unpack(bytes) as RawLoad[]).map((load) => ({
    workerId: BigInt(load.worker_id),
    dpRank: load.dp_rank,
    potentialPrefillTokens: load.potential_prefill_tokens,
    potentialDecodeBlocks: load.potential_decode_blocks,
    activeRequests: load.active_requests,
  }));
}

interface RawOverlap {
  worker_id: number | bigint;
  dp_rank: number;
  device_blocks: number;
  host_pinned_extension_blocks: number;
  disk_extension_blocks: number;
}

export function overlapFrom(bytes: Uint8Array): WorkerOverlap[] {
  return (unpack(bytes) as { workers: RawOverlap[] }).workers.map((worker) => ({
    workerId: BigInt(worker.worker_id),
    dpRank: worker.dp_rank,
    deviceBlocks: worker.device_blocks,
    hostBlocks: worker.host_pinned_extension_blocks,
    diskBlocks: worker.disk_extension_blocks,
  }));
}
