// The receiver: sends the description of its memory, waits for the notification of the transfer, and checks each byte.
import { loadNixl, NixlAgent } from 'dynamo-node';
import { untilStopped } from '../processes.js';

const [blocks, blockBytes, kind] = process.argv.slice(2) as [string, string, 'real' | 'mock'];

await using agent = await NixlAgent.create('decode', { library: loadNixl({ mode: kind }) });
const region = await agent.allocate(Number(blocks) * Number(blockBytes));
process.send?.({ metadata: Buffer.from(await agent.metadata()).toString('base64'), descriptor: region.descriptor() });

for await (const { data } of agent.notifications()) {
  const view = region.view as Uint8Array;
  let wrong = 0;
  for (let place = 0; place < Number(blocks); place++) {
    const expected = (Number(blocks) - 1 - place) % 251;
    const block = view.subarray(place * Number(blockBytes), (place + 1) * Number(blockBytes));
    if (!block.every((byte) => byte === expected)) wrong += 1;
  }
  const stopped = untilStopped();
  process.send?.({ notified: Buffer.from(data).toString(), wrong });
  await stopped;
  break;
}
