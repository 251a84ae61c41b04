import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  computeBlockHashes,
  DistributedRuntime,
  type Endpoint,
  KvIndexer,
  KvPublisher,
  KvRouter,
  type KvRouterConfig,
  type RuntimeOptions,
  replayTrace,
} from '../../../../lib/index.js';
import { emit } from '../../runtime/programs/lines.js';

/** Each option of runtimes and routers at its greatest value, which is the argument of its case. */

const MAX = Number.MAX_SAFE_INTEGER;
const BLOCK = 2 ** 20;
const LONGEST_SECONDS = 2 ** 31 - 1;
const folder = process.argv[2] as string;
const trace = join(folder, 'trace.jsonl');
writeFileSync(trace, '{"timestamp":0,"input_length":100,"output_length":5,"hash_ids":[1]}\n');

async function withEndpoint(use: (endpoint: Endpoint) => unknown, options: RuntimeOptions = {}): Promise<void> {
  const runtime = await DistributedRuntime.create({ discovery: { kind: 'mem' }, host: '127.0.0.1', ...options });
  try {
    await use(runtime.endpoint('greatest.worker.generate'));
  } finally {
    await runtime.close({ timeoutMs: 1000 });
  }
}

const serve = (option: string) => (value: number) =>
  withEndpoint(async (endpoint) => {
    await endpoint.serve((request) => request, { [option]: value });
    const client = await endpoint.client();
    await client.waitForInstances();
    await client.unary('once');
  });
const route = (field: keyof KvRouterConfig) => (value: number) =>
  withEndpoint(async (endpoint) => {
    await endpoint.serve((request) => request);
    const config = { [field]: value, ...(field === 'router_ttl_secs' ? { use_kv_events: false } : {}) };
    await (await KvRouter.create(endpoint, { blockSize: 16, config })).close();
  });
const replay = (changes: (value: number) => { workers?: number; traceBlockSize?: number }) => async (value: number) => {
  const { workers = 1, ...others } = changes(value);
  const engine = { engine: { backend: 'vllm', block_size: 64, num_gpu_blocks: 16_384 } };
  await replayTrace({ trace, pool: { kind: 'aggregated', workers, engine }, ...others });
};
const index = (kind: 'concurrent' | 'positional', option: string) => async (value: number) => {
  await using indexer = new KvIndexer({ blockSize: 16, kind, [option]: value });
  await indexer.findMatches([1n, 2n]);
};

const cases: readonly [name: string, greatest: number, use: (value: number) => unknown][] = [
  ['workerThreads', 256, (workerThreads) => withEndpoint(() => {}, { workerThreads })],
  ['concurrency', MAX, serve('concurrency')],
  ['maxQueued', MAX, serve('maxQueued')],
  ['maxQueuedBytes', MAX, serve('maxQueuedBytes')],
  ['highWaterBytes', MAX, serve('highWaterBytes')],
  ['hash blockSize', BLOCK, (value) => computeBlockHashes([1, 2, 3], value)],
  ['indexer blockSize', BLOCK, (blockSize) => new KvIndexer({ blockSize }).findMatchesForTokens([1, 2, 3])],
  ['indexer threads', 256, index('concurrent', 'threads')],
  ['indexer jumpSize', MAX, index('positional', 'jumpSize')],
  [
    'router blockSize',
    BLOCK,
    (blockSize) => withEndpoint(async (endpoint) => KvRouter.create(endpoint, { blockSize })),
  ],
  [
    'publisher blockSize',
    BLOCK,
    (blockSize) => withEndpoint((endpoint) => KvPublisher.create(endpoint, { blockSize })),
  ],
  ['router_event_threads', 256, route('router_event_threads')],
  ['router_ttl_secs', LONGEST_SECONDS, route('router_ttl_secs')],
  ['router_predicted_ttl_secs', LONGEST_SECONDS, route('router_predicted_ttl_secs')],
  ['router_queue_threshold', Number.MAX_VALUE, route('router_queue_threshold')],
  ['router_temperature', Number.MAX_VALUE, route('router_temperature')],
  ['replay workers', 16_384, replay((workers) => ({ workers }))],
  ['replay traceBlockSize', BLOCK, replay((traceBlockSize) => ({ traceBlockSize }))],
];

const resultOf = async (use: () => unknown): Promise<string> => {
  try {
    await use();
    return 'accepted';
  } catch (error) {
    return String(error);
  }
};
for (const [name, greatest, use] of cases) {
  const more = greatest >= MAX ? undefined : await resultOf(() => use(greatest + 1));
  emit('tried', { name, greatest: await resultOf(() => use(greatest)), more });
}
process.exit(0);
