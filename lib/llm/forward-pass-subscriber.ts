import { guarded, reasonOf } from '../addon/callback.js';
import { unpack } from '../addon/codec.js';
import { checkFunction, checkInstance, checkInteger, checkNumber, checkObject, checkString } from '../check.js';
import { badArgument } from '../errors.js';
import type { Client } from '../runtime/client.js';
import { Endpoint } from '../runtime/endpoint.js';
import type { Event } from '../runtime/events.js';
import type { Instance, InstanceChange } from '../runtime/instance.js';
import type { QueuedWork, ScheduledWork } from './forward-pass.js';

/** The topic of an endpoint on which these metrics are published. Source: `dynamo-llm` `fpm_publisher.rs`. */
export const FORWARD_PASS_TOPIC = 'forward-pass-metrics';

/** The longest worker id that is kept. Instance ids have 20 digits. */
const MAX_ID_LENGTH = 256;
/** The ranks of workers that discovery does not list. Any peer may invent a worker. */
const MAX_UNLISTED_RANKS = 4096;
/** All ranks: as many as one publisher may have. */
const MAX_RANKS = 1 << 16;
/** Workers that have left, of which events may still be in flight. */
const MAX_GONE = 1024;
/** A publisher sends each rank once a second at least. */
const UNLISTED_LIFETIME_MS = 60_000;

/** A forward pass as it was received. */
export interface ForwardPassMetrics {
  readonly version: number;
  /** The name that the worker chose, by default its instance id in decimal. */
  readonly workerId: string;
  /** Data-parallel rank. */
  readonly dpRank: number;
  /** Counts the passes of a rank from 1. A gap means that messages were lost. */
  readonly counterId: number;
  /** 0 for the heartbeat of an idle rank. */
  readonly wallTimeSeconds: number;
  readonly scheduled: Required<ScheduledWork>;
  readonly queued: Required<QueuedWork>;
}

type Wire = Readonly<Record<string, unknown>>;

function integerOf(path: string, wire: Wire, name: string): number {
  const value = wire[name];
  checkInteger(`${path}${name}`, value, 0);
  return value;
}

function numberOf(path: string, wire: Wire, name: string): number {
  const value = wire[name];
  checkNumber(`${path}${name}`, value);
  return value;
}

function workOf(wire: Wire, name: string): Wire {
  const work = wire[name];
  checkObject(name, work);
  return work;
}

function queuedFrom(path: string, wire: Wire): Required<QueuedWork> {
  return {
    prefillRequests: integerOf(path, wire, 'num_prefill_requests'),
    prefillTokens: integerOf(path, wire, 'sum_prefill_tokens'),
    prefillLengthVariance: numberOf(path, wire, 'var_prefill_length'),
    decodeRequests: integerOf(path, wire, 'num_decode_requests'),
    decodeKvTokens: integerOf(path, wire, 'sum_decode_kv_tokens'),
    decodeKvVariance: numberOf(path, wire, 'var_decode_kv_tokens'),
  };
}

/** Checks and reads an event. A later version of the crates may add fields. @throws TypeError, RangeError */
export function forwardPassFrom(payload: Uint8Array): ForwardPassMetrics {
  const wire = unpack(payload);
  checkObject('the event', wire);
  const { worker_id: workerId } = wire;
  const version = integerOf('', wire, 'version');
  checkString('worker_id', workerId);
  if (workerId.length > MAX_ID_LENGTH)
    throw badArgument(
      new RangeError(`worker_id: expected at most ${MAX_ID_LENGTH} characters, got ${workerId.length}`),
    );
  const scheduled = workOf(wire, 'scheduled_requests');
  return {
    version,
    workerId,
    dpRank: integerOf('', wire, 'dp_rank'),
    counterId: integerOf('', wire, 'counter_id'),
    wallTimeSeconds: numberOf('', wire, 'wall_time'),
    scheduled: {
      ...queuedFrom('scheduled_requests.', scheduled),
      prefillKvTokens:
        scheduled['sum_prefill_kv_tokens'] === undefined
          ? 0
          : integerOf('scheduled_requests.', scheduled, 'sum_prefill_kv_tokens'),
    },
    queued: queuedFrom('queued_requests.', workOf(wire, 'queued_requests')),
  };
}

/** The latest pass of a rank, and when it came. */
interface Kept {
  readonly metrics: ForwardPassMetrics;
  readonly at: number;
}

/**
 * The latest pass of each rank. Ranks of workers that discovery lists are kept while it lists them. Others are kept for
 * a minute after their last pass. Each map has the rank that was heard last at its end.
 */
class Ranks {
  readonly #listed = new Set<string>();
  readonly #gone = new Set<string>();
  readonly #known = new Map<string, Kept>();
  readonly #unlisted = new Map<string, Kept>();

