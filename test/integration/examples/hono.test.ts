import { once } from 'node:events';
import type { AddressInfo } from 'node:net';

import { serve } from '@hono/node-server';
import { DynamoError } from 'dynamo-node';
import { defineService, graph } from 'dynamo-node/sdk';
import { startGraph } from 'dynamo-node/testing';
import { describe, expect, it, onTestFinished } from 'vitest';

import { createApp } from '../../../examples/hono/app.js';
import { runExample } from '../../helpers/examples/run.js';

const headers = { authorization: 'Bearer secret', 'content-type': 'application/json' };

describe('the example hono', () => {
  it('answers by key, by limit, and by the errors of the graph', async () => {
    expect(await runExample('hono')).toEqual([
      'key wrong  {"text":"moved in blocks"} 401 Unauthorized',
      'key secret {"text":"moved in blocks"} 200 MOVED IN BLOCKS ',
      expect.stringMatching(/^key secret {"text":""} +400 {"error":"Writer\.shout request\.text: /),
      'key secret {"text":"once again"}      200 ONCE AGAIN ',
      'key secret {"text":"too often"}       429 {"error":"at most 3 requests a minute"}',
    ]);
  });

  it.each([
    ['a body that is no JSON', '{', new Error('not reached'), 400, /JSON/],
    ['an error of the graph that is not for clients', '{}', new Error('password'), 500, /^try again later$/],
    ['a worker that is full', '{}', new DynamoError('CapacityExhausted', 'full'), 529, /^try again later$/],
  ])('answers %s with its status', async (_, body, error, status, message) => {
    const shout = () => ({ next: () => Promise.reject(error) });
    const app = createApp({ shout } as never, { keys: ['secret'], perMinute: 9 });
    const response = await app.request('/shout', { method: 'POST', headers, body });
    expect(response.status).toBe(status);
    expect(((await response.json()) as { error: string }).error).toMatch(message);
  });

  it('ends the call at the worker when its client disconnects', async (test) => {
    const Endless = defineService('Writer').endpoint('shout', async function* (_: { text: string }) {
      for (;;) yield 'AGAIN ';
    });
    const running = await startGraph(graph('endless', Endless), { test });
    const app = createApp(await running.client(Endless), { keys: ['secret'], perMinute: 9 });
    const server = serve({ fetch: app.fetch, hostname: '127.0.0.1', port: 0 });
    onTestFinished(() => void server.close());
    await once(server, 'listening');
    const leaving = new AbortController();
    const response = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/shout`, {
      ...{ method: 'POST', headers, body: '{"text":"x"}', signal: leaving.signal },
    });
    const { value } = await response.body!.getReader().read();
    expect(new TextDecoder().decode(value)).toMatch(/^AGAIN /);
    const { signal } = await running.requests(Endless, 'shout').next();
    expect(signal.aborted).toBe(false);
    leaving.abort();
    await expect.poll(() => signal.aborted).toBe(true);
  });
});
