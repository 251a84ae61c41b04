import type { SnapshotInputs } from './inputs.js';
import { edgesOf, servicesOf } from './services.js';
import {
  type DashboardSnapshot,
  type FlowView,
  type HistoryPoint,
  type InstanceView,
  type KvView,
  SERIES,
  type SeriesName,
  type ServiceView,
} from './view.js';

export type * from './inputs.js';
export type * from './view.js';

const MS_PER_SECOND = 1000;

/** The sum of what is known; undefined if nothing is. */
function sumOf<T>(items: readonly T[], amountOf: (item: T) => number | undefined): number | undefined {
  let sum: number | undefined;
  for (const item of items) {
    const amount = amountOf(item);
    if (amount !== undefined) sum = (sum ?? 0) + amount;
  }
  return sum;
}

/** The mean of what is known; undefined if nothing is. */
function meanOf<T>(items: readonly T[], amountOf: (item: T) => number | undefined): number | undefined {
  const count = sumOf(items, (item) => (amountOf(item) === undefined ? undefined : 1));
  return count === undefined ? undefined : (sumOf(items, amountOf) ?? 0) / count;
}

/** What users see is what frontends count. What runs and waits is what workers report, if frontends do not. */
function flowOf({ traffic, spec }: SnapshotInputs, services: readonly ServiceView[]): FlowView {
  const entry = services.find(({ isEntry }) => isEntry)?.instances ?? [];
  const workers = services.filter(({ role }) => role !== 'frontend' && role !== 'planner');
  const instances = workers.flatMap((service) => service.instances);
  const own = traffic?.flow ?? {};
  // Without a frontend the entry is a service of the user, which counts its own requests.
  const counted = spec === undefined ? instances : entry;
  return {
    requestsPerSecond: own.requestsPerSecond ?? sumOf(counted, ({ flow }) => flow.requestsPerSecond),
    running: own.running ?? sumOf(counted, ({ flow }) => flow.running),
    queued: sumOf([own.queued, sumOf(instances, ({ flow }) => flow.queued)], (value) => value),
    inputTokensPerSecond: own.inputTokensPerSecond,
    outputTokensPerSecond: own.outputTokensPerSecond,
  };
}

/** All caches together. */
function kvOf(instances: readonly InstanceView[], hitRate: number | undefined): KvView {
  const known = instances.filter(({ kv }) => kv.usage !== undefined && kv.totalBlocks !== undefined);
  const usedBlocks = sumOf(instances, ({ kv }) => kv.usedBlocks);
  const totalBlocks = sumOf(known, ({ kv }) => kv.totalBlocks);
  const weighted = sumOf(known, ({ kv }) => (kv.usage ?? 0) * (kv.totalBlocks ?? 0));
  return {
    usedBlocks,
    totalBlocks,
    usage:
      totalBlocks !== undefined && totalBlocks > 0
        ? (weighted ?? 0) / totalBlocks
        : meanOf(instances, ({ kv }) => kv.usage),
    hitRate: hitRate ?? meanOf(instances, ({ kv }) => kv.hitRate),
  };
}

function warningsOf({ sources, warnings, isGone, run }: SnapshotInputs, services: readonly ServiceView[]): string[] {
  const failed = sources
    .filter(({ state }) => state === 'failed')
    .map(({ name, message }) => `${name} cannot be read${message === undefined ? '' : `: ${message}`}`);
  const short = isGone
    ? []
    : services
        .filter(({ desired, ready }) => run?.phase === 'ready' && desired !== undefined && desired > 0 && ready === 0)
        .map(({ name }) => `${name} has no ready worker`);
  return [...(isGone ? ['the graph has ended'] : []), ...failed, ...short, ...warnings];
}

type PointInputs = Pick<DashboardSnapshot, 'atMs' | 'flow' | 'ttft' | 'itl' | 'kv' | 'services'>;

function pointOf({ atMs, flow, ttft, itl, kv, services }: PointInputs): HistoryPoint {
  const instances = services.flatMap((service) => service.instances);
  const values: Record<SeriesName, number | undefined> = {
    requestsPerSecond: flow.requestsPerSecond,
    running: flow.running,
    queued: flow.queued,
    outputTokensPerSecond: flow.outputTokensPerSecond,
    ttftP50Ms: ttft?.p50Ms ?? ttft?.meanMs,
    ttftP95Ms: ttft?.p95Ms,
    itlP50Ms: itl?.p50Ms ?? itl?.meanMs,
    itlP95Ms: itl?.p95Ms,
    kvUsage: kv.usage,
    hitRate: kv.hitRate,
    transferBytesPerSecond: sumOf(instances, ({ transfers }) => transfers?.bytesPerSecond),
    readyInstances: services.reduce((sum, { ready }) => sum + ready, 0),
  };
  const entries = SERIES.map((name) => [name, Number.isFinite(values[name]) ? values[name] : null]);
  return { time: atMs / MS_PER_SECOND, values: Object.fromEntries(entries) as HistoryPoint['values'] };
}

/** What a page shows, from all that is known at one time. Names, reasons and other strings pass through unchanged. */
export function snapshot(inputs: SnapshotInputs): DashboardSnapshot {
  const { sequence, atMs, name, run, isGone, traffic, decisions, traces, sources, canTrace } = inputs;
  const services = servicesOf(inputs);
  const instances = services.flatMap((service) => service.instances);
  const flow = flowOf(inputs, services);
  const kv = kvOf(instances, traffic?.hitRate);
  const latencies = { ttft: traffic?.ttft, itl: traffic?.itl };
  const phase = isGone ? 'gone' : (run?.phase ?? 'unknown');
  return {
    schema: 'dynamo-node.dashboard/v1',
    sequence,
    atMs,
    graph: {
      name: run?.graph ?? name,
      phase,
      startedAtMs: run === undefined ? undefined : Date.parse(run.startedAt),
      urls: run?.urls ?? inputs.frontends.map(({ url }) => url),
      models: traffic?.models ?? [],
    },
    services,
    edges: edgesOf(inputs, services),
    flow,
    ...latencies,
    kv,
    point: pointOf({ atMs, flow, kv, services, ...latencies }),
    decisions,
    traces,
    sources,
    warnings: warningsOf(inputs, services),
    actions: { scale: run !== undefined && !isGone, trace: canTrace, logs: run !== undefined },
  };
}
