/**
 * Creates a runtime from the environment and $OPTIONS, serves with it, calls itself, receives its events, and reports
 * its configuration. $SHOW_LOG starts the log.
 */
import { DistributedRuntime, type RuntimeOptions, startLog } from '../../../../lib/index.js';
import { waitFor } from '../../wait.js';
import { emit } from './lines.js';

const options = JSON.parse(process.env['OPTIONS'] ?? 'null') as RuntimeOptions | null;
const log = process.env['SHOW_LOG'] === undefined ? undefined : startLog();
const runtime = await (options === null ? DistributedRuntime.create() : DistributedRuntime.create(options));
const endpoint = runtime.endpoint<string, string>('env.worker.generate');
await endpoint.serve((text) => text.toUpperCase());
const client = await endpoint.client();
const [instance] = await client.waitForInstances({ timeoutMs: 10_000 });
await using events = await runtime.namespace('env').subscribe<string>('ticks');
await using publisher = await runtime.namespace('env').publisher<string>('ticks');
let heard: string | undefined;
events.next().then(
  ({ value }) => (heard = value.data),
  () => {},
);
await waitFor('the event', async () => (await publisher.publish('tick'), heard));
emit('described', {
  heard,
  config: runtime.config,
  limits: runtime.limits,
  systemAddress: runtime.systemAddress,
  instance: { ...instance, instanceId: String(instance?.instanceId) },
  answer: await client.unary('hello'),
});
await runtime.close({ timeoutMs: 5000 });
log?.close();
