import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RuntimeOptions } from 'dynamo-node';

/** File discovery in its own folder: a deployment that no other test sees. */
export function privateCluster(): { readonly dir: string; readonly options: RuntimeOptions; remove(): Promise<void> } {
  const dir = mkdtempSync(join(tmpdir(), 'dynamo-test-'));
  return {
    dir,
    options: { discovery: { kind: 'file', dir }, host: '127.0.0.1', inhibitedSeconds: 0 },
    // An event publisher that is closed at once still registers itself in a separate task, and unregisters again.
    remove: () => rm(dir, { recursive: true, force: true, maxRetries: 5 }),
  };
}

let next = (process.pid * 97) % 10_000;

/** A free port, outside of the range that the system uses for connections, and not returned before. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 10_000 + (next++ % 10_000);
    const server = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false));
      server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
    });
    if (isFree) return port;
  }
}
