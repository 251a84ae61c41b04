/** Opens the log with its default writer, then writes more lines than it keeps while nobody can read them. */
import { DistributedRuntime, openLog } from '../../../../lib/index.js';
import { emit } from './lines.js';

const write = console.error;
let written = 0;
let isLost = false;
console.error = (line: string): void => {
  if (line.includes('lines lost')) {
    isLost = true;
    emit('lost', { line });
  }
  // The first few are enough for whoever looks at what comes out.
  else if (written++ < 20) write(line);
};

const log = openLog({ filter: 'trace' });
const runtime = await DistributedRuntime.create({ discovery: { kind: 'mem' }, host: '127.0.0.1' });
const endpoint = runtime.endpoint<number, number>('log.worker.generate');
await endpoint.serve((value) => value);
const client = await endpoint.client();
await client.waitForInstances({ timeoutMs: 10_000 });
let rounds = 0;
for (; !isLost && rounds < 50; rounds++) {
  // The lines of a thousand calls come while nothing of JavaScript's runs.
  const answers = Array.from({ length: 1000 }, (_, index) => client.unary(index));
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500);
  await Promise.allSettled(answers);
}
emit('called', { rounds });
log.close();
await runtime.close({ timeoutMs: 5000 });
