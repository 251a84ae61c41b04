import type { PoolRole, PoolSnapshot, Snapshot, Targets, TrafficSample } from '../types.js';
import { Heap } from './heap.js';
import type { TraceRequest } from './trace.js';
import { type SimulatedEngineOptions, type SimulatedRequest, SimulatedWorker } from './worker.js';

/** What sets the counts of workers during a simulation. */
export type ScalingPolicy = (snapshot: Snapshot) => { readonly targets: Targets; readonly nextTickMs: number };

/** A simulation of a fleet under a trace. */
export interface SimulationOptions {
  readonly trace: readonly TraceRequest[];
  /** The workers at the start, which are ready. Their roles are those of the fleet. */
  readonly initial: Targets;
  readonly engine: SimulatedEngineOptions;
  /** The time from the start of a worker until it is ready. */
  readonly coldStartMs: number;
  readonly ttftMs: number;
  readonly itlMs: number;
  /** Absent for a fleet of constant size. */
  readonly policy?: ScalingPolicy;
  /** The time of the first decision. @default 5000 */
  readonly firstTickMs?: number;
  /** @default 1 for each role */
  readonly gpusPerWorker?: Targets;
  /** Whether the report has the latency of each request. @default false */
  readonly keepsRequests?: boolean;
}

/** The latency of one request. */
export interface RequestLatency {
  readonly atMs: number;
  readonly ttftMs: number;
  /** The mean of the request. */
  readonly itlMs: number;
}

/** A change of the size of a pool. */
export interface ScalingEvent {
  readonly atMs: number;
  readonly role: PoolRole;
  readonly from: number;
  readonly to: number;
}

/** What a simulation measured. */
export interface SimulationReport {
  readonly requests: number;
  /** The share of requests whose time to first token and mean inter-token latency are within their limits. */
  readonly goodput: number;
  /** Workers count from their start until they are drained. */
  readonly gpuHours: number;
  readonly meanTtftMs: number;
  readonly p99TtftMs: number;
  readonly meanItlMs: number;
  readonly p99ItlMs: number;
  readonly durationMs: number;
  readonly events: readonly ScalingEvent[];
  /** The fewest workers of each role that were wanted at any time. */
  readonly fewest: Targets;
  /** In the order of their arrival. Absent unless `keepsRequests` is set. */
  readonly latencies?: readonly RequestLatency[];
}

type Event =
  | { readonly kind: 'segment'; readonly worker: SimulatedWorker; readonly version: number }
  | { readonly kind: 'ready'; readonly worker: SimulatedWorker }
  | { readonly kind: 'tick' };

class Pool {
  readonly starting: SimulatedWorker[] = [];
  readonly ready: SimulatedWorker[] = [];
  draining = 0;
  desired: number;
  fewest: number;

  constructor(
    desired: number,
    private readonly gpusPerWorker: number,
  ) {
    this.desired = desired;
    this.fewest = desired;
  }

  get gpus(): number {
    return this.gpusPerWorker * (this.starting.length + this.ready.length + this.draining);
  }

  /** The ready worker with the least load. */
  next(): SimulatedWorker | undefined {
    let found: SimulatedWorker | undefined;
    for (const worker of this.ready) if (found === undefined || worker.load < found.load) found = worker;
    return found;
  }
}

/** What users saw since the last snapshot. */
class TrafficCounter {
  #sinceMs = 0;
  #arrived = 0;
  #inputTokens = 0;
  #cachedTokens = 0;
  #ended = 0;
  #outputTokens = 0;
  #ttftMs = 0;
  #first = 0;
  #itlMs = 0;

  arrived({ inputTokens, cachedTokens = 0 }: TraceRequest): void {
    this.#arrived++;
    this.#inputTokens += inputTokens;
    this.#cachedTokens += cachedTokens;
  }

  started({ atMs, firstTokenMs }: SimulatedRequest): void {
    this.#first++;
    this.#ttftMs += firstTokenMs - atMs;
  }

  ended(request: SimulatedRequest): void {
    this.#ended++;
    this.#outputTokens += request.outputTokens;
    this.#itlMs += itlOf(request);
  }

