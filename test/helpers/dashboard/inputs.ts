import type { InstanceFigures, SnapshotInputs } from '../../../lib/dashboard/inputs.js';
import type { RunState, WorkerStatus } from '../../../lib/deploy/local/run-folder.js';
import type { GraphSpec, ServiceSpec } from '../../../lib/sdk/graph-spec.js';

/** What a test changes in the invented graph. */
export interface InventedGraph {
  /** Workers of the decode service. */
  readonly instances?: number;
  readonly hostile?: boolean;
}

/** A name that would run as script or change the terminal if it were more than data. */
export const HOSTILE_TEXT = '<img src=x onerror="document.title=1">\u001b[31m"\'&</script>';

const serviceSpec = (name: string, role: ServiceSpec['role'], fields: Partial<ServiceSpec> = {}): ServiceSpec => ({
  name,
  namespace: 'dynamo',
  component: name.toLowerCase(),
  role,
  program: role === 'frontend' ? 'frontend' : role === 'planner' ? 'planner' : 'engine',
  endpoints: [],
  dependencies: [],
  resources: { gpu: 0 },
  workers: 1,
  env: {},
  labels: {},
  config: {},
  ...fields,
});

export const inventedSpec = (): GraphSpec => ({
  schema: 'dynamo-node.graph/v1',
  name: 'llm',
  entry: 'Frontend',
  services: [
    serviceSpec('Decode', 'decode'),
    serviceSpec('Prefill', 'prefill'),
    serviceSpec('Planner', 'planner'),
    serviceSpec('Frontend', 'frontend', {
      dependencies: [
        { property: 'decode', service: 'Decode', mode: 'kv' },
        { property: 'prefill', service: 'Prefill', mode: 'kv' },
      ],
    }),
  ],
});

const worker = (service: string, number: number, fields: Partial<WorkerStatus> = {}): WorkerStatus => ({
  number,
  phase: 'ready',
  pid: 1000 + number,
  restarts: 0,
  log: `/nowhere/${service}-${number}.log`,
  ...fields,
});

export function inventedRun({ instances = 2, hostile = false }: InventedGraph = {}): RunState {
  const reason = hostile ? HOSTILE_TEXT : 'its process ended with code 1';
  const decode = Array.from({ length: instances }, (_, number) =>
    worker('Decode', number, {
      instanceId: String(9000n + BigInt(number)),
      ...(number === 1 ? { phase: 'backing-off', restarts: 3, reason, instanceId: undefined } : {}),
    }),
  );
  return {
    schema: 'dynamo-node.run/v1',
    graph: hostile ? HOSTILE_TEXT : 'llm',
    pid: 1,
    supervisor: { pid: 1, startTime: '1' } as unknown as RunState['supervisor'],
    file: '/nowhere/graph.ts',
    startedAt: '2026-01-01T00:00:00.000Z',
    phase: 'ready',
    urls: [hostile ? 'javascript:document.title=1' : 'http://127.0.0.1:8000'],
    services: [
      { name: 'Decode', desired: instances, workers: decode },
      { name: 'Prefill', desired: 1, workers: [worker('Prefill', 0, { instanceId: '8000' })] },
      { name: 'Planner', desired: 1, workers: [worker('Planner', 0)] },
      {
        name: 'Frontend',
        desired: 1,
        workers: [worker('Frontend', 0, { url: hostile ? 'javascript:document.title=1' : 'http://127.0.0.1:8000' })],
      },
    ],
  };
}

const figuresOfDecode = (number: number, tick: number): InstanceFigures => ({
  flow: { running: 3 + ((number + tick) % 5), queued: number % 3, requestsPerSecond: 2 + (tick % 4) },
  kv: { usedBlocks: 100 + ((number * 37 + tick * 11) % 800), hitRate: 0.25 + (number % 4) / 10 },
  lastTtftMs: 80 + (number % 40),
  lastItlMs: 9 + (number % 5),
  passMs: 12,
  metricsAgeMs: 300,
  transfers: {
    count: 40 + tick,
    failures: 0,
    bytes: 5e8 + tick * 1e7,
    bytesPerSecond: 1e7,
    meanMs: 4.5,
    bandwidth: 2.4e9,
    transport: 'NIXL',
  },
});

/** Inputs of a snapshot: a disaggregated graph with a frontend and a planner, and a decision and a trace. */
export function inventedInputs(sequence: number, atMs: number, graph: InventedGraph = {}): SnapshotInputs {
  const run = inventedRun(graph);
  const { hostile = false } = graph;
  const words = hostile ? HOSTILE_TEXT : 'the queue grows';
  const decode = run.services[0]?.workers ?? [];
  return {
    sequence,
    atMs,
    name: 'llm',
    spec: inventedSpec(),
    run,
    isGone: false,
    instances: decode.flatMap(({ instanceId }) =>
      instanceId === undefined
        ? []
        : [{ namespace: 'dynamo', component: 'decode', endpoint: 'generate', instanceId, address: '127.0.0.1:4000' }],
    ),
    frontends: [],
    figures: new Map(decode.map(({ number }) => [`Decode#${number}`, figuresOfDecode(number, sequence)])),
    traffic: {
      flow: { requestsPerSecond: 12.5, running: 7, queued: 2, inputTokensPerSecond: 9000, outputTokensPerSecond: 700 },
      ttft: { meanMs: 95, p50Ms: 90, p95Ms: 180 },
      itl: { meanMs: 11, p50Ms: 10, p95Ms: 19 },
      hitRate: 0.4,
      models: [hostile ? HOSTILE_TEXT : 'tiny-llama'],
      blockSizes: { 'tiny-llama': 16 },
      totalBlocks: { 'tiny-llama': 1000 },
    },
    decisions: [
      {
        tick: 7,
        atMs: atMs - 5000,
        outcome: 'scaled',
        pools: [{ role: 'decode', desired: 2, ready: 2, target: 3 }],
        reasons: [{ role: 'decode', code: 'demand', text: words }],
        errors: [],
      },
    ],
    traces: [
      {
        id: 'f5a4d6b0-0000-4000-8000-000000000001',
        atMs: atMs - 2000,
        model: 'tiny-llama',
        outcome: 'ok',
        inputTokens: 120,
        outputTokens: 32,
        cachedTokens: 64,
        ttftMs: 95,
        totalMs: 430,
        spans: [
          { name: 'request', startMs: 0, endMs: 430, source: 'client', isEstimate: false },
          { name: 'queue', startMs: 1, endMs: 6, source: 'frontend', isEstimate: true, detail: words },
          { name: 'prefill', startMs: 6, endMs: 80, source: 'worker', isEstimate: false, instance: 'Prefill#0' },
          { name: 'transfer', startMs: 81, endMs: 88, source: 'worker', isEstimate: false, instance: 'Decode#0' },
          { name: 'decode', startMs: 95, endMs: 428, source: 'worker', isEstimate: false, instance: 'Decode#0' },
        ],
        notes: [],
      },
    ],
    sources: [
      { name: 'supervisor', state: 'ok', sinceMs: atMs - 60_000 },
      { name: 'discovery', state: 'failed', message: words, sinceMs: atMs - 1000 },
    ],
    warnings: [],
    canTrace: true,
  };
}
