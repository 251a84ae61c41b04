// Uses up the time for posts in a timer, sleeps, and says whether an event from outside has time again. The process
// does nothing else, so that only the event wakes its event loop.
import { once } from 'node:events';
import { MessageChannel, Worker } from 'node:worker_threads';

import { countInline, hasInlineTime } from '../../../../lib/nixl/inline.js';
import { emit } from '../../runtime/programs/lines.js';

const flags = new Int32Array(new SharedArrayBuffer(8));
const { port1, port2 } = new MessageChannel();
const later = `
  const { flags, port } = require('node:worker_threads').workerData;
  port.postMessage('ready');
  Atomics.wait(flags, 0, 0);
  Atomics.wait(flags, 1, 0, 250);
  port.postMessage('later');`;
const worker = new Worker(later, { eval: true, workerData: { flags, port: port2 }, transferList: [port2] });
await once(port1, 'message');
port1.once('message', () => {
  emit('woken', { hasTime: hasInlineTime() });
  port1.close();
  void worker.terminate();
});
setTimeout(() => {
  countInline(2e6);
  Atomics.store(flags, 0, 1);
  Atomics.notify(flags, 0);
}, 20);
