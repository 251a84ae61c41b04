import { pack, packArgs, unpack } from '../addon/codec.js';
import { invoke, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { open } from '../addon/stream.js';
import { checkInstanceId, checkInteger, checkObject, checkOptions, checkString } from '../check.js';
import { asBytes } from '../words.js';
import { checkSessionSeconds } from './config.js';
import { encodeEvents, type RouterEvent } from './events.js';
import { explanationFrom, type RoutingExplanation } from './explanation.js';
import {
  checkRouterBase,
  createdParts,
  loadsFrom,
  overlapFrom,
  type PotentialLoad,
  type RouterBaseOptions,
  type WorkerOverlap,
} from './kv-router.js';
import { type PolicyCounts, type PolicyHost, policyArgs } from './policy.js';
import { type RoutingDecision, type RoutingRequest, requestParts } from './routing-request.js';

export interface SelectionServiceOptions extends RouterBaseOptions {
  /** Keep a session on its worker for this long after its last request. @default not at all */
  readonly sessionAffinitySeconds?: number;
  /** Port on which this router tells others of its requests, and theirs as `tcp://host:port`. @default none */
  readonly replica?: { readonly port: number; readonly peers?: readonly string[] };
  /** Routers whose index is taken over first, as `http://host:port`: they answer `GET /dump` with a `snapshot`. @default none */
  readonly indexerPeers?: readonly string[];
}

/** A worker as a selection service knows it. */
export interface SelectionWorker {
  readonly workerId: bigint;
  /** Tokens in a block. */
  readonly blockSize: number;
  /** What callers need to reach it; handed back with each choice. @default its id */
  readonly endpoint?: string;
  /** Models are routed apart. @default 'default' */
  readonly model?: string;
  /** Pools of one model are routed apart. @default 'default' */
  readonly group?: string;
  /** @default 1 */
  readonly dataParallelSize?: number;
  /** Most tokens of one step; needed where requests are queued. */
  readonly maxNumBatchedTokens?: number;
  readonly totalKvBlocks?: number;
  readonly taints?: readonly string[];
  readonly eagle?: boolean;
  /** Its engine's ZMQ publisher, one a rank in order. @default its events come through `apply` */
  readonly kvEventsEndpoints?: readonly string[];
  /** Where the engine replays events that were missed; for one rank. */
  readonly replayEndpoint?: string;
}

/** A prompt to find a worker for, of one model's pool. */
export interface SelectionRequest extends RoutingRequest {
  /** @default 'default' */
  readonly model?: string;
  /** @default 'default' */
  readonly group?: string;
}

/** A choice, and how to reach the worker. */
export interface SelectionDecision extends RoutingDecision {
  readonly endpoint: string;
}

const DEFAULT = 'default';
const PATH = 'selectionService';

function checkPool(operation: string, pool: { readonly model?: string; readonly group?: string }): void {
  checkOptions(`${operation} pool`, pool, ['model', 'group']);
  for (const name of ['model', 'group'] as const)
    if (pool[name] !== undefined) checkString(`${operation} pool.${name}`, pool[name]);
}

/**
 * Dynamo's KV router without a runtime: workers and their events are told to it, it chooses and keeps the books. Source:
 * `dynamo-kv-router` `services/selection`.
 *
 * @example
 * await using router = await SelectionService.create();
 * await router.putWorker({ workerId: 1n, blockSize: 16 });
 * await router.apply([{ kind: 'stored', workerId: 1n, blockHashes, tokensHashes }]);
 * const { workerId, id } = await router.reserve({ tokens });
 */
export class SelectionService implements AsyncDisposable {
  #handle: Handle | undefined;
  #closing: Promise<void> | undefined;
  readonly #host: PolicyHost | undefined;
  readonly #options: SelectionServiceOptions;

  private constructor(handle: Handle, host: PolicyHost | undefined, options: SelectionServiceOptions) {
    this.#handle = handle;
    this.#host = host;
    this.#options = options;
  }

  /** Starts a service in this process. */
  static async create(options: SelectionServiceOptions = {}): Promise<SelectionService> {
    const operation = 'SelectionService.create';
    const path = `${operation} options`;
    checkOptions(path, options, [
      'config',
      'workerType',
      'policy',
      'sessionAffinitySeconds',
      'replica',
      'indexerPeers',
    ]);
    checkRouterBase(path, options);
    const { policy, replica, config, workerType, sessionAffinitySeconds, indexerPeers = [] } = options;
    checkSessionSeconds(`${path}.sessionAffinitySeconds`, sessionAffinitySeconds);
    if (replica !== undefined) {
      checkOptions(`${path}.replica`, replica, ['port', 'peers']);
      checkInteger(`${path}.replica.port`, replica.port, 1, 65535);
    }
    const args = packArgs({
      config,
      workerType,
      sessionAffinitySeconds,
      indexerPeers,
      replicaPort: replica?.port,
      replicaPeers: replica?.peers ?? [],
      policy: policy && policyArgs(policy),
    });
    const { handle, host } = createdParts(await invoke(native.selectionCreate, operation, { args }), policy);
    return new SelectionService(handle, host, options);
  }

  #open(operation: string): Handle {
    return open(this.#handle, 'the selection service', operation);
  }

  /** Adds a worker, or changes what is known of it. */
  async putWorker(worker: SelectionWorker): Promise<void> {
    const operation = `${PATH}.putWorker`;
    checkObject(`${operation} worker`, worker);
    checkInstanceId(`${operation} worker.workerId`, worker.workerId);
    checkInteger(`${operation} worker.blockSize`, worker.blockSize, 1, 0xffff_ffff);
    const args = packArgs({
      worker_id: worker.workerId,
      model_name: worker.model ?? DEFAULT,
      routing_group: worker.group ?? DEFAULT,
      endpoint: worker.endpoint ?? String(worker.workerId),
      block_size: worker.blockSize,
      data_parallel_size: worker.dataParallelSize ?? 1,
      max_num_batched_tokens: worker.maxNumBatchedTokens,
      total_kv_blocks: worker.totalKvBlocks,
      taints: worker.taints ?? [],
      is_eagle: worker.eagle,
      // A map with numbers for keys, as the crates read it.
      kv_events_endpoints: new Map((worker.kvEventsEndpoints ?? []).map((endpoint, rank) => [rank, endpoint])),
      replay_endpoint: worker.replayEndpoint,
    });
    const record = unpack(
      await invoke(native.selectionPutWorker, operation, { handle: this.#open(operation), args }),
    ) as {
      lifecycle: string;
      not_schedulable_reasons?: string[];
    };
    if (record.lifecycle !== 'schedulable') {
      throw new RangeError(`${operation} worker: ${record.not_schedulable_reasons?.join('; ') ?? record.lifecycle}`);
    }
  }

  /** Forgets a worker and its blocks. */
  async removeWorker(workerId: bigint): Promise<void> {
    const operation = `${PATH}.removeWorker`;
    checkInstanceId(`${operation} workerId`, workerId);
    const payload = asBytes(BigUint64Array.of(workerId));
    await invoke(native.selectionRemoveWorker, operation, { handle: this.#open(operation), payload });
  }

  /** Ids of the workers that may be chosen. */
  async workerIds(pool: { readonly model?: string; readonly group?: string } = {}): Promise<bigint[]> {
    const operation = `${PATH}.workerIds`;
    checkPool(operation, pool);
    const records = await this.#query<{ worker_id: number | bigint }[]>(operation, { verb: 'workers', ...pool });
    return records.map(({ worker_id }) => BigInt(worker_id)).sort((a, b) => (a < b ? -1 : 1));
  }

  /** Applies cache events of a pool's workers, a worker's in their order. Resolves when choices see them. */
  async apply(
    events: readonly RouterEvent[],
    pool: { readonly model?: string; readonly group?: string } = {},
  ): Promise<void> {
    const operation = `${PATH}.apply`;
    checkPool(operation, pool);
    const payload = asBytes(encodeEvents(`${operation} events`, events, false));
    const args = pack({ model_name: pool.model ?? DEFAULT, routing_group: pool.group ?? DEFAULT });
    await invoke(native.selectionApply, operation, { handle: this.#open(operation), args, payload });
  }

  #parts(operation: string, request: SelectionRequest) {
    const handle = this.#open(operation);
    const { payload, fields } = requestParts(`${operation} request`, request, ['model', 'group']);
    const { model = DEFAULT, group = DEFAULT } = request;
    return { handle, payload, args: pack({ ...fields, model_name: model, routing_group: group }) };
  }

  /** The worker that a request would go to now. Nothing is booked. */
  async select(request: SelectionRequest): Promise<SelectionDecision> {
    const operation = `${PATH}.select`;
    return decisionFrom(await invoke(native.selectionSelect, operation, { ...this.#parts(operation, request), a: 0 }));
  }

  /** Chooses a worker and counts the request there until `free`. */
  async reserve(request: SelectionRequest): Promise<SelectionDecision & { readonly id: string }> {
    const operation = `${PATH}.reserve`;
    const bytes = await invoke(native.selectionSelect, operation, { ...this.#parts(operation, request), a: 1 });
    return { ...decisionFrom(bytes), id: (unpack(bytes) as { selection_id: string }).selection_id };
  }

  /** A reserved request has its first token: its prefill loads its worker no more. */
  async prefillCompleted(id: string): Promise<void> {
    checkString(`${PATH}.prefillCompleted id`, id);
    await this.#query(`${PATH}.prefillCompleted`, { verb: 'prefillComplete', selectionId: id });
  }

  /** A reserved request fills one more block. */
  async outputBlock(id: string): Promise<void> {
    checkString(`${PATH}.outputBlock id`, id);
    await this.#query(`${PATH}.outputBlock`, { verb: 'outputBlock', selectionId: id });
  }

  /** A reserved request has ended. */
  async free(id: string): Promise<void> {
    checkString(`${PATH}.free id`, id);
    await this.#query(`${PATH}.free`, { verb: 'free', selectionId: id });
  }

  /** Each worker's terms of cost for a request, and why one wins. Nothing is booked. */
  async explain(request: SelectionRequest): Promise<RoutingExplanation> {
    const operation = `${PATH}.explain`;
    const crossed = unpack(await invoke(native.selectionExplain, operation, this.#parts(operation, request)));
    const { config, sessionAffinitySeconds } = this.#options;
    const circumstances = {
      temperature: config?.router_temperature ?? 0,
      policy: this.#host !== undefined,
      affinity: sessionAffinitySeconds !== undefined,
    };
    return explanationFrom(crossed as Parameters<typeof explanationFrom>[0], request, circumstances);
  }

  /** Blocks of a prompt's beginning that each worker has. */
  async overlapScores(request: SelectionRequest): Promise<WorkerOverlap[]> {
    const operation = `${PATH}.overlapScores`;
    return overlapFrom(await invoke(native.selectionOverlap, operation, this.#parts(operation, request)));
  }

  /** Each worker's load if it got the request. */
  async potentialLoads(request: SelectionRequest): Promise<PotentialLoad[]> {
    const operation = `${PATH}.potentialLoads`;
    return loadsFrom(await invoke(native.selectionPotentialLoads, operation, this.#parts(operation, request)));
  }

  /** Begins to exchange requests with another router, `tcp://host:port`. False where it did already. */
  async addPeer(endpoint: string): Promise<boolean> {
    checkString(`${PATH}.addPeer endpoint`, endpoint);
    return this.#query(`${PATH}.addPeer`, { verb: 'addPeer', endpoint });
  }

  /** Ends the exchange. False where there was none. */
  async removePeer(endpoint: string): Promise<boolean> {
    checkString(`${PATH}.removePeer endpoint`, endpoint);
    return this.#query(`${PATH}.removePeer`, { verb: 'removePeer', endpoint });
  }

  /** The whole index, of all pools, as other routers take it over: what they ask for on `GET /dump`. */
  snapshot(): Promise<unknown> {
    return this.#query(`${PATH}.snapshot`, { verb: 'dump' });
  }

  /** How its policy fared; undefined with the default policy. */
  get policyCounts(): PolicyCounts | undefined {
    return this.#host?.counts;
  }

  async #query<T>(operation: string, query: Record<string, unknown>): Promise<T> {
    const bytes = await invoke(native.selectionQuery, operation, { handle: this.#open(operation), args: pack(query) });
    return (bytes === undefined ? undefined : unpack(bytes)) as T;
  }

  /** Ends the service. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const handle = this.#handle as Handle;
    this.#handle = undefined;
    await invoke(native.selectionClose, `${PATH}.close`, { handle });
  }

  /** Closes it at the end of an `await using` block. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function decisionFrom(bytes: Uint8Array): SelectionDecision {
  const raw = unpack(bytes) as {
    worker_id: number | bigint;
    dp_rank: number;
    endpoint: string;
    overlap: { longest_matched: number };
    potential_decode_blocks: number;
  };
  return {
    workerId: BigInt(raw.worker_id),
    dpRank: raw.dp_rank,
    endpoint: raw.endpoint,
    cachedTokens: raw.overlap.longest_matched,
    potentialDecodeBlocks: raw.potential_decode_blocks,
  };
}
