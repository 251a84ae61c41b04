// An agent in a separate process. It prints its metadata and region, and executes commands, one line of JSON each.
// Usage: peer.ts KIND NAME BYTES
import { createInterface } from 'node:readline';
import { loadNixl, type MemoryDescriptor, NixlAgent, type NixlPeer } from 'dynamo-node';

import { pattern } from '../library.js';

const [kind, name, bytes] = process.argv.slice(2) as [string, string, string];

type Command =
  | { do: 'connect'; metadata: string }
  | { do: 'pattern'; seed: number }
  | { do: 'hash' }
  | { do: 'write' | 'read'; descriptor: MemoryDescriptor; notify?: string; times?: number }
  | { do: 'notify'; text: string }
  | { do: 'receive' }
  | { do: 'close' };

const print = (event: object): void => void process.stdout.write(`${JSON.stringify(event)}\n`);

const agent = await NixlAgent.create(name, { library: loadNixl({ mode: kind === 'mock' ? 'mock' : 'real' }) });
const region = await agent.allocate(Number(bytes));
const view = region.view as Uint8Array;
const messages = agent.notifications();
let peer: NixlPeer | undefined;

async function run(command: Command): Promise<object> {
  switch (command.do) {
    case 'connect':
      peer = await agent.connect(Buffer.from(command.metadata, 'base64'));
      return { generation: peer.generation };
    case 'pattern':
      pattern(view, command.seed);
      return {};
    case 'hash': {
      const { createHash } = await import('node:crypto');
      return { hash: createHash('sha256').update(view).digest('hex') };
    }
    case 'write':
    case 'read': {
      const target = (peer as NixlPeer).memory(command.descriptor);
      const options = command.notify === undefined ? {} : { notify: command.notify };
      let moved = 0;
      for (let time = 0; time < (command.times ?? 1); time++)
        moved += (await agent[command.do](region, target, options)).bytes;
      return { moved };
    }
    case 'notify':
      await (peer as NixlPeer).notify(command.text);
      return {};
    case 'receive': {
      const { value } = await messages.next();
      return { from: value.from, text: Buffer.from(value.data).toString() };
    }
    case 'close':
      return agent.close();
  }
}

print({
  event: 'ready',
  metadata: Buffer.from(await agent.metadata()).toString('base64'),
  descriptor: region.descriptor(),
});
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line) as Command;
  print(
    await run(command).then(
      (result) => ({ event: command.do, ...result }),
      (error: Error & { reason?: string }) => ({ event: 'failed', reason: error.reason ?? '', message: error.message }),
    ),
  );
}
