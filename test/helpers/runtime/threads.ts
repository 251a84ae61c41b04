import { onTestFinished } from 'vitest';

import { Child, type Exit } from '../child.js';
import { temporaryFolder } from './runtime.js';

/** Runs a process that terminates so many of its worker_threads in mid-stream. */
export async function terminateThreads(count: number, timeoutMs: number): Promise<Exit> {
  const child = Child.program('test/lifecycle/programs/threads.ts', [String(count), temporaryFolder()]);
  onTestFinished(() => child.stop());
  const startedAt = performance.now();
  const { started, threads, files } = await child.event('done', {}, timeoutMs);
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  console.log(
    `${String(started)} threads terminated in ${seconds} s; left are ${String(threads)} threads and ${String(files)} open files`,
  );
  return child.exit();
}
