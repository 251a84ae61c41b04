import type {
  DashboardSnapshot,
  DecisionView,
  HistoryPoint,
  HistoryView,
  InstancePhase,
  InstanceView,
  SeriesName,
  ServiceView,
  TraceView,
  ViewRole,
} from '../../../lib/dashboard/view.js';
import { SERIES } from '../../../lib/dashboard/view.js';

/** Texts that run a script if a page takes them for markup. */
export const HOSTILE = {
  service: '<img src=x onerror=alert(1)>',
  line: '<script>alert(2)</script><svg onload=alert(3)>',
  model: '"><iframe srcdoc="<script>alert(4)</script>">',
  url: 'javascript:alert(5)',
  reason: '{{constructor.constructor("alert(6)")()}}',
} as const;

/** When the invented snapshots begin, in milliseconds since 1970. */
const START_MS = Date.UTC(2026, 8, 14, 10, 0, 0);
const HISTORY_SECONDS = 300;

/** A wave that never repeats exactly, between 0 and 1, so that charts look like measurements. */
const wave = (second: number, period: number): number =>
  0.5 + 0.3 * Math.sin((2 * Math.PI * second) / period) + 0.2 * Math.sin(second / 3.7) * Math.cos(second / 1.3);

function valuesAt(second: number): Record<SeriesName, number> {
  const load = wave(second, 140);
  return {
    requestsPerSecond: 3 + 9 * load,
    running: Math.round(4 + 22 * load),
    queued: Math.round(Math.max(0, 14 * load - 7)),
    outputTokensPerSecond: 300 + 1900 * load,
    ttftP50Ms: 90 + 180 * load,
    ttftP95Ms: 220 + 700 * load * load,
    itlP50Ms: 11 + 6 * load,
    itlP95Ms: 17 + 18 * load,
    kvUsage: 0.3 + 0.5 * load,
    hitRate: 0.62 - 0.25 * load,
    transferBytesPerSecond: 4e8 * load + 5e7,
    readyInstances: 6,
  };
}

const pointAt = (second: number): HistoryPoint => ({ time: START_MS / 1000 + second, values: valuesAt(second) });

/** The history of the invented graph until a second. */
export function sceneHistory(second: number): HistoryView {
  const seconds = Array.from({ length: HISTORY_SECONDS }, (_, index) => second - HISTORY_SECONDS + 1 + index);
  const points = seconds.map(pointAt);
  return {
    intervalMs: 1000,
    capacity: HISTORY_SECONDS,
    times: points.map(({ time }) => time),
    series: Object.fromEntries(SERIES.map((name) => [name, points.map(({ values }) => values[name])])) as Record<
      SeriesName,
      (number | null)[]
    >,
  };
}

function instance(service: string, number: number, role: ViewRole, phase: InstancePhase, second: number): InstanceView {
  const load = wave(second + 17 * number, 90);
  const isEngine = role !== 'frontend' && role !== 'planner' && phase === 'ready';
  const bytes = (second + 300) * 3.1e7 * (number + 1);
  return {
    id: `${service}#${number}`,
    service,
    number,
    phase,
    pid: 48_200 + 7 * number + service.length,
    restarts: phase === 'backing-off' ? 3 : 0,
    hasLog: true,
    ...(phase === 'backing-off' ? { reason: 'exit code 1' } : {}),
    ...(isEngine ? { gpus: [String(number)], instanceId: String(7587888000 + number), passMs: 12 + 9 * load } : {}),
    flow:
      phase === 'ready' && role !== 'planner'
        ? {
            requestsPerSecond: 4 * load,
            running: Math.round(9 * load),
            queued: Math.round(3 * load * load),
            outputTokensPerSecond: isEngine ? 700 * load : 2000 * load,
          }
        : {},
    ...(isEngine ? { lastTtftMs: 90 + 400 * load, lastItlMs: 10 + 8 * load } : {}),
    kv: isEngine
      ? { usedBlocks: Math.round(4096 * load), totalBlocks: 4096, usage: load, hitRate: 0.7 - 0.4 * load }
      : {},
    ...(role === 'decode' && isEngine
      ? {
          transfers: {
            count: 900 + second * (number + 2),
            failures: number === 1 ? 2 : 0,
            bytes,
            bytesPerSecond: 1.6e8 * load,
            meanMs: 3.4 + load,
            bandwidth: 9.4e9 + 4e8 * load,
            transport: 'nixl',
          },
        }
      : {}),
  };
}

function service(name: string, role: ViewRole, phases: readonly InstancePhase[], second: number): ServiceView {
  return {
    name,
    role,
    component: `dynamo.${name.toLowerCase()}`,
    isEntry: role === 'frontend',
    desired: phases.length,
    ready: phases.filter((phase) => phase === 'ready').length,
    canScale: role === 'worker' || role === 'prefill' || role === 'decode',
    instances: phases.map((phase, number) => instance(name, number, role, phase, second)),
  };
}

function decision(tick: number): DecisionView {
  const isScaled = tick % 6 === 0;
  return {
    tick,
    atMs: START_MS + tick * 5000 - 200_000,
    outcome: tick === 3 ? 'failed' : isScaled ? 'scaled' : 'unchanged',
    pools: [
      { role: 'prefill', desired: 1, ready: 1, target: isScaled ? 2 : 1 },
      { role: 'decode', desired: 3, ready: 3, target: isScaled ? 4 : 3 },
    ],
    reasons: isScaled
      ? [
          { role: 'prefill', code: 'demand', text: '2 for the predicted demand' },
          { role: 'decode', code: 'backlog', text: '3 for the predicted demand; 1 more for requests that wait' },
        ]
      : [{ role: 'decode', code: 'hold', text: 'a smaller need has not held for two cold starts' }],
    errors: tick === 3 ? ['reading metrics: no answer within 10 s'] : [],
  };
}

