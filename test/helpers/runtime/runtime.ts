import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { DistributedRuntime, type RuntimeOptions } from 'dynamo-node';
import { onTestFinished } from 'vitest';

/** A folder for the test, removed after it. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'dynamo-node-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A runtime on loopback, closed after the test. */
export async function testRuntime(options: RuntimeOptions = {}): Promise<DistributedRuntime> {
  const runtime = await DistributedRuntime.create({ discovery: { kind: 'mem' }, host: '127.0.0.1', ...options });
  onTestFinished(() => runtime.close({ timeoutMs: 5000 }));
  return runtime;
}
