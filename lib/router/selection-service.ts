import { Closeable } from '../addon/closeable.js';
import { pack, packArgs, packBorrowed, unpack } from '../addon/codec.js';
import { arg, invoke, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { checkInstanceId, checkString } from '../check.js';
import { badArgument } from '../errors.js';
import { asBytes } from '../words.js';
import { CHOICE, TurnChoices } from './choices.js';
import { encodeEvents, type RouterEvent } from './events.js';
import {
  EXPLAIN_OPTIONS,
  type ExplainOptions,
  explanationFrom,
  type RoutingExplanation,
  withPrefillPlace,
} from './explanation.js';
import { type PolicyCounts, type PolicyHost, policyArgs } from './policy.js';
import { createdParts, loadsFrom, overlapFrom, type PotentialLoad, type WorkerOverlap } from './router-base.js';
import { type RoutingDecision, requestParts } from './routing-request.js';
import {
  poolArgs,
  SELECTION_POOL,
  SELECTION_REQUEST,
  SELECTION_SERVICE_OPTIONS,
  SELECTION_WORKER,
  type SelectionPool,
  type SelectionRequest,
  type SelectionServiceOptions,
  type SelectionWorker,
  workerArgs,
} from './selection-options.js';

/** The worker that was chosen, and its address. */
export interface SelectionDecision extends RoutingDecision {
  readonly endpoint: string;
}

interface RawWorkerRecord {
  readonly lifecycle: string;
  readonly not_schedulable_reasons?: readonly string[];
}

const NAME = 'selectionService';

/**
 * Dynamo's KV router without a runtime. The caller registers the workers and applies their events. The service chooses
 * workers and tracks their load. Source: `dynamo-kv-router` `services/selection`.
 *
 * @example
 * await using router = await SelectionService.create();
 * await router.putWorker({ workerId: 1n, blockSize: 16 });
 * await router.apply([{ kind: 'stored', workerId: 1n, blockHashes, tokensHashes }]);
 * const { workerId, id } = await router.reserve({ tokens });
 */
export class SelectionService extends Closeable<'selection'> {
  readonly #policyHost: PolicyHost | undefined;
  readonly #options: SelectionServiceOptions;
  readonly #choices: TurnChoices<'selection'>;

  private constructor(
    handle: Handle<'selection'>,
    policyHost: PolicyHost | undefined,
    options: SelectionServiceOptions,
  ) {
    super('the selection service', handle);
    this.#policyHost = policyHost;
    this.#choices = new TurnChoices<'selection'>(
      ({ operation, handle, args, payload, kind }) =>
        invoke(native.selectionSelect, operation, { handle, args, payload, a: arg('isReserved', kind) }),
      native.selectionSelectMany,
      policyHost !== undefined,
    );
    this.#options = options;
  }

  /** Creates a service in this process. */
  static async create(options: SelectionServiceOptions = {}): Promise<SelectionService> {
    const operation = 'SelectionService.create';
    SELECTION_SERVICE_OPTIONS.check(`${operation} options`, options);
    const { policy, replica, config, workerType, sessionAffinitySeconds, indexerPeers = [] } = options;
    const args = packArgs({
      config,
      workerType,
      sessionAffinitySeconds,
      indexerPeers,
      replicaPort: replica?.port,
      replicaPeers: replica?.peers ?? [],
      policy: policy && policyArgs(policy),
    });
    const { handle, policyHost } = createdParts(await invoke(native.selectionCreate, operation, { args }), policy);
    return new SelectionService(handle, policyHost, options);
  }

  /** Adds a worker, or updates it. */
  async putWorker(worker: SelectionWorker): Promise<void> {
    const operation = `${NAME}.putWorker`;
    SELECTION_WORKER.check(`${operation} worker`, worker);
    const parts = { handle: this.handle(operation), args: workerArgs(worker) };
    const record = unpack(await invoke(native.selectionPutWorker, operation, parts)) as RawWorkerRecord;
    if (record.lifecycle !== 'schedulable') {
      throw badArgument(
        new RangeError(`${operation} worker: ${record.not_schedulable_reasons?.join('; ') ?? record.lifecycle}`),
      );
    }
  }

  /** Removes a worker and its blocks. */
  async removeWorker(workerId: bigint): Promise<void> {
    const operation = `${NAME}.removeWorker`;
    checkInstanceId(`${operation} workerId`, workerId);
    const payload = BigUint64Array.of(workerId);
    await invoke(native.selectionRemoveWorker, operation, { handle: this.handle(operation), payload });
  }

  /** Returns the ids of the eligible workers of a pool, sorted. */
  async workerIds(pool: SelectionPool = {}): Promise<bigint[]> {
    const operation = `${NAME}.workerIds`;
    SELECTION_POOL.check(`${operation} pool`, pool);
    const records = await this.#query<{ worker_id: number | bigint }[]>(operation, { verb: 'workers', ...pool });
    return records.map(({ worker_id }) => BigInt(worker_id)).sort((a, b) => (a < b ? -1 : 1));
  }

  /** Applies cache events of a pool. Those of one worker are applied in order. Resolves when choices see them. */
  async apply(events: readonly RouterEvent[], pool: SelectionPool = {}): Promise<void> {
    const operation = `${NAME}.apply`;
    SELECTION_POOL.check(`${operation} pool`, pool);
    const payload = asBytes(encodeEvents(`${operation} events`, events, false));
    const args = pack(poolArgs(pool));
    await invoke(native.selectionApply, operation, { handle: this.handle(operation), args, payload });
  }

  async #choose(operation: string, request: SelectionRequest, kind: number): Promise<unknown> {
    return unpack(await this.#choices.choose({ operation, kind, ...this.#parts(operation, request) }));
  }

  #parts(operation: string, request: SelectionRequest) {
    const handle = this.handle(operation);
    const { payload, fields } = requestParts(`${operation} request`, request, SELECTION_REQUEST);
    return { handle, payload, args: packBorrowed({ ...fields, ...poolArgs(request) }) };
  }

  /** Returns the worker that the request would go to now, without a reservation. */
  async select(request: SelectionRequest): Promise<SelectionDecision> {
    return decisionFrom(await this.#choose(`${NAME}.select`, request, CHOICE.select));
  }

  /** Chooses a worker and adds the request to its load until `free`. */
  async reserve(request: SelectionRequest): Promise<SelectionDecision & { readonly id: string }> {
    const selection = await this.#choose(`${NAME}.reserve`, request, CHOICE.reserve);
    return { ...decisionFrom(selection), id: (selection as { selection_id: string }).selection_id };
  }

  /** Reports the first token of a reserved request. Its prefill is removed from the worker's load. */
  async prefillCompleted(id: string): Promise<void> {
    checkString(`${NAME}.prefillCompleted id`, id);
    await this.#query(`${NAME}.prefillCompleted`, { verb: 'prefillComplete', selectionId: id });
  }

  /** Reports that a reserved request fills one more block. */
  async outputBlock(id: string): Promise<void> {
    checkString(`${NAME}.outputBlock id`, id);
    await this.#query(`${NAME}.outputBlock`, { verb: 'outputBlock', selectionId: id });
  }

  /** Reports the end of a reserved request. */
  async free(id: string): Promise<void> {
    checkString(`${NAME}.free id`, id);
    await this.#query(`${NAME}.free`, { verb: 'free', selectionId: id });
  }

  /**
   * Returns each worker's terms of cost for a request, and why one wins; for decode workers with conditional
   * disaggregation also who prefills. Reserves nothing.
   */
  async explain(request: SelectionRequest, options: ExplainOptions = {}): Promise<RoutingExplanation> {
    const operation = `${NAME}.explain`;
    EXPLAIN_OPTIONS.check(`${operation} options`, options);
    const bytes = await invoke(native.selectionExplain, operation, this.#parts(operation, request));
    const explanation = explanationFrom(bytes, request, {
      temperature: this.#options.config?.router_temperature ?? 0,
      hasPolicy: this.#policyHost !== undefined,
      hasSessionAffinity: this.#options.sessionAffinitySeconds !== undefined,
    });
    return withPrefillPlace(explanation, request, this.#options, options);
  }

  /** Returns how many blocks of a prompt's beginning each worker has. */
  async overlapScores(request: SelectionRequest): Promise<WorkerOverlap[]> {
    const operation = `${NAME}.overlapScores`;
    return overlapFrom(await invoke(native.selectionOverlap, operation, this.#parts(operation, request)));
  }

  /** Returns the load that each worker would have with the request. */
  async potentialLoads(request: SelectionRequest): Promise<PotentialLoad[]> {
    const operation = `${NAME}.potentialLoads`;
    return loadsFrom(await invoke(native.selectionPotentialLoads, operation, this.#parts(operation, request)));
  }

  /** Starts to share requests with another router, `tcp://host:port`. Returns false if they are already shared. */
  async addPeer(endpoint: string): Promise<boolean> {
    checkString(`${NAME}.addPeer endpoint`, endpoint);
    return this.#query(`${NAME}.addPeer`, { verb: 'addPeer', endpoint });
  }

  /** Stops sharing requests with another router. Returns false if they were not shared. */
  async removePeer(endpoint: string): Promise<boolean> {
    checkString(`${NAME}.removePeer endpoint`, endpoint);
    return this.#query(`${NAME}.removePeer`, { verb: 'removePeer', endpoint });
  }

  /** Returns the index of all pools, in the form in which other routers request it with `GET /dump`. */
  snapshot(): Promise<unknown> {
    return this.#query(`${NAME}.snapshot`, { verb: 'dump' });
  }

  /** Results of its policy; undefined with the default policy. */
  get policyCounts(): PolicyCounts | undefined {
    return this.#policyHost?.counts;
  }

  async #query<Result>(operation: string, query: Record<string, unknown>): Promise<Result> {
    const parts = { handle: this.handle(operation), args: pack(query) };
    const bytes = await invoke(native.selectionQuery, operation, parts);
    return (bytes === undefined ? undefined : unpack(bytes)) as Result;
  }

  /** Ends the service. @internal */
  protected override async closeHandle(handle: Handle<'selection'>): Promise<void> {
    this.#choices.send();
    await invoke(native.selectionClose, `${NAME}.close`, { handle });
  }
}

function decisionFrom(selection: unknown): SelectionDecision {
  const raw = selection as {
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
