import { Worker } from 'node:worker_threads';
import { round } from './stats.js';

const ROUNDS = 5000;

const echo = `
const { workerData } = require('node:worker_threads');
const words = new Int32Array(workerData);
for (let round = 1; round <= ${ROUNDS}; round++) {
  Atomics.wait(words, 0, round - 1);
  Atomics.store(words, 1, round);
  Atomics.notify(words, 1);
}`;

/**
 * Measures the time from the wake-up of a sleeping thread until it runs, in microseconds. Two threads wake each other
 * in turn. A call to another thread and back pays this time twice.
 */
export async function wakeMicros(): Promise<number> {
  const words = new Int32Array(new SharedArrayBuffer(8));
  const worker = new Worker(echo, { eval: true, workerData: words.buffer });
  await new Promise<void>((resolve) => worker.once('online', () => resolve()));
  const begin = performance.now();
  for (let turn = 1; turn <= ROUNDS; turn++) {
    Atomics.store(words, 0, turn);
    Atomics.notify(words, 0);
    Atomics.wait(words, 1, turn - 1);
  }
  const micros = ((performance.now() - begin) * 1000) / ROUNDS / 2;
  await worker.terminate();
  return round(micros);
}
