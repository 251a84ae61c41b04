import { randomUUID } from 'node:crypto';
import { checkInstance } from '../check.js';
import { ClosedError, DynamoError, shown } from '../errors.js';
import { BlockManager } from '../kvbm/manager.js';
import { PagedSequence } from '../kvbm/paged.js';
import { describeBlocks, type PeerDescription } from '../kvbm/peer-blocks.js';
import type { PreprocessedRequest } from '../llm/protocol.js';
import type { NixlMode } from '../nixl/library.js';
import { boolean, integer, milliseconds, type OptionTable, optionTable, text } from '../options.js';
import { type CloseOptions, closeOptions } from '../runtime/close-options.js';
import type { RequestContext } from '../runtime/context.js';
import { Endpoint } from '../runtime/endpoint.js';
import type { Metrics } from '../runtime/metrics.js';
import type { ServedEndpoint } from '../runtime/serve.js';
import { HandoffError } from './errors.js';
import { HANDOFF_VERSION, type HandoffParams, handoffParams, promptDigest } from './handoff.js';
import { OfferMetrics } from './metrics.js';
import { agentFor, metricsRow, nixlRow, type OwnedAgent } from './options.js';
import type { OfferDescription, OfferEndpoint, OfferRequest, OfferResponse } from './protocol.js';
import { Rooms } from './rooms.js';

/** How a prefill worker offers its blocks. */
export interface KvOffersOptions {
  /** The model. Decode workers of another model refuse the offers. */
  readonly model: string;
  /** What moves the bytes. `real` fails without NIXL; `auto` uses the mock then. @default 'auto' */
  readonly nixl?: NixlMode;
  /** How long an offer lives without a heartbeat of its decode worker. @default 10000 */
  readonly leaseMs?: number;
  /** The maximum number of concurrent offers. @default 1024 */
  readonly maxOffers?: number;
  /**
   * Decode starts together with prefill, and waits for the offer: see {@link KvOffers.registration}. Without it, decode
   * starts after prefill.
   * @default false
   */
  readonly bootstrap?: boolean;
  /** The metrics of the worker's endpoint. @default none */
  readonly metrics?: Metrics;
}

const OFFERS_OPTIONS: OptionTable<KvOffersOptions> = optionTable<KvOffersOptions>({
  model: text.required().about('The model.'),
  nixl: nixlRow,
  leaseMs: milliseconds(1, 3_600_000).about('How long an offer lives without a heartbeat.'),
  maxOffers: integer(1).about('The maximum number of concurrent offers.'),
  bootstrap: boolean.about('Decode starts together with prefill.'),
  metrics: metricsRow,
});

const CLOSE_OPTIONS: OptionTable<CloseOptions> = closeOptions(0);

/** How long an answer in flight may take at the close. */
const ANSWER_MS = 300;

/** How an offer ended: read, given up by the decode worker, or without a heartbeat for too long. */
type Ending = 'taken' | 'abandoned' | 'expired';

/** Counts of offers since the start. */
export interface KvOffersStatistics extends Readonly<Record<Ending, number>> {
  readonly offered: number;
  /** Prefills that ended without an offer. */
  readonly failed: number;
}

interface Live {
  readonly blocks: readonly number[];
  readonly owner: Disposable;
  readonly since: number;
  timer: NodeJS.Timeout;
  /** When the timer should fire. */
  due: number;
}

/** The address that a prefill worker registers if decode starts together with prefill; else empty. */
export interface BootstrapRegistration {
  readonly bootstrapHost?: string;
  readonly bootstrapPort?: number;
}

/** The room of a request, if its prefill and decode start together. */
export function roomOf(request: PreprocessedRequest): string | undefined {
  const room: unknown = request.bootstrap_info?.['bootstrap_room'];
  return typeof room === 'number' || typeof room === 'bigint' ? String(room) : undefined;
}

