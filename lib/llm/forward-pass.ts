import { pack, packArgs, textBytes } from '../addon/codec.js';
import { invoke, invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { open } from '../addon/stream.js';
import {
  checkFunction,
  checkInstance,
  checkInteger,
  checkNumber,
  checkObject,
  checkOptions,
  checkString,
} from '../check.js';
import { defined } from '../options.js';
import type { Client } from '../runtime/client.js';
import { Endpoint } from '../runtime/endpoint.js';
import type { Event } from '../runtime/events.js';
import type { Instance, InstanceChange } from '../runtime/instance.js';

/** The topic of an endpoint on which these metrics travel. Source: `dynamo-llm` `fpm_publisher.rs`. */
const TOPIC = 'forward-pass-metrics';

/** Requests that wait for a pass. What is left out is 0. */
export interface QueuedWork {
  readonly prefillRequests?: number;
  /** Prompt tokens of them all. */
  readonly prefillTokens?: number;
  /** Variance of the prompts' lengths. */
  readonly prefillLengthVariance?: number;
  /** Requests that had begun to decode and were put back. */
  readonly decodeRequests?: number;
  /** Tokens that these have in the KV cache. */
  readonly decodeKvTokens?: number;
  readonly decodeKvVariance?: number;
}

/** Requests that a pass worked on. What is left out is 0. */
export interface ScheduledWork extends QueuedWork {
  /** Prompt tokens that were in the KV cache already. */
  readonly prefillKvTokens?: number;
}

/** One pass of an engine through its model. */
export interface ForwardPass {
  /** How long it took. */
  readonly wallTimeSeconds: number;
  readonly scheduled?: ScheduledWork;
  readonly queued?: QueuedWork;
}

/** A pass as it was received. */
export interface ForwardPassMetrics {
  readonly version: number;
  /** As the worker calls itself; the instance id in decimal unless it chose another. */
  readonly workerId: string;
  /** Data-parallel rank. */
  readonly dpRank: number;
  /** Counts a rank's passes from 1: a gap is a loss. */
  readonly counterId: number;
  /** 0 for the sign of life of an idle rank. */
  readonly wallTimeSeconds: number;
  readonly scheduled: Required<ScheduledWork>;
  readonly queued: Required<QueuedWork>;
}

const QUEUED = [
  'prefillRequests',
  'prefillTokens',
  'prefillLengthVariance',
  'decodeRequests',
  'decodeKvTokens',
  'decodeKvVariance',
];
const SCHEDULED = [...QUEUED, 'prefillKvTokens'];
const VARIANCES = ['prefillLengthVariance', 'decodeKvVariance'];

function checkWork(path: string, work: unknown, known: readonly string[]): void {
  checkObject(path, work, known);
  for (const [name, value] of Object.entries(work)) {
    if (VARIANCES.includes(name)) checkNumber(`${path}.${name}`, value);
    else checkInteger(`${path}.${name}`, value, 0, name.endsWith('Requests') ? 2 ** 31 - 1 : undefined);
  }
}

/**
 * Publishes what an engine's scheduler does, for planners. A rank that publishes nothing for a second is reported idle.
 *
 * @example
 * const publisher = await ForwardPassPublisher.open(endpoint);
 * publisher.publish({ wallTimeSeconds: 0.02, scheduled: { decodeRequests: 8, decodeKvTokens: 4096 } });
 */
export class ForwardPassPublisher implements AsyncDisposable {
  #handle: Handle | undefined;

  private constructor(handle: Handle) {
    this.#handle = handle;
  }

  /** Publishes for an endpoint. `ranks`: data-parallel ranks, 1 by default. `workerId`: the endpoint's instance id by default. */
  static async open(
    endpoint: Endpoint,
    options: { readonly ranks?: number; readonly workerId?: string } = {},
  ): Promise<ForwardPassPublisher> {
    const operation = 'ForwardPassPublisher.open';
    checkInstance(`${operation} endpoint`, endpoint, Endpoint);
    checkOptions(`${operation} options`, options, ['ranks', 'workerId']);
    const { ranks = 1, workerId } = options;
    checkInteger(`${operation} options.ranks`, ranks, 1, 1 << 16);
    if (workerId !== undefined) checkString(`${operation} options.workerId`, workerId);
    const args = pack(defined({ ranks, workerId }));
    return new ForwardPassPublisher(
      await invoke(native.forwardPassOpen, operation, { handle: endpoint.handle(operation), args }),
    );
  }

  /** Publishes what one pass of a rank did, and what waits. */
  publish(pass: ForwardPass, rank = 0): void {
    const operation = 'forwardPass.publish';
    const handle = open(this.#handle, 'the publisher', operation);
    checkObject(`${operation} pass`, pass, ['wallTimeSeconds', 'scheduled', 'queued']);
    checkNumber(`${operation} pass.wallTimeSeconds`, pass.wallTimeSeconds);
    if (pass.scheduled !== undefined) checkWork(`${operation} pass.scheduled`, pass.scheduled, SCHEDULED);
    if (pass.queued !== undefined) checkWork(`${operation} pass.queued`, pass.queued, QUEUED);
    checkInteger(`${operation} rank`, rank, 0);
    const { wallTimeSeconds, scheduled = {}, queued = {} } = pass;
    const args = packArgs({ wallTimeSeconds, scheduled, queued });
    invokeSync(native.forwardPassPublish, operation, { handle, args, a: rank });
  }

  /** Idempotent. */
  async close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    if (handle !== undefined) invokeSync(native.forwardPassClose, 'forwardPass.close', { handle });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Passes on what an engine in another process publishes on a ZMQ socket, such as vLLM's scheduler. */
export class ForwardPassRelay implements AsyncDisposable {
  #handle: Handle | undefined;

  private constructor(handle: Handle) {
    this.#handle = handle;
  }

  /** `address`: that of the engine's PUB socket, such as `tcp://127.0.0.1:20380`. */
  static async open(endpoint: Endpoint, address: string): Promise<ForwardPassRelay> {
    const operation = 'ForwardPassRelay.open';
    checkInstance(`${operation} endpoint`, endpoint, Endpoint);
    checkString(`${operation} address`, address);
    const parts = { handle: endpoint.handle(operation), payload: textBytes(address) };
    return new ForwardPassRelay(await invoke(native.forwardPassRelay, operation, parts));
  }

  /** Idempotent. */
  async close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    if (handle !== undefined) invokeSync(native.forwardPassClose, 'forwardPassRelay.close', { handle });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
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

interface Wire {
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

function metricsFrom({
  version,
  worker_id,
  dp_rank,
  counter_id,
  wall_time,
  scheduled_requests,
  queued_requests,
}: Wire): ForwardPassMetrics {
  return {
    version,
    workerId: worker_id,
    dpRank: dp_rank,
    counterId: counter_id,
    wallTimeSeconds: wall_time,
    scheduled: { ...queuedFrom(scheduled_requests), prefillKvTokens: scheduled_requests.sum_prefill_kv_tokens ?? 0 },
    queued: queuedFrom(queued_requests),
  };
}

/**
 * Receives the passes of all workers of an endpoint, and keeps each rank's latest while its worker is there.
 *
 * @example
 * const subscriber = await ForwardPassSubscriber.open(endpoint, (metrics) => console.log(metrics));
 */
export class ForwardPassSubscriber implements AsyncDisposable {
  readonly #latest = new Map<string, ForwardPassMetrics>();
  readonly #gone = new Set<string>();
  readonly #events: AsyncIterableIterator<Event<Wire>>;
  readonly #changes: AsyncIterableIterator<InstanceChange>;
  readonly #client: Client;

  private constructor(
    events: AsyncIterableIterator<Event<Wire>>,
    client: Client,
    received: (metrics: ForwardPassMetrics) => void,
  ) {
    this.#events = events;
    this.#client = client;
    this.#changes = client.watch();
    void this.#receive(received);
    void this.#follow();
  }

  /** `received` is told of each pass; what it throws is not caught. */
  static async open(
    endpoint: Endpoint,
    received: (metrics: ForwardPassMetrics) => void = () => {},
  ): Promise<ForwardPassSubscriber> {
    const operation = 'ForwardPassSubscriber.open';
    checkInstance(`${operation} endpoint`, endpoint, Endpoint);
    checkFunction(`${operation} received`, received);
    const client = await endpoint.client();
    return new ForwardPassSubscriber(await endpoint.subscribe<Wire>(TOPIC), client, received);
  }

  /** The last pass of each rank of each worker that is still there. */
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

  /** For good, whatever of its events is still on its way. */
  #forget(workerId: string): void {
    this.#gone.add(workerId);
    for (const [key, metrics] of this.#latest) if (metrics.workerId === workerId) this.#latest.delete(key);
  }

  /** Idempotent. */
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
