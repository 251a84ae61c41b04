import { join } from 'node:path';

import { expect, onTestFinished } from 'vitest';

import { Child } from './child.js';
import { root } from './project.js';

interface Usage {
  readonly files: number;
  readonly threads: number;
  readonly rssMiB: number;
}

/** Runs a process that connects and closes so often, and checks that it holds no more behind it than before. */
export async function connectAndClose(times: number, warmUp: number, timeoutMs: number): Promise<void> {
  const args = ['--expose-gc', '--import', 'tsx', join(root, 'test/lifecycle/programs/connect.ts'), String(times), String(warmUp)];
  const child = Child.start(process.execPath, args);
  onTestFinished(() => child.stop());
  const startedAt = performance.now();
  const done = await child.event('done', {}, timeoutMs);
  const [before, after] = [done['before'] as Usage, done['after'] as Usage];
  const shown = ({ files, threads, rssMiB }: Usage): string => `${files} files, ${threads} threads, ${rssMiB.toFixed(0)} MiB`;
  console.log(`connected and closed ${times} times in ${((performance.now() - startedAt) / 1000).toFixed(1)} s: ${shown(before)} before, ${shown(after)} after`);
  expect(await child.exit()).toMatchObject({ code: 0, signal: null });
  expect(after.files).toBeLessThanOrEqual(before.files + 2);
  expect(after.threads).toBeLessThanOrEqual(before.threads + 2);
  expect(after.rssMiB - before.rssMiB).toBeLessThan(32);
}
