// An agent whose etcd does not answer. Prints how its calls end. Usage: etcd.ts, with NIXL_ETCD_ENDPOINTS
import { loadNixl, NixlAgent, type NixlError } from 'dynamo-node';

import { emit } from '../../runtime/programs/lines.js';

const outcome = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => 'done',
    (error: NixlError) => error.reason,
  );

const agent = await NixlAgent.create(`etcd-${process.pid}`, { library: loadNixl({ mode: 'real' }) });
const fetched = await outcome(agent.fetch('unknown', undefined, { timeoutMs: 1000 }));
const sent = await outcome(agent.sendMetadata());
const begun = performance.now();
await agent.close({ timeoutMs: 2000 });
emit('done', { fetched, sent, closeMs: performance.now() - begun });