/**
 * The prefill worker's side of a handoff. Offers the blocks of each request to the decode worker that continues it.
 * Offered blocks are neither evicted nor written until the decode worker has read them, gives them up, or sends no
 * heartbeat for `leaseMs`. Its agent holds the manager's blocks and nothing else.
 *
 * @example
 * import { KvOffers } from 'dynamo-node/disagg';
 *
 * const offers = await KvOffers.serve(manager, runtime.endpoint('dynamo.prefill.kv'), { model: 'my-model' });
 */
export class KvOffers implements AsyncDisposable {
  readonly #live = new Map<string, Live>();
  readonly #rooms: Rooms;
  readonly #counts = { offered: 0, taken: 0, abandoned: 0, expired: 0, failed: 0 };
  #served: ServedEndpoint | undefined;
  #closing: Promise<void> | undefined;
  #onEmpty: () => void = () => {};
  /** When the last release was answered. */
  #answered = Number.NEGATIVE_INFINITY;

  private constructor(
    readonly manager: BlockManager,
    private readonly endpoint: OfferEndpoint,
    private readonly owned: OwnedAgent,
    private readonly description: Omit<PeerDescription, 'metadata'>,
    private readonly options: Required<Omit<KvOffersOptions, 'metrics' | 'nixl'>>,
    private readonly metrics: OfferMetrics | undefined,
  ) {
    this.#rooms = new Rooms(options.leaseMs);
  }

