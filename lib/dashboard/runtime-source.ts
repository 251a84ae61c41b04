import { setTimeout as sleep } from 'node:timers/promises';
import { reasonOf } from '../addon/callback.js';
import { unpack } from '../addon/codec.js';
import { FORWARD_PASS_TOPIC, type ForwardPassMetrics, forwardPassFrom } from '../llm/forward-pass-subscriber.js';
import type { RuntimeOptions } from '../runtime/config.js';
import { DistributedRuntime } from '../runtime/distributed-runtime.js';
import type { Event, EventSubscription } from '../runtime/events.js';
import type { DiscoveredInstance, InstanceFigures } from './inputs.js';
import { explainRoute } from './route-explanation.js';
import type { RouteQuestion } from './routing-view.js';
import type { RoutingView } from './view.js';

/** The topic of the load of a worker. Source: `dynamo-llm` `kv_router.rs`. */
const LOAD_TOPIC = 'kv_metrics';
/** The endpoint of engines, which publish forward passes and their load. */
const ENGINE_ENDPOINT = 'generate';
const MAX_ENDPOINTS = 64;
/** Enough for the ranks of most workers. Those of others are heard in turn. */
const MAX_UNREAD = 8;
const MAX_PUBLISHERS = 16_384;
/** An event that was waited for as long: all before it were read. */
const EMPTY_MS = 5;
const PAUSE_MS = 500;
/** The share of the newest figure in a mean over the last passes. */
const NEWEST = 0.2;
const MS_PER_SECOND = 1000;
/** A worker publishes once a second at least. Older metrics say nothing about now. */
const MAX_AGE_MS = 10_000;
/** A rank that has not been heard of for so long is forgotten, with what it has cached. */
const FORGET_MS = 10 * MAX_AGE_MS;
/** Any peer may publish, under any rank. */
const MAX_RANKS = 1024;
const isRank = (rank: number): boolean => Number.isInteger(rank) && rank >= 0 && rank < MAX_RANKS;

/** Which instances belong to the graph that is shown. */
export type InstanceFilter = (instance: DiscoveredInstance) => boolean;

/** What was heard of one rank of a worker. */
interface Rank {
  readonly metrics: ForwardPassMetrics;
  readonly heardMs: number;
  readonly passMs: number | undefined;
  readonly hitRate: number | undefined;
}

type Load = Readonly<Record<string, unknown>>;

/** An event that was not read yet. */
interface UnreadEvent {
  readonly publisherId: bigint;
  readonly payload: Uint8Array;
  readonly atMs: number;
}

/**
 * The last events of each publisher. Busy workers publish hundreds of passes between two snapshots, so most are dropped
 * before they are read.
 */
class LastEvents {
  readonly #events = new Map<bigint, UnreadEvent[]>();
  /** The number of ranks of a publisher whose events were read. */
  readonly #ranks = new Map<bigint, number>();

  /** Each event that wakes this thread costs more than its reading. So those of a moment are read together. */
  async follow(events: AsyncIterator<Event<Uint8Array>>): Promise<void> {
    for (;;) {
      const askedMs = performance.now();
      const { done, value } = await events.next();
      if (done === true) return;
      const atMs = performance.now();
      this.#keep({ publisherId: value.publisherId, payload: value.data, atMs });
      if (atMs - askedMs > EMPTY_MS) await sleep(PAUSE_MS, undefined, { ref: false });
    }
  }

