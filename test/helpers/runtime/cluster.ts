import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RuntimeOptions } from 'dynamo-node';

export { freePort } from '../../../lib/testing/port.js';

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
