import { pack } from '../../../lib/addon/codec.js';
import { Inbox } from '../../../lib/addon/inbox.js';
import { invoke, invokeSync, native } from '../../../lib/addon/invoke.js';
import type { LLMEngine, RawEngine } from '../../../lib/index.js';
import { EngineHost, traitsOf } from '../../../lib/llm/engine-host.js';

/** Runs upstream's conformance kit against engines made by `make`; rejects with the check that failed. */
export async function runConformance(
  kit: 'token' | 'encode' | 'raw',
  make: () => LLMEngine | RawEngine,
): Promise<void> {
  const handle = invokeSync(native.conformanceInbox, 'conformance');
  const host = new EngineHost(make, kit === 'raw', {
    publishKv: () => false,
    publishLoad: () => false,
    metricsText: () => {},
  });
  const inbox = new Inbox(handle, host, { concurrency: 64 });
  const args = pack({ kit, engine: traitsOf('engine', make()) });
  await invoke(native.conformanceRun, 'conformance', { handle, args });
  await inbox.ended;
}
