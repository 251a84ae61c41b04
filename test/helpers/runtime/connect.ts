import { join } from 'node:path';

import { expect, onTestFinished } from 'vitest';

import { Child } from '../child.js';
import { root } from '../project.js';

interface Usage {
  readonly files: number;
  readonly threads: number;
  readonly rssMiB: number;
}

/**
 * The memory that dynamo-runtime 1.6.1 never returns after an open and a close, with a margin. It is a ratchet, not a
 * goal. The Python wheel links the same crate. It keeps 6.8 KiB of a client, and 1.7 MiB and a socket of a runtime that
 * has had one. The socket is the listener of tcp/server.rs, which accepts until the process ends.
 */
const KEPT = {
  clients: { files: 0, kibibytes: 12 },
  runtimes: { files: 1, kibibytes: 2048 },
} as const;

/** Runs a process that connects and closes `times` times, and checks what it still uses afterwards. */
export async function connectAndClose(
  what: keyof typeof KEPT,
  times: number,
  warmUp: number,
  timeoutMs: number,
): Promise<void> {
  const args = [
    '--expose-gc',
    '--import',
    'tsx',
    join(root, 'test/lifecycle/programs/connect.ts'),
    what,
    String(times),
    String(warmUp),
  ];
  const child = Child.start(process.execPath, args);
  onTestFinished(() => child.stop());
  const startedAt = performance.now();
  const done = await child.event('done', {}, timeoutMs);
  const [before, after] = [done['before'] as Usage, done['after'] as Usage];
  const shown = ({ files, threads, rssMiB }: Usage): string =>
    `${files} files, ${threads} threads, ${rssMiB.toFixed(0)} MiB`;
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  const each = ((after.rssMiB - before.rssMiB) * 1024) / times;
  console.log(
    `${times} ${what} connected and closed in ${seconds} s: ` +
      `${shown(before)} before, ${shown(after)} after, ${each.toFixed(1)} KiB each`,
  );
  expect(await child.exit()).toMatchObject({ code: 0, signal: null });
  const { files, kibibytes } = KEPT[what];
  expect(after.files).toBeLessThanOrEqual(before.files + files * times + 2);
  expect(after.threads).toBeLessThanOrEqual(before.threads + 2);
  expect(after.rssMiB - before.rssMiB).toBeLessThan(32 + (kibibytes * times) / 1024);
}
