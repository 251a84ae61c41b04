import { setTimeout } from 'node:timers/promises';
import { checkInstance } from '../check.js';
import { ClosedError } from '../errors.js';
import { BlockManager } from '../kvbm/manager.js';
import type { PreprocessedRequest } from '../llm/protocol.js';
import { type NixlExplanation, nixlExplain } from '../nixl/diagnosis/explain.js';
import type { NixlMode } from '../nixl/library.js';
import { milliseconds, type OptionTable, optionTable, text } from '../options.js';
import type { Client } from '../runtime/client.js';
import { type CloseOptions, closeOptions } from '../runtime/close-options.js';
import type { RequestContext } from '../runtime/context.js';
import { Endpoint } from '../runtime/endpoint.js';
import type { Metrics } from '../runtime/metrics.js';
import { HandoffError } from './errors.js';
import { readHandoff } from './handoff.js';
import { TransferMetrics } from './metrics.js';
import { roomOf } from './offers.js';
import { agentFor, metricsRow, nixlRow, type OwnedAgent } from './options.js';
import { PrefillPeers } from './peers.js';
import type { OfferEndpoint, OfferRequest, OfferResponse } from './protocol.js';
import { type HandoffSource, KvTransfer, type TransferParts } from './transfer.js';

/** How a decode worker receives blocks. */
export interface KvReceiverOptions {
  /** The model. Offers of another model are refused. */
  readonly model: string;
  /** What moves the bytes. `real` fails without NIXL; `auto` uses the mock then. @default 'auto' */
  readonly nixl?: NixlMode;
  /** The limit of a handoff, from the offer to the blocks in place. @default 10000 */
  readonly timeoutMs?: number;
  /** How long decode waits for the offer if it starts together with prefill. @default 60000 */
  readonly waitMs?: number;
  /** The metrics of the worker's endpoint. @default none */
  readonly metrics?: Metrics;
}

const RECEIVER_OPTIONS: OptionTable<KvReceiverOptions> = optionTable<KvReceiverOptions>({
  model: text.required().about('The model.'),
  nixl: nixlRow,
  timeoutMs: milliseconds(1).about('The limit of a handoff.'),
  waitMs: milliseconds(1).about('How long decode waits for an offer.'),
  metrics: metricsRow,
});

const CLOSE_OPTIONS: OptionTable<CloseOptions> = closeOptions(0);

/** Counts since the start; `quarantined` is the present count. */
export interface KvReceiverStatistics {
  readonly done: number;
  readonly failed: number;
  /** Offers that were released without a read. */
  readonly abandoned: number;
  /** Blocks into which a read is in flight, whether its request still waits or not. */
  readonly quarantined: number;
}

/** What carries the bytes from one prefill worker. */
export interface KvRoute extends NixlExplanation {
  readonly prefillWorker: bigint;
  readonly library: 'real' | 'mock';
}

/** The prefill worker that the frontend has chosen. */
function prefillWorkerOf(request: PreprocessedRequest): bigint | undefined {
  const id: unknown = request.routing?.['prefill_worker_id'];
  return typeof id === 'number' || typeof id === 'bigint' ? BigInt(id) : undefined;
}

function sourceOf(operation: string, request: PreprocessedRequest): HandoffSource | undefined {
  const { prefill_result } = request;
  if (prefill_result !== undefined && prefill_result !== null)
    return { handoff: readHandoff(operation, prefill_result.disaggregated_params) };
  const room = roomOf(request);
  if (room === undefined) return undefined;
  const instanceId = prefillWorkerOf(request);
  if (instanceId === undefined)
    throw new HandoffError('disagg.handoff', 'routing.prefill_worker_id: expected an instance id, got none', operation);
  return { room, instanceId };
}

/**
 * The decode worker's side of a handoff. Reads the blocks that prefill workers offer into the pages of local
 * sequences. Its agent holds the manager's blocks and nothing else.
 *
 * @example
 * import { KvReceiver } from 'dynamo-node/disagg';
 *
 * const receiver = await KvReceiver.connect(manager, runtime.endpoint('dynamo.prefill.kv'), { model: 'my-model' });
 */
