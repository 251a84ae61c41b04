/** Starts the log with its default writer, then writes more lines than it keeps while JavaScript does not run. */
import { DistributedRuntime, startLog } from '../../../../lib/index.js';
import { emit } from './lines.js';

const write = console.error;
let written = 0;
let isLost = false;
console.error = (line: string): void => {
  if (line.includes('lines lost')) {
    isLost = true;
    emit('lost', { line });
  }
  // The first few lines are enough for the test.
  else if (written++ < 20) write(line);
};

const log = startLog({ filter: 'trace' });
const runtime = await DistributedRuntime.create({ discovery: { kind: 'mem' }, host: '127.0.0.1' });
const endpoint = runtime.endpoint<number, number>('log.worker.generate');
await endpoint.serve((value) => value);
const client = await endpoint.client();
await client.waitForInstances({ timeoutMs: 10_000 });
let rounds = 0;
for (; !isLost && rounds < 50; rounds++) {
  // The lines of a thousand calls arrive while no JavaScript runs.
  const answers = Array.from({ length: 1000 }, (_, index) => client.unary(index));
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500);
  await Promise.allSettled(answers);
}
emit('called', { rounds });
log.close();
await runtime.close({ timeoutMs: 5000 });
