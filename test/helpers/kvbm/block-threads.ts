import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { BlocksDone, BlocksWork } from './programs/blocks.js';

/** Starts a thread that uses a manager. `done` is its result. */
export function blockThread(work: BlocksWork): { worker: Worker; done: Promise<BlocksDone> } {
  const worker = new Worker(new URL('programs/blocks.mjs', import.meta.url), { workerData: work });
  const failed = once(worker, 'error').then(([error]) => Promise.reject(error as Error));
  failed.catch(() => {});
  const done = Promise.race([once(worker, 'message').then(([message]) => message as BlocksDone), failed]);
  return { worker, done };
}
