import { randomUUID } from 'node:crypto';
import { Closeable } from '../addon/closeable.js';
import { pack, packBorrowed, unpack } from '../addon/codec.js';
import { arg, invoke, invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { checkInstance, checkObject, checkString } from '../check.js';
import { boolean, type OptionTable, optionTable, text } from '../options.js';
import { Endpoint } from '../runtime/endpoint.js';
import { blockSizeCheck } from '../runtime/model-cards.js';
import { CHOICE, type Choice, TurnChoices } from './choices.js';
import { decodeEvents, type RouterEvent } from './events.js';
import {
  EXPLAIN_OPTIONS,
  type ExplainOptions,
  explanationFrom,
  type RoutingExplanation,
  withPrefillPlace,
} from './explanation.js';
import { blockSizeRow } from './option-rows.js';
import { type PolicyCounts, type PolicyHost, policyArgs } from './policy.js';
import {
  createdParts,
  loadsFrom,
  overlapFrom,
  type PotentialLoad,
  ROUTER_BASE_ROWS,
  type RouterBaseOptions,
  type WorkerOverlap,
} from './router-base.js';
import { ROUTING_REQUEST, type RoutingDecision, type RoutingRequest, requestParts } from './routing-request.js';

/** Options of a `KvRouter`. */
export interface KvRouterOptions extends RouterBaseOptions {
  /**
   * Tokens in a block. It must be the block size of the workers. A model card with another one is reported as a warning
   * `DYN_BLOCK_SIZE` of the process.
   */
  readonly blockSize: number;
  /** Name of the model, for policies by model and keyed tracking hashes. */
  readonly model?: string;
  /** Blocks are hashed with the first token of the next. @default false */
  readonly eagle?: boolean;
}

const KV_ROUTER_OPTIONS: OptionTable<KvRouterOptions> = optionTable<KvRouterOptions>({
  ...ROUTER_BASE_ROWS,
  blockSize: blockSizeRow.required(),
  model: text.about('Name of the model.'),
  eagle: boolean.about('Blocks are hashed with the first token of the next.'),
});

/**
 * Dynamo's KV router for the workers of an endpoint. It finds the workers by discovery and learns their blocks from
 * their events. It chooses workers and tracks their load; the caller sends the requests. Workers that die are removed.
 * Source: `dynamo-llm` `kv_router.rs`.
 *
 * Workers must have registered a model. `serveEngine` does that. Calls in flight still complete after `close`.
 *
 * @example
 * const endpoint = runtime.endpoint('dynamo.backend.generate');
 * await using router = await KvRouter.create(endpoint, { blockSize: 16 });
 * const { id, workerId } = await router.reserve({ tokens });
 * const answer = await client.generate(request, { instanceId: workerId });
 * await router.free(id);
 */
export class KvRouter extends Closeable<'kvRouter'> {
  readonly #policyHost: PolicyHost | undefined;
  readonly #options: KvRouterOptions;
  readonly #endWatch: () => void;
  readonly blockSize: number;
  readonly #choices: TurnChoices<'kvRouter'>;

  private constructor(
    handle: Handle<'kvRouter'>,
    policyHost: PolicyHost | undefined,
    options: KvRouterOptions,
    endpoint: Endpoint,
  ) {
    super('the KV router', handle);
    this.#policyHost = policyHost;
    this.#choices = new TurnChoices<'kvRouter'>(
      ({ operation, handle, args, payload }) => invoke(native.kvRouterSelect, operation, { handle, args, payload }),
      native.kvRouterSelectMany,
      policyHost !== undefined,
    );
    this.#options = options;
    this.blockSize = options.blockSize;
    this.#endWatch = endpoint.watchCards(blockSizeCheck(`the KV router of ${endpoint.path}`, options.blockSize));
  }

  /** Creates a router for the endpoint that the workers serve. */
  static async create(endpoint: Endpoint, options: KvRouterOptions): Promise<KvRouter> {
    const operation = 'KvRouter.create';
    checkInstance(`${operation} endpoint`, endpoint, Endpoint);
    KV_ROUTER_OPTIONS.check(`${operation} options`, options);
    const { policy, eagle = false, ...rest } = options;
    const args = pack({ ...rest, eagle, policy: policy && policyArgs(policy) });
    const created = await invoke(native.kvRouterCreate, operation, { handle: endpoint.handle(operation), args });
    const { handle, policyHost } = createdParts(created, policy);
    return new KvRouter(handle, policyHost, options, endpoint);
  }

  #parts(operation: string, request: RoutingRequest, more: Record<string, unknown> = {}) {
    const handle = this.handle(operation);
    const { payload, fields } = requestParts(`${operation} request`, request, ROUTING_REQUEST);
    return { handle, payload, args: packBorrowed({ ...fields, ...more }) };
  }

  async #choose(operation: string, parts: Omit<Choice<'kvRouter'>, 'operation' | 'kind'>): Promise<RoutingDecision> {
    return decisionFrom(await this.#choices.choose({ operation, kind: CHOICE.select, ...parts }));
  }

  /** Returns the worker that the request would go to now, without a reservation. */
  async select(request: RoutingRequest): Promise<RoutingDecision> {
    const operation = 'kvRouter.select';
    return this.#choose(operation, this.#parts(operation, request, { book: false }));
  }

  /** Chooses a worker and adds the request to its load until `free`. */
  async reserve(request: RoutingRequest): Promise<RoutingDecision & { readonly id: string }> {
    const operation = 'kvRouter.reserve';
    checkObject(`${operation} request`, request);
    const id = request.id ?? randomUUID();
    const decision = await this.#choose(operation, this.#parts(operation, { ...request, id }, { book: true }));
    return { ...decision, id };
  }

  /** Reports the first token of a reserved request. Its prefill is removed from the worker's load. */
  async prefillCompleted(id: string): Promise<void> {
    await this.#mark('kvRouter.prefillCompleted', id, false);
  }

  /** Reports the end of a reserved request. */
  async free(id: string): Promise<void> {
    await this.#mark('kvRouter.free', id, true);
  }

  async #mark(operation: string, id: string, isEnd: boolean): Promise<void> {
    checkString(`${operation} id`, id);
    const parts = { handle: this.handle(operation), args: pack(id), a: arg('isEnd', isEnd ? 1 : 0) };
    await invoke(native.kvRouterMark, operation, parts);
  }

  /**
   * Returns each worker's terms of cost for a request, and why one wins; for decode workers with conditional
   * disaggregation also who prefills. Reserves nothing.
   */
  async explain(request: RoutingRequest, options: ExplainOptions = {}): Promise<RoutingExplanation> {
    const operation = 'kvRouter.explain';
    EXPLAIN_OPTIONS.check(`${operation} options`, options);
    const bytes = await invoke(native.kvRouterExplain, operation, this.#parts(operation, request));
    const temperature = this.#options.config?.router_temperature ?? 0;
    const hasPolicy = this.#policyHost !== undefined;
    const explanation = explanationFrom(bytes, request, { temperature, hasPolicy, hasSessionAffinity: false });
    return withPrefillPlace(explanation, request, this.#options, options);
  }

  /** Returns how many blocks of a prompt's beginning each worker has. */
  async overlapScores(request: RoutingRequest): Promise<WorkerOverlap[]> {
    const operation = 'kvRouter.overlapScores';
    return overlapFrom(await invoke(native.kvRouterOverlap, operation, this.#parts(operation, request)));
  }

  /** Returns the load that each worker would have with the request. */
  async potentialLoads(request: RoutingRequest): Promise<PotentialLoad[]> {
    const operation = 'kvRouter.potentialLoads';
    return loadsFrom(await invoke(native.kvRouterLoads, operation, this.#parts(operation, request)));
  }

  /** Returns events that rebuild the index. */
  async dump(): Promise<RouterEvent[]> {
    return decodeEvents(await invoke(native.kvRouterDump, 'kvRouter.dump', { handle: this.handle('kvRouter.dump') }));
  }

  /** Results of its policy; undefined with the default policy. The runtime's metrics also report them. */
  get policyCounts(): PolicyCounts | undefined {
    return this.#policyHost?.counts;
  }

  /** @internal */
  protected override closeHandle(handle: Handle<'kvRouter'>): void {
    this.#endWatch();
    this.#choices.send();
    invokeSync(native.kvRouterClose, 'kvRouter.close', { handle });
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
