// Runs the graph in this process and calls it.
// Usage: npm run example -- hello-world
import { startGraph } from 'dynamo-node/testing';
import graph, { Greeter, Words } from './graph.js';

await using running = await startGraph(graph);
console.log(`${running.workers(Words).length} workers of Words, ${running.workers(Greeter).length} of Greeter`);
const greeter = await running.client(Greeter);
for await (const line of greeter.greet('block router planner')) console.log(line);
