import { type Awaitable, checkArray, checkInstance, checkNames } from '../check.js';
import { type ForwardPassMetrics, ForwardPassSubscriber } from '../llm/forward-pass-subscriber.js';
import { callback, custom, type OptionTable, optionTable, text } from '../options.js';
import { Endpoint } from '../runtime/endpoint.js';
import type { ObservedLoad, PassSample, PoolRole, TrafficSample, WorkerSnapshot } from './core/types.js';
import type { Observation, Observer, PortOptions } from './scaler.js';
import { FrontendTraffic, joinedTraffic } from './traffic.js';

/**
 * The metrics of a frontend: their URL, such as `http://127.0.0.1:8000/metrics`, or a function that returns their text.
 */
export type FrontendMetrics = string | (() => Awaitable<string>);

/** What a `RuntimeObserver` reads. */
export interface RuntimeObserverOptions {
  /** The endpoint of the workers of each role: `namespace.component.generate`. */
  readonly endpoints: Readonly<Partial<Record<PoolRole, Endpoint>>>;
  /**
   * The frontends, or a function that returns those that run now. @default none, so the traffic is not known
   */
  readonly frontends?: readonly FrontendMetrics[] | (() => Awaitable<readonly FrontendMetrics[]>);
  /** Only requests for this model count. @default all */
  readonly model?: string;
}

const ROLES: readonly PoolRole[] = ['worker', 'prefill', 'decode'];

const OBSERVER_OPTIONS: OptionTable<RuntimeObserverOptions> = optionTable<RuntimeObserverOptions>({
  endpoints: custom<RuntimeObserverOptions['endpoints']>('an object of endpoints', (path, value) => {
    checkNames(path, value, ROLES);
    for (const [role, endpoint] of Object.entries(value as object))
      checkInstance(`${path}.${role}`, endpoint, Endpoint);
  }).required(),
  frontends: custom<NonNullable<RuntimeObserverOptions['frontends']>>(
    'an array of URLs or functions, or a function',
    (path, value) => {
      if (typeof value === 'function') return;
      checkArray(path, value, 'URLs or functions');
      for (const [index, each] of value.entries())
        if (typeof each !== 'string') callback().check(`${path}[${index}]`, each);
        else if (!URL.canParse(each))
          throw new TypeError(`${path}[${index}]: expected a URL, got ${JSON.stringify(each)}`);
    },
  ),
  model: text.about('Only requests for this model count.'),
});

/** Passes of a worker that are kept between two observations. */
const MAX_METRICS_BYTES = 16 * 1024 * 1024;
const MAX_PASSES = 16;
/** Workers whose passes are kept. */
const MAX_RANKS = 1 << 16;

const rankOf = ({ workerId, dpRank }: ForwardPassMetrics): string => `${dpRank}/${workerId}`;

const passOf = ({ wallTimeSeconds, scheduled }: ForwardPassMetrics): PassSample => ({
  wallMs: wallTimeSeconds * 1000,
  prefillTokens: scheduled.prefillTokens,
  decodeRequests: scheduled.decodeRequests,
  kvTokens: scheduled.decodeKvTokens,
});

function loadOf(ranks: readonly ForwardPassMetrics[]): ObservedLoad {
  const sum = (amountOf: (metrics: ForwardPassMetrics) => number): number =>
    ranks.reduce((total, metrics) => total + amountOf(metrics), 0);
  return {
    queuedPrefillTokens: sum(({ queued }) => queued.prefillTokens),
    queuedRequests: sum(({ queued }) => queued.prefillRequests + queued.decodeRequests),
    queuedKvTokens: sum(({ queued }) => queued.decodeKvTokens),
    decodeRequests: sum(({ scheduled }) => scheduled.decodeRequests),
    kvTokens: sum(({ scheduled }) => scheduled.decodeKvTokens),
  };
}

/** The forward passes of the workers of a role. */
class PoolObserver {
  readonly #passes = new Map<string, PassSample[]>();
  readonly #heardMs = new Map<string, number>();
  #subscriber: ForwardPassSubscriber | undefined;

  static async create(endpoint: Endpoint): Promise<PoolObserver> {
    const observer = new PoolObserver();
    observer.#subscriber = await ForwardPassSubscriber.create(endpoint, (metrics) => observer.#received(metrics));
    return observer;
  }