export class KvReceiver implements AsyncDisposable {
  readonly #counts = { done: 0, failed: 0, abandoned: 0, quarantined: 0 };
  readonly #open = new Set<KvTransfer>();
  readonly #background = new Set<Promise<void>>();
  readonly #parts: TransferParts;
  readonly #peers: PrefillPeers;
  #closing: Promise<void> | undefined;

  private constructor(
    readonly manager: BlockManager,
    private readonly owned: OwnedAgent,
    private readonly client: Client<OfferRequest, OfferResponse>,
    { model, timeoutMs = 10_000, waitMs = 60_000, metrics }: KvReceiverOptions,
  ) {
    this.#peers = new PrefillPeers(client, manager, owned.agent, model);
    this.#parts = {
      manager,
      model,
      client,
      peers: this.#peers,
      library: this.library,
      timeoutMs,
      waitMs,
      metrics: metrics === undefined ? undefined : new TransferMetrics(metrics),
      counts: this.#counts,
      open: this.#open,
      background: this.#background,
    };
  }

  /**
   * Registers the manager's memory with an agent, and connects to the prefill workers that serve the endpoint, now and
   * later. A worker that does not fit fails the requests that come from it, not this call.
   *
   * @throws NixlLoadError if `nixl` is `real` and the library is missing
   */
  static async connect(
    manager: BlockManager,
    endpoint: OfferEndpoint,
    options: KvReceiverOptions,
  ): Promise<KvReceiver> {
    const operation = 'KvReceiver.connect';
    checkInstance(`${operation} manager`, manager, BlockManager);
    checkInstance(`${operation} endpoint`, endpoint, Endpoint);
    RECEIVER_OPTIONS.check(`${operation} options`, options);
    const owned = await agentFor(operation, manager, 'kv-receiver', options.nixl ?? 'auto');
    try {
      await manager.registerWith(owned.agent);
      return new KvReceiver(manager, owned, await endpoint.client({ mode: 'direct' }), options);
    } catch (error) {
      if (owned.isOwn) await owned.agent.close();
      throw error;
    }
  }

  /** What moves the bytes: the NIXL library, or the mock. */
  get library(): 'real' | 'mock' {
    return this.owned.agent.library.kind;
  }

  /**
   * The transfer of a request's blocks, or undefined if no other worker has computed its prompt. Call it before the
   * request waits for anything: from now on the offer has heartbeats.
   *
   * @throws HandoffError if the request has a handoff that is not valid
   */
  accept(request: PreprocessedRequest, context: Pick<RequestContext, 'signal'>): KvTransfer | undefined {
    const operation = 'receiver.accept';
    if (this.#closing !== undefined) throw new ClosedError('the receiver', operation);
    const source = sourceOf(operation, request);
    return source === undefined ? undefined : new KvTransfer(this.#parts, source, context.signal);
  }

  /** What carries the bytes from each connected prefill worker. Starts probes, which may take seconds. */
  async explain(): Promise<KvRoute[]> {
    const routes: KvRoute[] = [];
    const { library } = this.owned.agent;
    for (const [prefillWorker, { metadata, memory }] of await this.#peers.descriptions()) {
      const route = await nixlExplain({ peer: metadata, remote: memory }, { library });
      routes.push({ prefillWorker, library: this.library, ...route });
    }
    return routes;
  }

  /** Counts of transfers. */
  statistics(): KvReceiverStatistics {
    return { ...this.#counts };
  }

  /**
   * Ends every transfer, waits up to `timeoutMs` (default that of the receiver) until no byte is in flight and the
   * offers are released, and closes the client and the agent. Idempotent.
   */
  close(options: CloseOptions = {}): Promise<void> {
    CLOSE_OPTIONS.check('receiver.close options', options);
    this.#closing ??= this.#close(options.timeoutMs ?? this.#parts.timeoutMs);
    return this.#closing;
  }

  async #close(timeoutMs: number): Promise<void> {
    for (const transfer of [...this.#open]) transfer[Symbol.dispose]();
    const timer = new AbortController();
    await Promise.race([
      Promise.all(this.#background),
      setTimeout(timeoutMs, undefined, { signal: timer.signal }).catch(() => {}),
    ]);
    timer.abort();
    await this.#peers.close();
    await this.client.close();
    if (this.owned.isOwn) await this.owned.agent.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
