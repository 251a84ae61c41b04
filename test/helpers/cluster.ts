import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RuntimeOptions } from '../../lib/index.js';

/** File discovery in a folder of its own: a deployment that no other test sees. */
export function privateCluster(): { readonly dir: string; readonly options: RuntimeOptions; remove(): Promise<void> } {
  const dir = mkdtempSync(join(tmpdir(), 'dynamo-test-'));
  return {
    dir,
    options: { discovery: { kind: 'file', dir }, host: '127.0.0.1', inhibitedSeconds: 0 },
    // An event publisher that is closed as soon as it is made still registers itself in a task of its own, and leaves again.
    remove: () => rm(dir, { recursive: true, force: true, maxRetries: 5 }),
  };
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
