import { setTimeout as sleep } from 'node:timers/promises';
import type { DistributedRuntime } from '../../runtime/distributed-runtime.js';
import { leaveDiscovery } from '../../sdk/host/leave.js';
import type { StartPlanner } from '../../sdk/host/started.js';
import type { RunningService } from '../../sdk/host.js';
import { loadGraph } from '../load-graph.js';
import { shownError } from './shown-error.js';
import type { FromWorker, ToWorker } from './worker-messages.js';
import { metricsFrom } from './worker-metrics.js';
import { readWorkerSpec } from './worker-spec.js';

// One worker of a service, started by the supervisor: node worker.js SPEC_FILE.

const [specFile = ''] = process.argv.slice(2);
// The supervisor gives callers time to notice that a worker leaves, by `lingerMs`. Dynamo need not do so again.
process.env['DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS'] ??= '0';
const spec = readWorkerSpec(specFile);

/** `loadGraph` replaces `process.exit` while the module of the graph is loaded. */
const exit: (code: number) => never = process.exit.bind(process);

let runtime: DistributedRuntime | undefined;
let running: RunningService | undefined;
let isDraining = false;

const report = (message: FromWorker): Promise<void> =>
  new Promise((resolve) => {
    if (!process.connected) return resolve();
    process.send?.(message, () => resolve());
  });

async function fail(error: unknown): Promise<never> {
  console.error(shownError(error, (process.env['DYNAMO_DEBUG'] ?? '') !== ''));
  await report({ type: 'failed', message: error instanceof Error ? error.message : String(error) });
  exit(1);
}

async function drain(timeoutMs: number, lingerMs: number): Promise<void> {
  if (isDraining) return;
  isDraining = true;
  try {
    if (runtime !== undefined && running !== undefined && lingerMs > 0) {
      await leaveDiscovery(runtime, running).catch(() => {});
      await sleep(lingerMs);
    }
    await running?.close({ timeoutMs: Math.max(1, timeoutMs - lingerMs) });
    await runtime?.close();
    exit(0);
  } catch (error) {
    await fail(error);
  }
}

/** The metrics of the runtime. Those of a frontend are only on its own server. */
async function measure(): Promise<void> {
  if (runtime === undefined || isDraining) return;
  const { url, service } = running ?? {};
  const own = runtime.metricsText();
  const isFrontend = url !== undefined && service?.program.kind === 'frontend';
  const text = isFrontend ? `${own}\n${await (await fetch(`${url}/metrics`)).text()}` : own;
  await report({ type: 'metrics', metrics: metricsFrom(text) });
}

async function recall(requestId: string): Promise<void> {
  const { servedRequests } = await import('../../llm/served-requests.js');
  await report({ type: 'recalled', requestId, phases: servedRequests.find(requestId) });
}

const released = new Promise<void>((resolve) => {
  process.on('message', (message: ToWorker) => {
    if (message.type === 'start') resolve();
    if (message.type === 'measure') void measure().catch(() => {});
    if (message.type === 'recall') void recall(message.requestId);
    if (message.type === 'drain') void drain(message.timeoutMs, message.lingerMs);
  });
});

const GRACE_MS = 30_000;

// The supervisor is gone: nothing may outlive it.
process.on('disconnect', () => exit(1));
process.stdin
  .on('end', () => exit(1))
  .on('error', () => exit(1))
  .resume();
process.on('SIGTERM', () => void drain(GRACE_MS, 0));
process.on('uncaughtExceptionMonitor', (error) => void report({ type: 'failed', message: error.message }));

try {
  const { graph: file, exportName, service, worker, config } = spec;
  // Before the graph: with a loader of TypeScript, each further module costs more.
  const [host, { DistributedRuntime }, { servedRequests }] = await Promise.all([
    import('../../sdk/host.js'),
    import('../../runtime/distributed-runtime.js'),
    import('../../llm/served-requests.js'),
  ]);
  const { graph } = await loadGraph(exportName === undefined ? file : `${file}:${exportName}`, process.cwd());
  servedRequests.enable();
  runtime = await DistributedRuntime.create(spec.runtime);
  await released;
  const startPlanner: StartPlanner = async (...planner) =>
    (await import('../planner-host.js')).startPlanner(spec.folder, ...planner);
  running = await host.startService(runtime, graph, service, { worker, config, startPlanner });
  await report({ type: 'ready', url: running.url, instanceId: String(runtime.instanceId) });
  await running.ended;
  if (!isDraining) await fail(new Error(`service ${service} has ended`));
} catch (error) {
  if (!isDraining) await fail(error);
}
