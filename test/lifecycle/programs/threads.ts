import { readdirSync } from 'node:fs';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

import { DistributedRuntime } from '../../../lib/index.js';
import { emit } from '../../helpers/runtime/programs/lines.js';
import { waitFor } from '../../helpers/wait.js';

const open = (dir: string): Promise<DistributedRuntime> =>
  DistributedRuntime.create({ discovery: { kind: 'file', dir }, host: '127.0.0.1' });

async function* endless(): AsyncGenerator<number> {
  for (let index = 0; ; index++) {
    await new Promise((resolve) => setImmediate(resolve));
    yield index;
  }
}

/** A thread with a runtime, a served endpoint and two streams: one of its own endpoint and one of the main thread's. */
async function inThread(): Promise<void> {
  const { dir, number } = workerData as { dir: string; number: number };
  const runtime = await open(dir);
  const own = runtime.endpoint<null, number>(`threads.thread.generate-${number}`);
  await own.serve(endless);
  const client = await own.client();
  const main = await runtime.endpoint<null, number>('threads.main.generate').client();
  await client.waitForInstances();
  await main.waitForInstances();
  const read = async (stream: AsyncIterable<number>, told: number): Promise<void> => {
    for await (const item of stream) if (item === told) parentPort?.postMessage('streaming');
  };
  await Promise.all([read(client.generate(null), 5), read(main.generate(null), 5)]);
}

const threadsNow = (): number => readdirSync('/proc/self/task').length;
const filesNow = (): number => readdirSync('/proc/self/fd').length;

/** Starts `count` threads, a few at a time, and terminates each during its streams. */
async function inMain(count: number, dir: string): Promise<void> {
  const runtime = await open(dir);
  let running = 0;
  await runtime.endpoint<null, number>('threads.main.generate').serve(async function* () {
    running += 1;
    try {
      yield* endless();
    } finally {
      running -= 1;
    }
  });
  let started = 0;
  const lane = async (): Promise<void> => {
    while (started < count) {
      const worker = new Worker(new URL('thread.mjs', import.meta.url), { workerData: { dir, number: started++ } });
      let streaming = 0;
      await new Promise<void>((resolve, reject) => {
        worker.on('message', () => {
          if (++streaming === 2) resolve();
        });
        worker.on('error', reject);
        worker.on('exit', (code) => reject(new Error(`a thread ended by itself with ${code}`)));
      });
      worker.removeAllListeners('exit');
      await worker.terminate();
    }
  };
  await Promise.all([lane(), lane(), lane()].slice(0, Math.min(3, count)));
  await waitFor(
    'the handlers of the main thread',
    () => running,
    (left) => left === 0,
    20_000,
  );
  await waitFor(
    'the instances',
    () => runtime.instances(),
    (instances) => instances.length === 1,
    30_000,
  );
  const threads = await waitFor('the threads of the process', threadsNow, (now) => now < 60, 20_000);
  await runtime.close();
  emit('done', { started, threads, files: filesNow() });
}

if (isMainThread) await inMain(Number(process.argv[2]), process.argv[3] as string);
else await inThread();
