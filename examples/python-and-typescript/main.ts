// Serves graph.ts, each worker in its own process, and calls it.
// Usage: DYN_PYTHON=.peers/bin/python npm run example -- python-and-typescript
import { serveGraph } from 'dynamo-node/testing';
import { Report } from './graph.js';

await using served = await serveGraph('graph.ts', { cwd: import.meta.dirname });
const { report } = await served.client(Report);
for await (const line of report('moved in blocks')) console.log(line);
