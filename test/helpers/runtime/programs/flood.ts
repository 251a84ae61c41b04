/**
 * flood.ts ROLE FOLDER PATH: a worker that sends 64 KiB items as fast as they are read, or its reader, which pauses on
 * command.
 */
import { DistributedRuntime, type ResponseStream } from '../../../../lib/index.js';
import { commands, emit } from './lines.js';

interface Command {
  readonly do: 'warm' | 'pause' | 'resume' | 'report' | 'close';
  readonly count?: number;
}

const [role, dir = '', path = ''] = process.argv.slice(2) as ['worker' | 'reader', string, string];
const ITEM_BYTES = 64 * 1024;

const runtime = await DistributedRuntime.create({ discovery: { kind: 'file', dir }, host: '127.0.0.1' });
const endpoint = runtime.endpoint<number, Uint8Array>(path);
let items = 0;
let most = 0;
const look = (): void => void (most = Math.max(most, process.memoryUsage.rss()));
setInterval(look, 5).unref();

async function drain(stream: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const { byteLength } of stream) {
    if (byteLength !== ITEM_BYTES) throw new Error(`an item of ${byteLength} bytes`);
    items += 1;
  }
}

if (role === 'worker') {
  const item = new Uint8Array(ITEM_BYTES).fill(7);
  await endpoint.serve(async function* (count) {
    items = 0;
    while (items < count) {
      items += 1;
      yield item;
    }
  });
}
const client = await endpoint.client();
await client.waitForInstances({ timeoutMs: 10_000 });
emit('ready');

let paused: ResponseStream<Uint8Array> | undefined;
for await (const { do: what, count = 0 } of commands<Command>()) {
  if (what === 'warm') await drain(client.generate(count));
  if (what === 'pause') {
    paused = client.generate(count);
    await paused.next();
    items = 1;
  }
  if (what === 'resume') await drain(paused as ResponseStream<Uint8Array>);
  look();
  emit(what, { items, most });
  most = 0;
  if (what === 'close') await runtime.close();
}
