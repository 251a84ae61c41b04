// An agent of a worker thread. It attaches a region of its parent, writes to it as a peer, and leaves everything open.
import { parentPort, workerData } from 'node:worker_threads';
import { register } from 'tsx/esm/api';

register();
const { attachRegion, loadNixl, NixlAgent } = await import('../../../../lib/index.ts');

const { kind, token, metadata, descriptor } = workerData;
const shared = attachRegion(token);
const agent = await NixlAgent.create(`worker-${process.pid}`, {
  library: loadNixl({ mode: kind === 'mock' ? 'mock' : 'real' }),
});
const region = await agent.allocate(descriptor.bytes);
region.view.fill(7);
const peer = await agent.connect(metadata);
const seen = shared.view[7];
const { bytes } = await agent.write(region, peer.memory(descriptor));
agent.notifications().next();
parentPort.postMessage({ seen, wrote: bytes });
