// Runs graph.ts in this process, and sends a chat with e-mail addresses.
// Usage: npm run example -- processor
import type { PreprocessedRequest } from 'dynamo-node';
import { startGraph, waitForModel } from 'dynamo-node/testing';
import OpenAI from 'openai';
import graph from './graph.js';

const content = 'Write to ann@example.org, and to bob.b@mail.example.com.';

await using running = await startGraph(graph);
await waitForModel(String(running.url), 'parrot');
const client = new OpenAI({ baseURL: `${running.url}/v1`, apiKey: 'none' });
const { choices } = await client.chat.completions.create({ model: 'parrot', messages: [{ role: 'user', content }] });
const { request } = await running.requests<PreprocessedRequest>('Worker').next();
const hidden = Array.from(request.token_ids, (id) => (id < 0xe000 ? String.fromCodePoint(id) : `<${id.toString(16)}>`));
console.log(`the client sends     ${content}`);
console.log(`the worker receives  ${hidden.join('')}`);
console.log(`the client receives  ${choices[0]?.message.content}`);
