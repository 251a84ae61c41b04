import type { DistributedRuntime } from 'dynamo-node';
import { onTestFinished } from 'vitest';

import { type Child, pythonPeer } from '../child.js';
import { temporaryFolder, testRuntime } from '../runtime/runtime.js';

/** A runtime, and a Python process that publishes or receives forward-pass metrics at an endpoint. */
export async function eventPeers(
  role: 'publish' | 'receive',
  path: string,
): Promise<{ runtime: DistributedRuntime; python: Child }> {
  const folder = temporaryFolder();
  const runtime = await testRuntime({ discovery: { kind: 'file', dir: folder } });
  const python = pythonPeer('events.py', [role, path], folder);
  onTestFinished(() => python.stop());
  await python.event('ready');
  return { runtime, python };
}
