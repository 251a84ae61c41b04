// An agent with device memory in a separate process. It prints its metadata and region, and executes commands.
// Usage: device.ts KIND NAME BYTES
import { createHash } from 'node:crypto';
import { createInterface } from 'node:readline';
import { NixlAgent } from 'dynamo-node';

import { deviceLibrary } from '../device.js';
import { pattern } from '../library.js';

const [kind, name, bytes] = process.argv.slice(2) as ['mock' | 'ucx', string, string];

const print = (event: object): void => void process.stdout.write(`${JSON.stringify(event)}\n`);

const agent = await NixlAgent.create(name, { library: deviceLibrary(kind) });
const region = await agent.allocate(Number(bytes), { memory: 'VRAM' });

print({
  event: 'ready',
  metadata: Buffer.from(await agent.metadata()).toString('base64'),
  descriptor: region.descriptor(),
});
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line) as { do: 'fill'; seed: number } | { do: 'hash' };
  if (command.do === 'fill') {
    await region.upload(pattern(new Uint8Array(region.bytes), command.seed));
    print({ event: 'fill' });
  } else {
    print({
      event: 'hash',
      hash: createHash('sha256')
        .update(await region.download())
        .digest('hex'),
    });
  }
}
await agent.close();