function trace(number: number, model: string): TraceView {
  const scale = 1 + 0.17 * number;
  const at = (ms: number) => ms * scale;
  return {
    id: `trace-${number}`,
    atMs: START_MS + number * 11_000 - 60_000,
    model,
    outcome: number === 2 ? 'failed' : 'ok',
    ...(number === 2 ? { error: 'the worker has left before the first token' } : {}),
    inputTokens: 1842,
    outputTokens: 32,
    cachedTokens: 768,
    ttftMs: at(141),
    totalMs: at(538),
    spans: [
      { name: 'request', startMs: 0, endMs: at(538), source: 'client', isEstimate: false, instance: 'Frontend#0' },
      { name: 'queue', startMs: at(2.1), endMs: at(9.6), source: 'frontend', isEstimate: true, instance: 'Frontend#0' },
      {
        name: 'prefill',
        startMs: at(9.6),
        endMs: at(118),
        source: 'worker',
        isEstimate: false,
        instance: 'Prefill#1',
        detail: '1,074 tokens computed',
      },
      {
        name: 'transfer',
        startMs: at(118),
        endMs: at(124.5),
        source: 'worker',
        isEstimate: false,
        instance: 'Decode#2',
        detail: '68 blocks, 34 MiB',
      },
      {
        name: 'decode',
        startMs: at(124.5),
        endMs: at(538),
        source: 'derived',
        isEstimate: false,
        instance: 'Decode#2',
      },
    ],
    routing: {
      service: 'Decode',
      promptTokens: 1842,
      promptBlocks: 115,
      reason: 'the lowest cost, 71.5 against 98: 48 blocks of credit for its cache (against 12)',
      candidates: [2, 0, 1].map((worker, rank) => ({
        instance: `Decode#${worker}`,
        dpRank: 0,
        isWinner: rank === 0,
        cachedBlocks: [48, 12, 0][rank]!,
        prefill: [67, 103, 115][rank]!,
        decode: [4.5, 12, 21][rank]!,
        activeRequests: [2, 5, 8][rank]!,
        cost: [71.5, 98, 136][rank]!,
        ...(rank === 2 ? { excluded: 'overloaded' } : {}),
      })),
      source: 'Asked the router after the request; loads may have changed.',
    },
    notes: ['The time in the network is part of its neighbours.'],
  };
}

/** What differs from the plain scene. */
export interface SceneOptions {
  /** Decode workers, for a large graph. @default 4 */
  readonly decoders?: number;
  /** Names, models and reasons are markup. @default false */
  readonly isHostile?: boolean;
}

/** An invented snapshot of a disaggregated graph at a second. */
export function sceneSnapshot(
  second: number,
  { decoders = 4, isHostile = false }: SceneOptions = {},
): DashboardSnapshot {
  const decode = Array.from({ length: decoders }, (_, number): InstancePhase => {
    if (number === decoders - 1) return 'starting';
    return number > 4 && number % 23 === 0 ? 'backing-off' : 'ready';
  });
  const hostile = isHostile ? [service(HOSTILE.service, 'worker', ['ready', 'failed'], second)] : [];
  const model = isHostile ? HOSTILE.model : 'llama-3.1-8b';
  const { values } = pointAt(second);
  return {
    schema: 'dynamo-node.dashboard/v1',
    sequence: second + 1,
    atMs: START_MS + second * 1000,
    graph: {
      name: isHostile ? HOSTILE.service : 'disaggregated',
      phase: 'ready',
      startedAtMs: START_MS - 400_000,
      urls: isHostile ? [HOSTILE.url] : ['http://127.0.0.1:8000'],
      models: [model],
    },
    services: [
      service('Frontend', 'frontend', ['ready'], second),
      service('Prefill', 'prefill', ['ready', 'ready', 'draining'], second),
      service('Decode', 'decode', decode, second),
      service('Planner', 'planner', ['ready'], second),
      ...hostile,
    ],
    edges: [
      { from: 'Frontend', to: 'Prefill', kind: 'request', mode: 'kv' },
      { from: 'Frontend', to: 'Decode', kind: 'request', mode: 'kv' },
      { from: 'Prefill', to: 'Decode', kind: 'transfer' },
    ],
    flow: {
      requestsPerSecond: values.requestsPerSecond!,
      running: values.running!,
      queued: values.queued!,
      inputTokensPerSecond: 9_400,
      outputTokensPerSecond: values.outputTokensPerSecond!,
    },
    ttft: { meanMs: values.ttftP50Ms!, p50Ms: values.ttftP50Ms!, p95Ms: values.ttftP95Ms! },
    itl: { meanMs: values.itlP50Ms!, p50Ms: values.itlP50Ms!, p95Ms: values.itlP95Ms! },
    kv: { usage: values.kvUsage!, hitRate: values.hitRate! },
    point: pointAt(second),
    decisions: Array.from({ length: 24 }, (_, index) => decision(index + 1)),
    traces: Array.from({ length: 5 }, (_, index) => trace(index, model)),
    sources: [
      { name: 'supervisor', state: 'ok', sinceMs: START_MS },
      { name: 'events', state: 'ok', sinceMs: START_MS },
      { name: 'http://127.0.0.1:8000/metrics', state: 'ok', sinceMs: START_MS },
    ],
    warnings: isHostile ? [HOSTILE.reason] : [],
    actions: { scale: true, trace: true, logs: true },
  };
}