  all(): ForwardPassMetrics[] {
    this.#expire(performance.now());
    return [...this.#known.values(), ...this.#unlisted.values()].map(({ metrics }) => metrics);
  }

  set(metrics: ForwardPassMetrics): void {
    const { workerId, dpRank } = metrics;
    if (this.#gone.has(workerId)) return;
    const at = performance.now();
    const isListed = this.#listed.has(workerId);
    keep(isListed ? this.#known : this.#unlisted, `${dpRank}/${workerId}`, { metrics, at });
    this.#expire(at);
    if (this.#unlisted.size > MAX_UNLISTED_RANKS) dropFirst(this.#unlisted);
    if (this.#known.size > MAX_RANKS) dropFirst(this.#known);
  }

  list(workerId: string): void {
    this.#listed.add(workerId);
    this.#gone.delete(workerId);
    for (const [key, kept] of this.#unlisted) {
      if (kept.metrics.workerId !== workerId) continue;
      this.#unlisted.delete(key);
      this.#known.set(key, kept);
    }
  }

  /** Removes a worker. Also ignores events of it that are still in flight. */
  remove(workerId: string): void {
    this.#listed.delete(workerId);
    this.#gone.add(workerId);
    if (this.#gone.size > MAX_GONE) dropFirst(this.#gone);
    for (const ranks of [this.#known, this.#unlisted])
      for (const [key, { metrics }] of ranks) if (metrics.workerId === workerId) ranks.delete(key);
  }

  /** Lists exactly these workers. */
  replace(instances: readonly Instance[]): void {
    const present = new Set(instances.map(({ instanceId }) => String(instanceId)));
    for (const workerId of this.#listed) if (!present.has(workerId)) this.remove(workerId);
    for (const workerId of present) if (!this.#listed.has(workerId)) this.list(workerId);
  }

  #expire(now: number): void {
    for (const [key, { at }] of this.#unlisted) {
      if (now - at < UNLISTED_LIFETIME_MS) return;
      this.#unlisted.delete(key);
    }
  }
}

/** Sets an entry and moves it to the end. */
function keep<T>(map: Map<string, T>, key: string, value: T): void {
  map.delete(key);
  map.set(key, value);
}

function dropFirst(entries: Set<string> | Map<string, unknown>): void {
  for (const key of entries.keys()) {
    entries.delete(key);
    return;
  }
}

/**
 * Receives the forward passes of all workers of an endpoint. Keeps the latest pass of each rank while its worker is
 * present. A worker that discovery does not list is present until a minute after its last pass; at most 4,096 such
 * ranks are kept.
 *
 * @example
 * const subscriber = await ForwardPassSubscriber.create(endpoint, (metrics) => console.log(metrics));
 */
export class ForwardPassSubscriber implements AsyncDisposable {
  readonly #ranks = new Ranks();
  readonly #events: AsyncIterableIterator<Event<Uint8Array>>;
  readonly #changes: AsyncIterableIterator<InstanceChange>;
  readonly #client: Client;
  readonly #place: string;
  #skipped = 0;
  #closed = false;

  private constructor(
    endpoint: Endpoint,
    events: AsyncIterableIterator<Event<Uint8Array>>,
    client: Client,
    received: (metrics: ForwardPassMetrics) => unknown,
  ) {
    this.#place = `the forward-pass metrics of ${endpoint.path}`;
    this.#events = events;
    this.#client = client;
    this.#changes = client.watch();
    const deliver = guarded(`the callback of ${this.#place}`, received);
    this.#receive(deliver).catch((error: unknown) => this.#lost(error));
    this.#follow().catch((error: unknown) => this.#lost(error));
  }

  /**
   * Calls `received` with each pass. Its first error is reported as a warning `DYN_CALLBACK_FAILED` of the process.
   */
  static async create(
    endpoint: Endpoint,
    received: (metrics: ForwardPassMetrics) => unknown = () => {},
  ): Promise<ForwardPassSubscriber> {
    const operation = 'ForwardPassSubscriber.create';
    checkInstance(`${operation} endpoint`, endpoint, Endpoint);
    checkFunction(`${operation} received`, received);
    const client = await endpoint.client();
    return new ForwardPassSubscriber(endpoint, await endpoint.subscribeBytes(FORWARD_PASS_TOPIC), client, received);
  }

  /** The last pass of each rank of each present worker. */
  latest(): ForwardPassMetrics[] {
    return this.#ranks.all();
  }

  /**
   * The number of events that were no forward passes. The first one is reported as a warning `DYN_EVENT_SKIPPED` of the
   * process.
   */
  get skipped(): number {
    return this.#skipped;
  }

  async #receive(received: (metrics: ForwardPassMetrics) => void): Promise<void> {
    for await (const { data, publisherId } of this.#events) {
      let metrics: ForwardPassMetrics;
      try {
        metrics = forwardPassFrom(data);
      } catch (error) {
        this.#skip(publisherId, error);
        continue;
      }
      this.#ranks.set(metrics);
      received(metrics);
    }
  }

  #skip(publisherId: bigint, error: unknown): void {
    if (this.#skipped++ > 0) return;
    const message = `${this.#place}: an event of publisher ${publisherId} was skipped: ${reasonOf(error)}`;
    process.emitWarning(message, { code: 'DYN_EVENT_SKIPPED' });
  }

  async #follow(): Promise<void> {
    for await (const change of this.#changes) {
      if (change.type === 'added') this.#ranks.list(String(change.instance.instanceId));
      else if (change.type === 'removed') this.#ranks.remove(String(change.instanceId));
      else this.#ranks.replace(change.instances);
    }
  }

  #lost(error: unknown): void {
    if (this.#closed) return;
    process.emitWarning(`${this.#place} are no longer received: ${reasonOf(error)}`, { code: 'DYN_SUBSCRIPTION_LOST' });
  }

  /** Ends the subscription. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#events.return?.();
    await this.#changes.return?.();
    await this.#client.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
