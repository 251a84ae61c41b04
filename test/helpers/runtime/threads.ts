import { onTestFinished } from 'vitest';

import { Child, type Exit } from '../child.js';
import { temporaryFolder } from './runtime.js';

/** Runs a process that terminates `count` of its worker_threads during their streams. */
export async function terminateThreads(count: number, timeoutMs: number): Promise<Exit> {
  const child = Child.program('test/lifecycle/programs/threads.ts', [String(count), temporaryFolder()]);
  onTestFinished(() => child.stop());
  const startedAt = performance.now();
  const { started, threads, files } = await child.event('done', {}, timeoutMs);
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  console.log(
    `${String(started)} threads terminated in ${seconds} s; ` +
      `${String(threads)} threads and ${String(files)} open files remain`,
  );
  return child.exit();
}
