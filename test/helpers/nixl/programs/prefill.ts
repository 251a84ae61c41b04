// A prefill worker with a KV cache in device memory. It offers the blocks of a prompt to decode workers, and frees them
// when each of them has sent its notification. Usage: prefill.ts KIND NAME DECODERS
import { createInterface } from 'node:readline';
import { NixlAgent } from 'dynamo-node';

import { deviceLibrary } from '../device.js';
import { CACHE, cacheBytes, PROMPT } from '../handover.js';

const [kind, name, decoders] = process.argv.slice(2) as ['mock' | 'ucx', string, string];

const print = (event: object): void => void process.stdout.write(`${JSON.stringify(event)}\n`);

const agent = await NixlAgent.create(name, { library: deviceLibrary(kind) });
const cache = await agent.allocate(CACHE.layers * CACHE.layerBytes, { memory: 'VRAM' });
// Memory of the same agent that no decode worker may reach.
const hidden = await agent.allocate(4096, { memory: 'VRAM' });
await cache.upload(cacheBytes());
const finished = agent.notifications({ prefix: 'done:' });

print({
  event: 'offered',
  metadata: Buffer.from(await agent.metadata({ regions: [cache] })).toString('base64'),
  address: String(cache.address),
  hidden: String(hidden.address),
  blocks: PROMPT,
});
for (let count = 0; count < Number(decoders); count++) {
  const { value } = await finished.next();
  print({ event: 'done', message: Buffer.from(value.data).toString() });
}
await cache.upload(new Uint8Array(cache.bytes));
print({ event: 'freed' });
for await (const _ of createInterface({ input: process.stdin }));
await agent.close();