  #keep(event: UnreadEvent): void {
    const { publisherId } = event;
    const unread = this.#events.get(publisherId);
    if (unread === undefined) {
      if (this.#events.size < MAX_PUBLISHERS) this.#events.set(publisherId, [event]);
      return;
    }
    if (unread.length >= (this.#ranks.get(publisherId) ?? MAX_UNREAD)) unread.shift();
    unread.push(event);
  }

  /** From now on only as many events are kept as the publisher has ranks. */
  hasRank(publisherId: bigint, rank: number): void {
    const ranks = Math.min(MAX_UNREAD, Math.max(rank + 1, this.#ranks.get(publisherId) ?? 1));
    if (this.#ranks.size < MAX_PUBLISHERS) this.#ranks.set(publisherId, ranks);
  }

  /** All, oldest first of each publisher. They are then read. */
  take(): UnreadEvent[] {
    const all = [...this.#events.values()].flat();
    this.#events.clear();
    return all;
  }
}

/** The forward passes and loads of the workers of one endpoint. */
class EndpointEvents {
  readonly #ranks = new Map<string, Rank>();
  /** Blocks in use by worker and rank. */
  readonly #used = new Map<string, Map<number, number>>();
  readonly #passes = new LastEvents();
  readonly #loads = new LastEvents();
  #subscriptions: EventSubscription<Uint8Array>[] = [];

  static async create(runtime: DistributedRuntime, path: string): Promise<EndpointEvents> {
    const events = new EndpointEvents();
    const endpoint = runtime.endpoint(path);
    for (const [topic, last] of [
      [FORWARD_PASS_TOPIC, events.#passes],
      [LOAD_TOPIC, events.#loads],
    ] as const) {
      const subscription = await endpoint.subscribeBytes(topic);
      events.#subscriptions.push(subscription);
      last.follow(subscription).catch((error: unknown) => {
        const message = `the events ${topic} of ${path} are no longer received: ${reasonOf(error)}`;
        process.emitWarning(message, { code: 'DYN_SUBSCRIPTION_LOST' });
      });
    }
    return events;
  }

  /** By the instance id of the worker. Forgets workers that are not among `present`. */
  figures(present: ReadonlySet<string>): Map<string, InstanceFigures> {
    const nowMs = performance.now();
    for (const event of this.#passes.take()) this.#passed(event);
    for (const { payload } of this.#loads.take()) this.#loaded(payload);
    const workers = new Map<string, Rank[]>();
    for (const [key, rank] of this.#ranks) {
      const { workerId } = rank.metrics;
      if (!present.has(workerId) || nowMs - rank.heardMs > FORGET_MS) this.#ranks.delete(key);
      else if (nowMs - rank.heardMs < MAX_AGE_MS) workers.set(workerId, [...(workers.get(workerId) ?? []), rank]);
    }
    for (const id of this.#used.keys()) if (!present.has(id)) this.#used.delete(id);
    const ids = new Set([...workers.keys(), ...this.#used.keys()]);
    return new Map([...ids].map((id) => [id, figuresOf(workers.get(id) ?? [], this.#used.get(id), nowMs)]));
  }

  #passed({ publisherId, payload, atMs: heardMs }: UnreadEvent): void {
    const metrics = readOf(payload);
    if (metrics === undefined || !isRank(metrics.dpRank)) return;
    this.#passes.hasRank(publisherId, metrics.dpRank);
    const key = `${metrics.dpRank}/${metrics.workerId}`;
    const before = this.#ranks.get(key);
    const { prefillTokens, prefillKvTokens } = metrics.scheduled;
    const share = prefillTokens > 0 ? prefillKvTokens / (prefillKvTokens + prefillTokens) : undefined;
    const mixed = before?.hitRate === undefined || share === undefined ? undefined : mix(before.hitRate, share);
    this.#ranks.set(key, {
      metrics,
      heardMs,
      passMs: metrics.wallTimeSeconds > 0 ? metrics.wallTimeSeconds * MS_PER_SECOND : before?.passMs,
      hitRate: mixed ?? share ?? before?.hitRate,
    });
  }

  #loaded(payload: Uint8Array): void {
    const load = loadOf(payload);
    if (load === undefined) return;
    const ranks = this.#used.get(load.worker) ?? new Map<number, number>();
    this.#used.set(load.worker, ranks.set(load.rank, load.used));
  }

  async close(): Promise<void> {
    for (const subscription of this.#subscriptions) await subscription[Symbol.asyncDispose]();
  }
}

/** Undefined for an event that is no forward pass: any peer may publish. */
function readOf(payload: Uint8Array): ForwardPassMetrics | undefined {
  try {
    return forwardPassFrom(payload);
  } catch {
    return undefined;
  }
}

const mix = (old: number, fresh: number): number => old + NEWEST * (fresh - old);

/** Source: `ActiveLoad` of `dynamo-kv-router` `protocols.rs`. Undefined for what is none, or has no count of blocks. */
function loadOf(payload: Uint8Array): { worker: string; rank: number; used: number } | undefined {
  try {
    const { worker_id: id, dp_rank: rank = 0, kv_used_blocks: used } = unpack(payload) as Load;
    const isId = typeof id === 'bigint' || (typeof id === 'number' && Number.isSafeInteger(id));
    if (!isId || typeof rank !== 'number' || !isRank(rank) || typeof used !== 'number' || !(used >= 0))
      return undefined;
    return { worker: String(id), rank, used };
  } catch {
    return undefined;
  }
}

function figuresOf(
  ranks: readonly Rank[],
  used: ReadonlyMap<number, number> | undefined,
  nowMs: number,
): InstanceFigures {
  const sum = (amountOf: (metrics: ForwardPassMetrics) => number): number =>
    ranks.reduce((total, { metrics }) => total + amountOf(metrics), 0);
  const hitRates = ranks.flatMap(({ hitRate }) => hitRate ?? []);
  const passes = ranks.flatMap(({ passMs }) => passMs ?? []);
  return {
    flow:
      ranks.length === 0
        ? {}
        : {
            running: sum(({ scheduled }) => scheduled.prefillRequests + scheduled.decodeRequests),
            queued: sum(({ queued }) => queued.prefillRequests + queued.decodeRequests),
          },
    kv: {
      ...(used === undefined ? {} : { usedBlocks: [...used.values()].reduce((total, blocks) => total + blocks, 0) }),
      ...(hitRates.length === 0
        ? {}
        : { hitRate: hitRates.reduce((total, rate) => total + rate, 0) / hitRates.length }),
    },
    ...(passes.length === 0 ? {} : { passMs: Math.max(...passes) }),
    ...(ranks.length === 0 ? {} : { metricsAgeMs: nowMs - Math.min(...ranks.map(({ heardMs }) => heardMs)) }),
  };
}

/** What discovery and the event plane say of a graph, whatever language its workers are in. */
export interface RuntimeReading {
  readonly instances: readonly DiscoveredInstance[];
  /** By the instance id in decimal. */
  readonly figures: ReadonlyMap<string, InstanceFigures>;
  readonly warnings: readonly string[];
}

/** Reads discovery, and subscribes to the events of each endpoint of engines that it finds. */
export class RuntimeSource {
  readonly #events = new Map<string, EndpointEvents>();
  #instances: readonly DiscoveredInstance[] = [];

  private constructor(
    private readonly runtime: DistributedRuntime,
    private readonly filter: InstanceFilter,
  ) {}

  /** @throws DynamoError if discovery does not answer */
  static async create(options: RuntimeOptions, filter: InstanceFilter): Promise<RuntimeSource> {
    return new RuntimeSource(await DistributedRuntime.create(options), filter);
  }

  async read(): Promise<RuntimeReading> {
    const all = (await this.runtime.instances()).map(
      ({ namespace, component, endpoint, instanceId, address }): DiscoveredInstance => ({
        ...{ namespace, component, endpoint, address },
        instanceId: String(instanceId),
      }),
    );
    const instances = all.filter(this.filter);
    this.#instances = instances;
    await this.#subscribe(instances);
    const present = new Set(instances.map(({ instanceId }) => instanceId));
    const figures = new Map([...this.#events.values()].flatMap((events) => [...events.figures(present)]));
    const hasMore = this.#events.size >= MAX_ENDPOINTS;
    return { instances, figures, warnings: hasMore ? [`only ${MAX_ENDPOINTS} endpoints are followed`] : [] };
  }

  /** Why a KV router chose an instance; undefined if it is not known. @throws DynamoError */
  explain(question: Omit<RouteQuestion, 'endpoint'>): Promise<RoutingView | undefined> {
    const found = this.#instances.find(
      ({ instanceId, endpoint }) => instanceId === question.chosen && endpoint === ENGINE_ENDPOINT,
    );
    if (found === undefined) return Promise.resolve(undefined);
    const endpoint = `${found.namespace}.${found.component}.${found.endpoint}`;
    return explainRoute(this.runtime, { ...question, endpoint });
  }

  async #subscribe(instances: readonly DiscoveredInstance[]): Promise<void> {
    if (this.#events.size >= MAX_ENDPOINTS) await this.#forget(instances);
    for (const { namespace, component, endpoint } of instances) {
      const path = `${namespace}.${component}.${endpoint}`;
      if (endpoint !== ENGINE_ENDPOINT || this.#events.has(path) || this.#events.size >= MAX_ENDPOINTS) continue;
      this.#events.set(path, await EndpointEvents.create(this.runtime, path));
    }
  }

  /** Endpoints without an instance make room for others. */
  async #forget(instances: readonly DiscoveredInstance[]): Promise<void> {
    const present = new Set(
      instances.map(({ namespace, component, endpoint }) => `${namespace}.${component}.${endpoint}`),
    );
    for (const [path, events] of this.#events)
      if (!present.has(path)) {
        this.#events.delete(path);
        await events.close();
      }
  }

  async close(): Promise<void> {
    for (const events of this.#events.values()) await events.close();
    await this.runtime.close();
  }
}
