// Serves graph.ts, each worker in its own process, and prints what they report of the move.
// Usage: npm run example -- move-blocks [BLOCKS]
import { serveGraph } from 'dynamo-node/testing';
import { Prefill } from './graph.js';

await using served = await serveGraph('graph.ts', { cwd: import.meta.dirname });
const prefill = await served.client(Prefill);
for await (const line of prefill.move({ blocks: Number(process.argv[2] ?? 1000) })) console.log(line);
