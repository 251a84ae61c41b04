import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RuntimeOptions } from '../../lib/index.js';

/** File discovery in a folder of its own: a deployment that no other test sees. */
export function privateCluster(): { readonly dir: string; readonly options: RuntimeOptions; remove(): void } {
  const dir = mkdtempSync(join(tmpdir(), 'dynamo-test-'));
  return {
    dir,
    options: { discovery: { kind: 'file', dir }, host: '127.0.0.1', inhibitedSeconds: 0 },
    remove: () => rmSync(dir, { recursive: true, force: true }),
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
