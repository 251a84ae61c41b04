import { checkFunction, checkInstance } from '../check.js';
import type { Client } from '../runtime/client.js';
import { Endpoint } from '../runtime/endpoint.js';
import type { Event } from '../runtime/events.js';
import type { Instance, InstanceChange } from '../runtime/instance.js';
import type { QueuedWork, ScheduledWork } from './forward-pass.js';

/** The topic of an endpoint on which these metrics are published. Source: `dynamo-llm` `fpm_publisher.rs`. */
const TOPIC = 'forward-pass-metrics';

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

interface WireWork {
  num_prefill_requests: number;
  sum_prefill_tokens: number;
  var_prefill_length: number;
  sum_prefill_kv_tokens?: number;
  num_decode_requests: number;
  sum_decode_kv_tokens: number;
  var_decode_kv_tokens: number;
}

interface WireMetrics {
  version: number;
  worker_id: string;
  dp_rank: number;
  counter_id: number;
  wall_time: number;
  scheduled_requests: WireWork;
  queued_requests: WireWork;
}

function queuedFrom(wire: WireWork): Required<QueuedWork> {
  return {
    prefillRequests: wire.num_prefill_requests,
    prefillTokens: wire.sum_prefill_tokens,
    prefillLengthVariance: wire.var_prefill_length,
    decodeRequests: wire.num_decode_requests,
    decodeKvTokens: wire.sum_decode_kv_tokens,
    decodeKvVariance: wire.var_decode_kv_tokens,
  };
}

function metricsFrom(wire: WireMetrics): ForwardPassMetrics {
  return {
    version: wire.version,
    workerId: wire.worker_id,
    dpRank: wire.dp_rank,
    counterId: wire.counter_id,
    wallTimeSeconds: wire.wall_time,
    scheduled: {
      ...queuedFrom(wire.scheduled_requests),
      prefillKvTokens: wire.scheduled_requests.sum_prefill_kv_tokens ?? 0,
    },
    queued: queuedFrom(wire.queued_requests),
  };
}

/**
 * Receives the forward passes of all workers of an endpoint. Keeps the latest pass of each rank while its worker is
 * present.
 *
 * @example
 * const subscriber = await ForwardPassSubscriber.create(endpoint, (metrics) => console.log(metrics));
 */
export class ForwardPassSubscriber implements AsyncDisposable {
  readonly #latest = new Map<string, ForwardPassMetrics>();
  readonly #gone = new Set<string>();
  readonly #events: AsyncIterableIterator<Event<WireMetrics>>;
  readonly #changes: AsyncIterableIterator<InstanceChange>;
  readonly #client: Client;

  private constructor(
    events: AsyncIterableIterator<Event<WireMetrics>>,
    client: Client,
    received: (metrics: ForwardPassMetrics) => void,
  ) {
    this.#events = events;
    this.#client = client;
    this.#changes = client.watch();
    void this.#receive(received);
    void this.#follow();
  }

  /** Calls `received` with each pass. An error that it throws is not caught. */
  static async create(
    endpoint: Endpoint,
    received: (metrics: ForwardPassMetrics) => void = () => {},
  ): Promise<ForwardPassSubscriber> {
    const operation = 'ForwardPassSubscriber.create';
    checkInstance(`${operation} endpoint`, endpoint, Endpoint);
    checkFunction(`${operation} received`, received);
    const client = await endpoint.client();
    return new ForwardPassSubscriber(await endpoint.subscribe<WireMetrics>(TOPIC), client, received);
  }

  /** The last pass of each rank of each present worker. */
  latest(): ForwardPassMetrics[] {
    return [...this.#latest.values()];
  }

  async #receive(received: (metrics: ForwardPassMetrics) => void): Promise<void> {
    for await (const { data } of this.#events) {
      const metrics = metricsFrom(data);
      if (!this.#gone.has(metrics.workerId)) this.#latest.set(`${metrics.workerId}/${metrics.dpRank}`, metrics);
      received(metrics);
    }
  }

  async #follow(): Promise<void> {
    const known = new Set<string>();
    for await (const change of this.#changes) {
      if (change.type === 'added') {
        known.add(String(change.instance.instanceId));
        this.#gone.delete(String(change.instance.instanceId));
        continue;
      }
      const left = change.type === 'removed' ? [String(change.instanceId)] : absent(known, change.instances);
      for (const workerId of left) {
        known.delete(workerId);
        this.#forget(workerId);
      }
    }
  }

  /** Also ignores events of the worker that are still in flight. */
  #forget(workerId: string): void {
    this.#gone.add(workerId);
    for (const [key, metrics] of this.#latest) if (metrics.workerId === workerId) this.#latest.delete(key);
  }

  /** Ends the subscription. Idempotent. */
  async close(): Promise<void> {
    await this.#events.return?.();
    await this.#changes.return?.();
    await this.#client.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function absent(known: ReadonlySet<string>, instances: readonly Instance[]): string[] {
  const present = new Set(instances.map(({ instanceId }) => String(instanceId)));
  return [...known].filter((workerId) => !present.has(workerId));
}
