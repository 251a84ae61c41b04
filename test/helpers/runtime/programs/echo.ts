/** echo.ts FOLDER PATH: returns each item of a stream of requests. A signal ends it after the running requests. */
import { closeOnSignal, DistributedRuntime } from '../../../../lib/index.js';
import { emit } from './lines.js';

const [dir, path] = process.argv.slice(2) as [string, string];
const runtime = await DistributedRuntime.create({ discovery: { kind: 'file', dir }, host: '127.0.0.1' });
await runtime.endpoint<number, number>(path).serveBidirectional(async function* (requests) {
  for await (const request of requests) yield request;
});
closeOnSignal(() => runtime.close());
emit('ready');
