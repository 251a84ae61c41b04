/** reader.ts FOLDER PATH COUNT: reads COUNT streams of an endpoint concurrently, until it is killed. */
import { DistributedRuntime } from '../../../../lib/index.js';
import { emit } from './lines.js';

const [dir, path, count] = process.argv.slice(2) as [string, string, string];
const runtime = await DistributedRuntime.create({ discovery: { kind: 'file', dir }, host: '127.0.0.1' });
const client = await runtime.endpoint<null, number>(path).client();
await client.waitForInstances();
let started = 0;
await Promise.all(
  Array.from({ length: Number(count) }, async () => {
    for await (const item of client.generate(null)) {
      if (item === 0 && ++started === Number(count)) emit('reading');
    }
  }),
);
