// An agent of a worker thread: it sees a region of its parent by token, and writes to it as a peer. It leaves everything open.
import { parentPort, workerData } from 'node:worker_threads';
import { register } from 'tsx/esm/api';

register();
const { loadNixl, NixlAgent, openRegionToken } = await import('../../../../lib/index.ts');

const { kind, token, metadata, descriptor } = workerData;
const shared = openRegionToken(token);
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
