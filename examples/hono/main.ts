// Serves graph.ts and the application in front of it, and sends requests with good and bad keys.
// Usage: npm run example -- hono
import type { AddressInfo } from 'node:net';
import { serve } from '@hono/node-server';
import { connectService } from 'dynamo-node';
import { serveGraph } from 'dynamo-node/testing';
import { createApp } from './app.js';
import { Writer } from './graph.js';

await using served = await serveGraph('graph.ts', { cwd: import.meta.dirname });
// Elsewhere: DistributedRuntime.create with the discovery of the graph.
const runtime = await served.cluster.runtime();
await using writer = await connectService(runtime, Writer);

const app = createApp(writer.client, { keys: ['secret'], perMinute: 3 });
const server = serve({ fetch: app.fetch, hostname: '127.0.0.1', port: 0 });
await new Promise((resolve) => server.once('listening', resolve));
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/shout`;

await send('wrong', { text: 'moved in blocks' });
await send('secret', { text: 'moved in blocks' });
await send('secret', { text: '' });
await send('secret', { text: 'once again' });
await send('secret', { text: 'too often' });
server.close();

async function send(key: string, body: unknown): Promise<void> {
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' };
  const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) });
  console.log(`key ${key.padEnd(7)}${JSON.stringify(body).padEnd(27)}${response.status} ${await response.text()}`);
}