  sample(nowMs: number): TrafficSample {
    const mean = (name: string, sum: number, count: number): object => (count === 0 ? {} : { [name]: sum / count });
    const sample = {
      durationMs: nowMs - this.#sinceMs,
      requests: this.#arrived,
      ...mean('inputTokens', this.#inputTokens, this.#arrived),
      ...mean('outputTokens', this.#outputTokens, this.#ended),
      ...mean('ttftMs', this.#ttftMs, this.#first),
      ...mean('itlMs', this.#itlMs, this.#ended),
      ...mean('hitRate', this.#cachedTokens, this.#inputTokens),
    };
    this.#sinceMs = nowMs;
    this.#arrived = this.#inputTokens = this.#cachedTokens = this.#ended = this.#outputTokens = 0;
    this.#ttftMs = this.#first = this.#itlMs = 0;
    return sample;
  }
}

const itlOf = ({ firstTokenMs, endMs, outputTokens }: SimulatedRequest): number =>
  (endMs - firstTokenMs) / Math.max(1, outputTokens - 1);

/** Runs a fleet in virtual time. Deterministic: the same options give the same report. */
export function simulate(options: SimulationOptions): SimulationReport {
  return new Simulation(options).run();
}

class Simulation {
  readonly #pools: ReadonlyMap<PoolRole, Pool>;
  readonly #events = new Heap<Event>();
  readonly #traffic = new TrafficCounter();
  readonly #requests: SimulatedRequest[];
  readonly #changes: ScalingEvent[] = [];
  #nowMs = 0;
  #gpuMs = 0;
  #completed = 0;
  #workers = 0;

  constructor(private readonly options: SimulationOptions) {
    const roles = Object.entries(options.initial) as [PoolRole, number][];
    const { gpusPerWorker = {} } = options;
    this.#pools = new Map(roles.map(([role, count]) => [role, new Pool(count, gpusPerWorker[role] ?? 1)]));
    for (const [role, pool] of this.#pools)
      for (let index = 0; index < pool.desired; index++) pool.ready.push(this.#worker(role));
    this.#requests = options.trace.map((request) => ({
      ...request,
      remaining: Math.max(1, request.inputTokens - (request.cachedTokens ?? 0)),
      firstTokenMs: Number.POSITIVE_INFINITY,
      endMs: Number.POSITIVE_INFINITY,
    }));
  }

  run(): SimulationReport {
    const { policy, firstTickMs = 5000 } = this.options;
    if (policy !== undefined) this.#events.push(firstTickMs, { kind: 'tick' });
    let next = 0;
    while (this.#completed < this.#requests.length) {
      const arrivalMs = this.#requests[next]?.atMs ?? Number.POSITIVE_INFINITY;
      const eventMs = this.#events.first;
      this.#advance(Math.min(arrivalMs, eventMs));
      if (arrivalMs <= eventMs) this.#arrive(this.#requests[next++] as SimulatedRequest);
      else this.#handle(this.#events.pop() as Event);
    }
    return this.#report();
  }

  #worker(role: PoolRole): SimulatedWorker {
    return new SimulatedWorker(`${role}-${this.#workers++}`, role, this.options.engine);
  }

  #pool(role: PoolRole): Pool {
    return this.#pools.get(role) as Pool;
  }

  #advance(toMs: number): void {
    for (const pool of this.#pools.values()) this.#gpuMs += pool.gpus * (toMs - this.#nowMs);
    this.#nowMs = toMs;
  }

  #arrive(request: SimulatedRequest): void {
    this.#traffic.arrived(request);
    this.#send(this.#pools.has('prefill') ? 'prefill' : 'worker', request);
  }

  #send(role: PoolRole, request: SimulatedRequest): void {
    const worker = this.#pool(role).next() as SimulatedWorker;
    const endMs = worker.enqueue(request, this.#nowMs);
    if (worker.isIdle) this.#begin(worker);
    else if (endMs !== undefined) this.#schedule(worker, endMs);
  }

  #schedule(worker: SimulatedWorker, endMs: number): void {
    this.#events.push(endMs, { kind: 'segment', worker, version: worker.version });
  }

  #begin(worker: SimulatedWorker): void {
    const endMs = worker.begin(this.#nowMs);
    if (endMs !== undefined) this.#schedule(worker, endMs);
    else if (worker.isDraining && worker.isEmpty) this.#pool(worker.role).draining--;
  }

