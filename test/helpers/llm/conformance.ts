import type { LLMEngine, RawEngine } from 'dynamo-node';
import { pack } from '../../../lib/addon/codec.js';
import { Inbox } from '../../../lib/addon/inbox.js';
import { invoke, invokeSync } from '../../../lib/addon/invoke.js';
import { EngineHost, traitsOf } from '../../../lib/llm/engine-host.js';
import { testing } from '../testing-native.js';

/** Runs the upstream conformance kit with engines created by `make`. Rejects with the failed check. */
export async function runConformance(
  kit: 'token' | 'encode' | 'raw',
  make: () => LLMEngine | RawEngine,
): Promise<void> {
  const handle = invokeSync(testing.conformanceInbox, 'conformance');
  const host = new EngineHost(make, kit === 'raw', {
    publishKv: () => false,
    publishLoad: () => false,
    metricsText: () => {},
  });
  const inbox = new Inbox(handle, host, { concurrency: 64 });
  const args = pack({ kit, engine: traitsOf('engine', make()) });
  await invoke(testing.conformanceRun, 'conformance', { handle, args });
  await inbox.ended;
}
