import { setTimeout as sleep } from 'node:timers/promises';
import { defineService, graph } from 'dynamo-node/sdk';

// Only in a worker: the supervisor loads the graph too.
if (process.argv[1]?.includes('local/worker')) {
  console.log('loading');
  await sleep(60_000);
}

export default graph(
  'slow-load',
  defineService('Slow').endpoint('run', async (text: string) => text),
);
