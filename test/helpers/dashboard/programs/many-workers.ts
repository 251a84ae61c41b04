import { readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DistributedRuntime, ForwardPassPublisher } from 'dynamo-node';
import { startControl } from '../../../../lib/deploy/local/control.js';
import { RunFolder, type RunState } from '../../../../lib/deploy/local/run-folder.js';
import { inventedRun, inventedSpec } from '../inputs.js';

// Stands in for a graph with many workers: node many-workers.ts RUNS COUNT PASSES_A_SECOND. It has the socket
// of a supervisor, the metrics of a frontend, and a forward-pass publisher for each worker.

const [runs = '', countText = '', rateText = ''] = process.argv.slice(2);
const [count, passesPerSecond] = [Number(countText), Number(rateText)];
const NAME = 'many';
const FIRST_ID = 9000;
const RENEW_MS = 2000;

const folder = RunFolder.take(runs, NAME);
const runtimeOptions = { discovery: { kind: 'file', dir: folder.discovery }, host: '127.0.0.1' } as const;

/** As long as those of a frontend that knows as many workers. */
function metricsText(): string {
  const seconds = performance.now() / 1000;
  const lines = [
    `dynamo_frontend_requests_started_total{model="m"} ${Math.floor(seconds * 50)}`,
    `dynamo_frontend_active_requests{model="m"} 40`,
    `dynamo_frontend_output_tokens_total{model="m"} ${Math.floor(seconds * 5000)}`,
    'dynamo_frontend_model_total_kv_blocks{model="m"} 10000',
  ];
  for (const name of ['time_to_first_token_seconds', 'inter_token_latency_seconds', 'request_duration_seconds']) {
    for (const bound of [0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, '+Inf'])
      lines.push(`dynamo_frontend_${name}_bucket{model="m",le="${bound}"} ${Math.floor(seconds * 50)}`);
    lines.push(`dynamo_frontend_${name}_sum{model="m"} ${seconds}`);
    lines.push(`dynamo_frontend_${name}_count{model="m"} ${Math.floor(seconds * 50)}`);
  }
  const gauges = ['active_decode_blocks', 'active_prefill_tokens', 'last_time_to_first_token_seconds'];
  for (const gauge of [...gauges, 'last_input_sequence_tokens', 'last_inter_token_latency_seconds'])
    for (let worker = 0; worker < count; worker++)
      lines.push(
        `dynamo_frontend_worker_${gauge}{dp_rank="0",worker_id="${FIRST_ID + worker}",worker_type="decode"} 0.5`,
      );
  return `${lines.join('\n')}\n`;
}

const server = createServer((_, response) => void response.end(metricsText()));
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

const runtime = await DistributedRuntime.create(runtimeOptions);
const endpoint = runtime.endpoint('dynamo.decode.generate');
await endpoint.serve(async function* () {
  yield 1;
});
const publishers = await Promise.all(
  Array.from({ length: count }, (_, worker) =>
    ForwardPassPublisher.create(endpoint, { workerId: String(FIRST_ID + worker) }),
  ),
);

/** Registers each worker under its own id: one runtime has one. */
function registered(): string[] {
  const instances = join(folder.discovery, 'v1', 'instances');
  const ownId = runtime.instanceId.toString(16);
  const own = readdirSync(instances).find((name) => name.endsWith(ownId)) ?? '';
  const text = readFileSync(join(instances, own), 'utf8');
  return Array.from({ length: count }, (_, worker) => {
    const file = join(instances, own.replace(ownId, (FIRST_ID + worker).toString(16)));
    writeFileSync(file, text.replaceAll(String(runtime.instanceId), String(FIRST_ID + worker)));
    return file;
  });
}

// A file that is not touched is no instance any longer.
const files = registered();
setInterval(() => {
  const now = new Date();
  for (const file of files) utimesSync(file, now, now);
}, RENEW_MS);

/** Each worker has metrics that change, as those that real workers report. */
function state(): RunState {
  const seconds = performance.now() / 1000;
  const run = inventedRun({ instances: count });
  const metrics = {
    requests: Math.floor(seconds * 10),
    requestsInFlight: 4,
    outputTokens: 0,
    firstTokenSeconds: 0,
    firstTokens: 0,
    kvTotalBlocks: 1000,
    kvUsage: 0.5,
    transfers: Math.floor(seconds * 10),
    transferFailures: 0,
    transferBytes: Math.floor(seconds * 1e7),
    transferSeconds: seconds / 10,
  };
  const services = run.services.map((service) => ({
    ...service,
    workers: service.workers.map((worker) => ({
      ...worker,
      ...(service.name === 'Decode' ? { metrics, instanceId: String(FIRST_ID + worker.number) } : {}),
      ...(service.name === 'Frontend' ? { url } : {}),
    })),
  }));
  return { ...run, graph: NAME, supervisor: folder.owner, urls: [url], services };
}

folder.writeState(state());
folder.writeGraph({ spec: inventedSpec(), runtime: runtimeOptions });
const control = await startControl(folder.socket, async () => ({ state: state() }));

process.on('SIGTERM', () => process.exit(0));
console.log(JSON.stringify({ event: 'ready', url }));

for (;;) {
  for (const publisher of publishers)
    publisher.publish({
      wallTimeSeconds: 0.02,
      scheduled: {
        decodeRequests: 8,
        decodeKvTokens: 4096,
        prefillRequests: 1,
        prefillTokens: 512,
        prefillKvTokens: 256,
      },
      queued: { prefillRequests: 1, prefillTokens: 512 },
    });
  await sleep(1000 / passesPerSecond);
  if (!control.listening) break;
}