  #handle(event: Event): void {
    if (event.kind === 'tick') this.#tick();
    else if (event.kind === 'ready') this.#becomeReady(event.worker);
    else if (event.version === event.worker.version) this.#end(event.worker);
  }

  #end(worker: SimulatedWorker): void {
    const { prefilled, completed } = worker.end(this.#nowMs);
    for (const request of prefilled) {
      this.#traffic.started(request);
      if (worker.role !== 'prefill') continue;
      if (request.outputTokens > 1) this.#send('decode', request);
      else this.#complete(request);
    }
    for (const request of completed) this.#complete(request);
    this.#begin(worker);
  }

  #complete(request: SimulatedRequest): void {
    request.endMs = this.#nowMs;
    this.#completed++;
    this.#traffic.ended(request);
  }

  #becomeReady(worker: SimulatedWorker): void {
    const { starting, ready } = this.#pool(worker.role);
    const index = starting.indexOf(worker);
    if (index === -1) return;
    starting.splice(index, 1);
    ready.push(worker);
  }

  #tick(): void {
    const { policy } = this.options;
    if (policy === undefined) return;
    const pools = [...this.#pools].map(([role, { desired, ready }]): [PoolRole, PoolSnapshot] => [
      role,
      { desired, ready: ready.length, workers: ready.map((worker) => worker.snapshot()) },
    ]);
    const { targets, nextTickMs } = policy({
      nowMs: this.#nowMs,
      pools: Object.fromEntries(pools),
      traffic: this.#traffic.sample(this.#nowMs),
    });
    for (const [role, target] of Object.entries(targets) as [PoolRole, number][]) this.#scale(role, target);
    this.#events.push(Math.max(nextTickMs, this.#nowMs + 1), { kind: 'tick' });
  }

  #scale(role: PoolRole, target: number): void {
    const pool = this.#pool(role);
    if (target === pool.desired) return;
    this.#changes.push({ atMs: this.#nowMs, role, from: pool.desired, to: target });
    for (let index = pool.desired; index < target; index++) {
      const worker = this.#worker(role);
      pool.starting.push(worker);
      this.#events.push(this.#nowMs + this.options.coldStartMs, { kind: 'ready', worker });
    }
    for (let index = target; index < pool.desired; index++) this.#remove(pool);
    pool.desired = target;
    pool.fewest = Math.min(pool.fewest, target);
  }

  /** Removes the youngest worker that starts or, if there is none, the ready one with the least load. */
  #remove(pool: Pool): void {
    if (pool.starting.pop() !== undefined) return;
    const worker = pool.next();
    if (worker === undefined || pool.ready.length === 1) return;
    pool.ready.splice(pool.ready.indexOf(worker), 1);
    worker.isDraining = true;
    if (!worker.isEmpty) pool.draining++;
  }

  #report(): SimulationReport {
    const { ttftMs, itlMs, keepsRequests = false } = this.options;
    const latencies = this.#requests.map((request) => ({
      atMs: request.atMs,
      ttftMs: request.firstTokenMs - request.atMs,
      itlMs: itlOf(request),
    }));
    const sorted = (name: 'ttftMs' | 'itlMs'): number[] => latencies.map((one) => one[name]).sort((a, b) => a - b);
    const [ttfts, itls] = [sorted('ttftMs'), sorted('itlMs')];
    const mean = (values: readonly number[]): number =>
      values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
    const p99 = (values: readonly number[]): number => values[Math.floor(0.99 * (values.length - 1))] ?? 0;
    const good = latencies.filter((one) => one.ttftMs <= ttftMs && one.itlMs <= itlMs);
    return {
      requests: this.#requests.length,
      goodput: good.length / Math.max(1, this.#requests.length),
      gpuHours: this.#gpuMs / 3_600_000,
      meanTtftMs: mean(ttfts),
      p99TtftMs: p99(ttfts),
      meanItlMs: mean(itls),
      p99ItlMs: p99(itls),
      durationMs: this.#nowMs,
      events: this.#changes,
      fewest: Object.fromEntries([...this.#pools].map(([role, { fewest }]) => [role, fewest])),
      ...(keepsRequests ? { latencies } : {}),
    };
  }
}
