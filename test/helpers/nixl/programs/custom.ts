// Writes with a custom parameter of the backend. The library logs how it uses it. Usage: custom.ts PARAMETER
import { loadNixl, NixlAgent } from 'dynamo-node';

import { emit } from '../../runtime/programs/lines.js';

const options = { library: loadNixl({ mode: 'real' }), backends: { UCX: { num_workers: '2' } } };
const [a, b] = [
  await NixlAgent.create(`a-${process.pid}`, options),
  await NixlAgent.create(`b-${process.pid}`, options),
];
const [mine, theirs] = [await a.allocate(4096), await b.allocate(4096)];
const peer = await a.connect(await b.metadata());
const { bytes } = await a.write(mine, peer.memory(theirs.descriptor()), { customParam: process.argv[2] as string });
await Promise.all([a.close(), b.close()]);
emit('done', { bytes });