  observe(): WorkerSnapshot[] {
    const nowMs = performance.now();
    const workers = new Map<string, ForwardPassMetrics[]>();
    const present = new Set<string>();
    for (const metrics of this.#subscriber?.latest() ?? []) {
      present.add(rankOf(metrics));
      const ranks = workers.get(metrics.workerId);
      if (ranks === undefined) workers.set(metrics.workerId, [metrics]);
      else ranks.push(metrics);
    }
    const snapshots = [...workers].map(([id, ranks]) => ({
      id,
      ageMs: nowMs - Math.min(...ranks.map((metrics) => this.#heardMs.get(rankOf(metrics)) ?? nowMs)),
      load: loadOf(ranks),
      passes: ranks.flatMap((metrics) => this.#passes.get(rankOf(metrics)) ?? []),
    }));
    this.#passes.clear();
    for (const rank of this.#heardMs.keys()) if (!present.has(rank)) this.#heardMs.delete(rank);
    return snapshots;
  }

  #received(metrics: ForwardPassMetrics): void {
    const rank = rankOf(metrics);
    if (this.#heardMs.size >= MAX_RANKS && !this.#heardMs.has(rank)) return;
    this.#heardMs.set(rank, performance.now());
    if (metrics.wallTimeSeconds === 0) return;
    const passes = this.#passes.get(rank) ?? [];
    // After the first ones each further pass replaces one of them, so that the kept ones are spread over the time.
    const at = passes.length < MAX_PASSES ? passes.length : metrics.counterId % MAX_PASSES;
    passes[at] = passOf(metrics);
    this.#passes.set(rank, passes);
  }

  async close(): Promise<void> {
    await this.#subscriber?.close();
  }
}

async function metricsText(frontend: FrontendMetrics, signal: AbortSignal): Promise<string> {
  if (typeof frontend !== 'string') return frontend();
  const response = await fetch(frontend, { signal });
  if (!response.ok) throw new Error(`${frontend} answered with status ${response.status}`);
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > MAX_METRICS_BYTES) throw new Error(`${frontend} has more than ${MAX_METRICS_BYTES} bytes of metrics`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/**
 * Observes a running graph: forward passes of its workers from the event plane, also of those in Python, and the
 * traffic from the metrics of its frontends.
 */
export class RuntimeObserver implements Observer, AsyncDisposable {
  readonly #traffic = new Map<FrontendMetrics, FrontendTraffic>();

  private constructor(
    private readonly pools: ReadonlyMap<PoolRole, PoolObserver>,
    private readonly frontends: () => Awaitable<readonly FrontendMetrics[]>,
    private readonly model: string | undefined,
  ) {}

  /** Subscribes to the metrics. @throws TypeError for faulty options */
  static async create(options: RuntimeObserverOptions): Promise<RuntimeObserver> {
    OBSERVER_OPTIONS.check('RuntimeObserver.create options', options);
    const { endpoints, frontends = [], model } = options;
    const pools = new Map<PoolRole, PoolObserver>();
    for (const role of ROLES) {
      const endpoint = endpoints[role];
      if (endpoint !== undefined) pools.set(role, await PoolObserver.create(endpoint));
    }
    return new RuntimeObserver(pools, typeof frontends === 'function' ? frontends : () => frontends, model);
  }

  /** The traffic is absent until all frontends have answered twice, and when one does not answer. */
  async observe({ signal }: PortOptions): Promise<Observation> {
    const traffic = await this.#observeTraffic(signal).catch(() => undefined);
    const workers = [...this.pools].map(([role, pool]) => [role, pool.observe()]);
    return { workers: Object.fromEntries(workers), ...(traffic === undefined ? {} : { traffic }) };
  }

  async #observeTraffic(signal: AbortSignal): Promise<TrafficSample | undefined> {
    const frontends = await this.frontends();
    for (const known of this.#traffic.keys()) if (!frontends.includes(known)) this.#traffic.delete(known);
    const samples = await Promise.all(
      frontends.map(async (frontend) => {
        const traffic = this.#traffic.get(frontend) ?? new FrontendTraffic(this.model);
        this.#traffic.set(frontend, traffic);
        return traffic.sample(await metricsText(frontend, signal), performance.now());
      }),
    );
    const known = samples.filter((sample) => sample !== undefined);
    return known.length === samples.length ? joinedTraffic(known) : undefined;
  }

  /** Ends the subscriptions. Idempotent. */
  async close(): Promise<void> {
    await Promise.all([...this.pools.values()].map((pool) => pool.close()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
