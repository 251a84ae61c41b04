// Loads a library with only the required functions, and prints the results of calls that need others. Usage: bare.ts
// PATH
import { loadNixl, NixlAgent, type NixlError } from 'dynamo-node';

import { emit } from '../../runtime/programs/lines.js';

const library = loadNixl({ path: process.argv[2] as string });
const agent = await NixlAgent.create(`bare-${process.pid}`, { library, telemetry: true });
const [from, to] = [await agent.allocate(4096), await agent.allocate(4096)];
const address = { host: '127.0.0.1', port: 9 };

(from.view as Uint8Array).fill(7);
await agent.write(from, to, { notify: 'there' });
const byte = (to.view as Uint8Array)[4095];
const { value: note } = await agent.notifications().next();
const prepared = await agent.prepare('READ', from, to);
await prepared.post();

const calls: Record<string, () => Promise<unknown>> = {
  blocks: () => agent.blocks(from, 1024),
  partial: () => agent.metadata({ regions: [from] }),
  sent: () => agent.sendMetadata(address),
  sentPart: () => agent.sendMetadata(address, { regions: [from] }),
  fetched: () => agent.fetch('unknown', address, { timeoutMs: 5000 }),
  withdrawn: () => agent.withdrawMetadata(address),
  telemetry: () => prepared.telemetry(),
  estimate: () => prepared.estimate(),
  query: () => agent.queryMemory('FILE', ['/'], 'UCX'),
  custom: () => agent.write(from, to, { customParam: 'worker_id=0' }),
};
const ends: Record<string, unknown> = {};
for (const [name, call] of Object.entries(calls)) {
  ends[name] = await call().then(
    () => 'done',
    ({ code, reason, message }: NixlError) => ({ code, reason, message }),
  );
}
const metadata = (await agent.metadata()).length;
const { leaked } = await agent.close();
emit('done', {
  kind: library.kind,
  functions: library.functions,
  features: library.features,
  byte,
  note: Buffer.from(note.data).toString(),
  metadata,
  ends,
  leaked,
});