  /**
   * Registers the manager's memory with an agent and serves the endpoint.
   *
   * @throws NixlLoadError if `nixl` is `real` and the library is missing
   */
  static async serve(manager: BlockManager, endpoint: OfferEndpoint, options: KvOffersOptions): Promise<KvOffers> {
    const operation = 'KvOffers.serve';
    checkInstance(`${operation} manager`, manager, BlockManager);
    checkInstance(`${operation} endpoint`, endpoint, Endpoint);
    OFFERS_OPTIONS.check(`${operation} options`, options);
    const { model, nixl = 'auto', leaseMs = 10_000, maxOffers = 1024, bootstrap = false, metrics } = options;
    const owned = await agentFor(operation, manager, 'kv-offers', nixl);
    try {
      const description = await describeBlocks(`${operation} manager`, manager, owned.agent);
      const settings = { model, leaseMs, maxOffers, bootstrap };
      const measured = metrics === undefined ? undefined : new OfferMetrics(metrics);
      const offers = new KvOffers(manager, endpoint, owned, description, settings, measured);
      // Waits of many rooms must not hold up heartbeats.
      offers.#served = await endpoint.serve((request, context) => offers.#answer(request, context), {
        concurrency: 4 * maxOffers,
      });
      return offers;
    } catch (error) {
      if (owned.isOwn) await owned.agent.close();
      throw error;
    }
  }

  /** Number of present offers. */
  get size(): number {
    return this.#live.size;
  }

  /** Whether no decode worker reads blocks, or may still do so. For `isQuiescent` of the engine. */
  get isQuiescent(): boolean {
    return this.#live.size === 0;
  }

  /** Number of requests whose decode worker waits for the offer. */
  get waiting(): number {
    return this.#rooms.waiting;
  }

  /** What moves the bytes: the NIXL library, or the mock. */
  get library(): 'real' | 'mock' {
    return this.owned.agent.library.kind;
  }

  /**
   * For the `llm` part of the result of the engine's `start`. With the option `bootstrap` it has the address of this
   * worker's requests, by which frontends know that decode may start together with prefill.
   *
   * @throws HandoffError if the requests of this worker do not travel over TCP
   */
  get registration(): BootstrapRegistration {
    if (!this.options.bootstrap) return {};
    const address = this.#served?.instance.address ?? '';
    const [, host, port] = /^(?:\w+:\/\/)?\[?([^/]*?)\]?:(\d+)/.exec(address) ?? [];
    if (host === undefined || port === undefined)
      throw new HandoffError(
        'disagg.handoff',
        `bootstrap: expected a worker with a TCP address, got ${shown(address)}`,
        'offers.registration',
      );
    return { bootstrapHost: host, bootstrapPort: Number(port) };
  }

  /**
   * Begins the prefill of a request. Dispose of the result at the end of the engine's generator: a prefill that ends
   * without an offer fails the request of the decode worker that waits for it.
   *
   * @throws HandoffError `disagg.capacity` if there are `maxOffers` offers
   * @throws ClosedError after `close`
   */
  begin(request: PreprocessedRequest, context: Pick<RequestContext, 'signal'>): KvOffer {
    const operation = 'offers.begin';
    if (this.#closing !== undefined) throw new ClosedError('the offers', operation);
    const room = roomOf(request);
    if (this.#live.size >= this.options.maxOffers) {
      const error = new HandoffError('disagg.capacity', `there are ${this.#live.size} offers already`, operation);
      if (room !== undefined) this.#rooms.settle(room, error);
      throw error;
    }
    const signals = room === undefined ? [context.signal] : [context.signal, this.#rooms.signal(room)];
    return new KvOffer(
      AbortSignal.any(signals),
      (sequence, owner, since) => this.#offer(sequence, owner, room, since),
      (reason) => {
        this.#counts.failed += 1;
        if (room !== undefined) this.#rooms.settle(room, new HandoffError('disagg.prefill_failed', reason, operation));
      },
    );
  }

  #offer(sequence: PagedSequence, owner: Disposable, room: string | undefined, since: number): HandoffParams {
    const operation = 'offer.publish';
    if (this.#closing !== undefined) throw new ClosedError('the offers', operation);
    const { leaseMs, model } = this.options;
    const id = randomUUID();
    const blocks = [...sequence.blockTable().subarray(0, Math.ceil(sequence.length / this.manager.blockSize))];
    const params = handoffParams({
      endpoint: this.endpoint.path,
      instance: String((this.#served as ServedEndpoint).instance.instanceId),
      offer: id,
      model,
      layout: this.description.layout,
      tokens: sequence.length,
      prompt: promptDigest(sequence.tokens.tokens()),
      blocks,
      lease_ms: leaseMs,
    });
    const now = performance.now();
    const live = { blocks, owner, since: now, due: now + leaseMs, timer: this.#timer(id) };
    this.#live.set(id, live);
    this.#counts.offered += 1;
    this.metrics?.offered((now - since) / 1000, sequence.cachedTokens);
    if (room !== undefined) this.#rooms.settle(room, params);
    return params;
  }

  #timer(id: string): NodeJS.Timeout {
    return setTimeout(() => this.#expire(id), this.options.leaseMs).unref();
  }

  #extend(id: string, live: Live): void {
    clearTimeout(live.timer);
    live.due = performance.now() + this.options.leaseMs;
    live.timer = this.#timer(id);
  }

  #expire(id: string): void {
    const live = this.#live.get(id);
    if (live === undefined) return;
    // This process was paused, and heartbeats may wait in its queue.
    if (performance.now() - live.due > this.options.leaseMs / 4) this.#extend(id, live);
    else this.#end(id, 'expired');
  }

  async #answer(request: OfferRequest, { signal }: RequestContext): Promise<OfferResponse> {
    switch (request?.op) {
      case 'describe':
        return await this.#describe();
      case 'wait':
        if (this.#closing !== undefined) throw new ClosedError('the offers', 'offers.wait');
        return await this.#rooms.wait(String(request.room), signal).catch(failureOf);
      case 'abandon': {
        const unwanted = this.#rooms.abandon(String(request.room));
        return this.#release({ op: 'release', offer: unwanted?.kv_handoff.offer ?? '' });
      }
      case 'beat': {
        const live = this.#live.get(request.offer);
        if (live !== undefined) this.#extend(request.offer, live);
        return { held: live !== undefined };
      }
      case 'release':
        return this.#release(request);
      default:
        throw new DynamoError(
          'InvalidRequest',
          `offers: expected op describe, wait, abandon, beat or release, got ${shown((request as OfferRequest)?.op)}`,
        );
    }
  }

  async #describe(): Promise<OfferDescription> {
    const { description, options, library, owned, manager } = this;
    // The agent of a region may have other regions, which no decode worker may read.
    const metadata = await owned.agent.metadata({ regions: [await manager.registerWith(owned.agent)] });
    return { ...description, version: HANDOFF_VERSION, model: options.model, library, metadata };
  }

  #release({ offer, first = 0, blocks }: Extract<OfferRequest, { op: 'release' }>): OfferResponse {
    const live = this.#live.get(offer);
    if (live === undefined) return { held: false };
    this.#answered = performance.now();
    this.#end(offer, blocks === undefined ? 'abandoned' : 'taken');
    const isWrong = blocks?.some((id, index) => live.blocks[first + index] !== id);
    if (isWrong === true) return { failed: 'disagg.blocks', message: 'expected the offered block ids, got others' };
    return { held: true };
  }

  #end(id: string, ending: Ending): void {
    const live = this.#live.get(id);
    if (live === undefined) return;
    this.#live.delete(id);
    clearTimeout(live.timer);
    this.#counts[ending] += 1;
    this.metrics?.ended(ending, (performance.now() - live.since) / 1000);
    live.owner[Symbol.dispose]();
    if (this.#live.size === 0) this.#onEmpty();
  }

  /** Counts of offers. */
  statistics(): KvOffersStatistics {
    return { ...this.#counts };
  }

  /**
   * Takes no further prefill, waits for the present offers up to `timeoutMs` (default `leaseMs`), ends the others, and
   * closes the agent. Idempotent.
   */
  close(options: CloseOptions = {}): Promise<void> {
    CLOSE_OPTIONS.check('offers.close options', options);
    this.#closing ??= this.#close(options.timeoutMs ?? this.options.leaseMs);
    return this.#closing;
  }

  async #close(timeoutMs: number): Promise<void> {
    this.#rooms.close(new HandoffError('disagg.prefill_failed', 'the prefill worker is closing', 'offers.close'));
    if (this.#live.size > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, timeoutMs);
        this.#onEmpty = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    // A caller fails if the worker leaves discovery before its answer has arrived.
    const left = this.#answered + ANSWER_MS - performance.now();
    if (left > 0) await new Promise((resolve) => setTimeout(resolve, left));
    await this.#served?.close({ timeoutMs: ANSWER_MS });
    for (const id of [...this.#live.keys()]) this.#end(id, 'expired');
    if (this.owned.isOwn) await this.owned.agent.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function failureOf(error: unknown): OfferResponse {
  if (error instanceof HandoffError) return { failed: error.reason, message: error.message };
  throw error;
}

/** The prefill of one request, which ends with an offer or without one. */
export class KvOffer implements Disposable {
  readonly #since = performance.now();
  #isOpen = true;

  /** @internal */
  constructor(
    /** Aborted when no caller or no decode worker waits for the prefill any longer. */
    readonly signal: AbortSignal,
    private readonly offer: (sequence: PagedSequence, owner: Disposable, since: number) => HandoffParams,
    private readonly fail: (reason: string) => void,
  ) {}

  /**
   * Offers the rows of a computed sequence. The sequence belongs to the offer from now on: `owner` is disposed of when
   * the decode worker has the bytes, or the offer has ended otherwise.
   *
   * @param owner what is disposed of instead of the sequence, exactly once
   * @returns the `disaggregated_params` of the prefill worker's only item
   * @throws RangeError unless every token of the sequence is computed
   * @throws the reason of `signal` if it is aborted: no worker would read the blocks
   */
  publish(sequence: PagedSequence, owner: Disposable = sequence): HandoffParams {
    const operation = 'offer.publish';
    checkInstance(`${operation} sequence`, sequence, PagedSequence);
    if (!this.#isOpen) throw new ClosedError('the offer', operation);
    const { computedTokens, length } = sequence;
    if (computedTokens !== length || length === 0)
      throw new RangeError(
        `${operation} sequence: expected all ${length} tokens to be computed, got ${computedTokens}`,
      );
    this.signal.throwIfAborted();
    const params = this.offer(sequence, owner, this.#since);
    this.#isOpen = false;
    return params;
  }

  /** Ends a prefill that has offered nothing. Idempotent. */
  [Symbol.dispose](): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.fail(this.signal.aborted ? 'the prefill was cancelled' : 'the prefill has failed');
  }
}
