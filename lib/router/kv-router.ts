import { randomUUID } from 'node:crypto';
import { pack, unpack } from '../addon/codec.js';
import { invoke, invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { open } from '../addon/stream.js';
import { checkInstance, checkInteger, checkObject, checkOneOf, checkOptions, checkString } from '../check.js';
import { Endpoint } from '../runtime/endpoint.js';
import { checkKvRouterConfig, type KvRouterConfig } from './config.js';
import { decodeEvents, type RouterEvent } from './events.js';
import { explanationFrom, type RoutingExplanation } from './explanation.js';
import { checkPolicy, type PolicyCounts, PolicyHost, policyArgs, type RoutingPolicy } from './policy.js';
import { type RoutingDecision, type RoutingRequest, requestParts } from './routing-request.js';

/** A worker's load if it got the request. */
export interface PotentialLoad {
  readonly workerId: bigint;
  readonly dpRank: number;
  readonly potentialPrefillTokens: number;
  readonly potentialDecodeBlocks: number;
  readonly activeRequests: number;
}

/** Blocks of a prompt's beginning that a worker has. */
export interface WorkerOverlap {
  readonly workerId: bigint;
  readonly dpRank: number;
  readonly deviceBlocks: number;
  /** Beyond those on the device. */
  readonly hostBlocks: number;
  /** Beyond those in host memory. */
  readonly diskBlocks: number;
}

/** What both routers are made from. */
export interface RouterBaseOptions {
  /** Weights and books. @default the crates' own, `KV_ROUTER_DEFAULTS` */
  readonly config?: KvRouterConfig;
  /** The pool that it routes to. @default 'aggregated' */
  readonly workerType?: 'aggregated' | 'prefill' | 'decode' | 'encode';
  /** Costs of your own in place of the default policy's. */
  readonly policy?: RoutingPolicy;
}

export interface KvRouterOptions extends RouterBaseOptions {
  /** Tokens in a block of the workers. */
  readonly blockSize: number;
  /** The model's name, for policies by model and keyed tracking hashes. */
  readonly model?: string;
  /** The workers' events are of pairs of tokens. @default false */
  readonly eagle?: boolean;
}

export const ROUTER_ROLES = ['aggregated', 'prefill', 'decode', 'encode'] as const;

export function checkRouterBase(path: string, { config, workerType, policy }: RouterBaseOptions): void {
  if (config !== undefined) checkKvRouterConfig(`${path}.config`, config);
  if (workerType !== undefined) checkOneOf(`${path}.workerType`, workerType, ROUTER_ROLES);
  if (policy !== undefined) checkPolicy(`${path}.policy`, policy);
}

export type Created = Handle | [undefined, Handle, Handle, Handle];

/** The router of what was created, and the host of its policy. */
export function createdParts(
  created: Created,
  policy: RoutingPolicy | undefined,
): { handle: Handle; host: PolicyHost | undefined } {
  if (!Array.isArray(created)) return { handle: created, host: undefined };
  const [, handle, inbox, counter] = created;
  return { handle, host: new PolicyHost(inbox, counter, policy as RoutingPolicy) };
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

/**
 * Dynamo's KV router over the workers of an endpoint: discovery tells it of them, their events of what they have. It decides
 * and keeps the books; sending is the caller's. Workers that die leave it. Source: `dynamo-llm` `kv_router.rs`.
 *
 * Workers must have registered a model (`serveEngine` does).
 *
 * @example
 * const endpoint = runtime.endpoint('dynamo.backend.generate');
 * await using router = await KvRouter.create(endpoint, { blockSize: 16 });
 * const { id, workerId } = await router.reserve({ tokens });
 * const answer = await client.generate(request, { instanceId: workerId });
 * await router.free(id);
 */
export class KvRouter implements AsyncDisposable {
  #handle: Handle | undefined;
  readonly #host: PolicyHost | undefined;
  readonly #temperature: number;
  readonly blockSize: number;

  private constructor(handle: Handle, host: PolicyHost | undefined, options: KvRouterOptions) {
    this.#handle = handle;
    this.#host = host;
    this.#temperature = options.config?.router_temperature ?? 0;
    this.blockSize = options.blockSize;
  }

  /** Attaches a router to the endpoint that the workers serve. */
  static async create(endpoint: Endpoint, options: KvRouterOptions): Promise<KvRouter> {
    const operation = 'KvRouter.create';
    const path = `${operation} options`;
    checkInstance(`${operation} endpoint`, endpoint, Endpoint);
    checkOptions(path, options, ['blockSize', 'config', 'workerType', 'model', 'eagle', 'policy']);
    checkInteger(`${path}.blockSize`, options.blockSize, 1, 0xffff_ffff);
    if (options.model !== undefined) checkString(`${path}.model`, options.model);
    checkRouterBase(path, options);
    const { policy, eagle = false, ...rest } = options;
    const args = pack({ ...rest, eagle, policy: policy && policyArgs(policy) });
    const created = await invoke(native.attachedCreate, operation, { handle: endpoint.handle(operation), args });
    const { handle, host } = createdParts(created, policy);
    return new KvRouter(handle, host, options);
  }

  #open(operation: string): Handle {
    return open(this.#handle, 'the KV router', operation);
  }

  #parts(operation: string, request: RoutingRequest, more: Record<string, unknown> = {}) {
    const handle = this.#open(operation);
    const { payload, fields } = requestParts(`${operation} request`, request);
    return { handle, payload, args: pack({ ...fields, ...more }) };
  }

  /** The worker that a request would go to now. Nothing is booked. */
  async select(request: RoutingRequest): Promise<RoutingDecision> {
    const operation = 'kvRouter.select';
    return decisionFrom(
      await invoke(native.attachedSelect, operation, this.#parts(operation, request, { book: false })),
    );
  }

  /** Chooses a worker and counts the request there until `free`. */
  async reserve(request: RoutingRequest): Promise<RoutingDecision & { readonly id: string }> {
    const operation = 'kvRouter.reserve';
    checkObject(`${operation} request`, request);
    const id = request.id ?? randomUUID();
    const decision = decisionFrom(
      await invoke(native.attachedSelect, operation, this.#parts(operation, { ...request, id }, { book: true })),
    );
    return { ...decision, id };
  }

  /** A reserved request has its first token: its prefill loads its worker no more. */
  async prefillCompleted(id: string): Promise<void> {
    await this.#mark('kvRouter.prefillCompleted', id, 0);
  }

  /** A reserved request has ended. */
  async free(id: string): Promise<void> {
    await this.#mark('kvRouter.free', id, 1);
  }

  async #mark(operation: string, id: string, a: number): Promise<void> {
    checkString(`${operation} id`, id);
    await invoke(native.attachedMark, operation, { handle: this.#open(operation), args: pack(id), a });
  }

  /** Each worker's terms of cost for a request, and why one wins. Nothing is booked. */
  async explain(request: RoutingRequest): Promise<RoutingExplanation> {
    const operation = 'kvRouter.explain';
    const crossed = unpack(await invoke(native.attachedExplain, operation, this.#parts(operation, request)));
    const circumstances = { temperature: this.#temperature, policy: this.#host !== undefined, affinity: false };
    return explanationFrom(crossed as Parameters<typeof explanationFrom>[0], request, circumstances);
  }

  /** Blocks of a prompt's beginning that each worker has. */
  async overlapScores(request: RoutingRequest): Promise<WorkerOverlap[]> {
    const operation = 'kvRouter.overlapScores';
    return overlapFrom(await invoke(native.attachedOverlap, operation, this.#parts(operation, request)));
  }

  /** Each worker's load if it got the request. */
  async potentialLoads(request: RoutingRequest): Promise<PotentialLoad[]> {
    const operation = 'kvRouter.potentialLoads';
    return loadsFrom(await invoke(native.attachedLoads, operation, this.#parts(operation, request)));
  }

  /** Events that build the same index anew. */
  async dump(): Promise<RouterEvent[]> {
    return decodeEvents(await invoke(native.attachedDump, 'kvRouter.dump', { handle: this.#open('kvRouter.dump') }));
  }

  /** How its policy fared; undefined with the default policy. The runtime's metrics have it too. */
  get policyCounts(): PolicyCounts | undefined {
    return this.#host?.counts;
  }

  /** Ends it; what it was asked is still answered. Idempotent. */
  async close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    if (handle !== undefined) invokeSync(native.attachedClose, 'kvRouter.close', { handle });
  }

  /** Closes it at the end of an `await using` block. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function decisionFrom(bytes: Uint8Array): RoutingDecision {
  const raw = unpack(bytes) as {
    worker_id: number | bigint;
    dp_rank: number;
    cached_tokens: number;
    potential_decode_blocks: number;
  };
  return {
    workerId: BigInt(raw.worker_id),
    dpRank: raw.dp_rank,
    cachedTokens: raw.cached_tokens,
    potentialDecodeBlocks: raw.potential_decode_blocks,
  };
}
