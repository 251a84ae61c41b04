import { connect } from 'node:net';
import { DynamoError, type FrontendRoutes } from 'dynamo-node';
import { describe, expect, it } from 'vitest';
import { deployments } from '../../helpers/llm/deployments.js';
import { CountingEngine } from '../../helpers/llm/engines.js';
import { waitFor, waitForPause } from '../../helpers/wait.js';

const deployment = deployments();

async function routed(routes: FrontendRoutes) {
  const here = deployment();
  return { here, frontend: await here.frontend({ routes }) };
}

describe('a custom route', () => {
  it('receives the request and returns the response', async () => {
    const { frontend } = await routed({
      '/own/echo': (request) => {
        const { pathname, searchParams, host } = new URL(request.url);
        const headers = { 'x-own': 'yes', 'set-cookie': 'a=1', 'x-latin': 'café' };
        return Response.json(
          {
            method: request.method,
            pathname,
            query: searchParams.get('q'),
            host,
            agent: request.headers.get('x-agent'),
          },
          { status: 201, headers },
        );
      },
      '/own/none': () => new Response(null, { status: 204 }),
    });
    const response = await fetch(`${frontend.url}/own/echo?q=a%20b`, { headers: { 'x-agent': 'test' } });
    expect(response.status).toBe(201);
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'x-own': 'yes',
      'content-type': 'application/json',
      'x-latin': 'café',
    });
    expect(response.headers.getSetCookie()).toEqual(['a=1']);
    expect(await response.json()).toEqual({
      method: 'GET',
      pathname: '/own/echo',
      query: 'a b',
      host: frontend.url.slice(7),
      agent: 'test',
    });
    expect((await fetch(`${frontend.url}/own/none`)).status).toBe(204);
    expect((await fetch(`${frontend.url}/own/echo`, { method: 'POST', body: '{}' })).status).toBe(405);
    expect((await fetch(`${frontend.url}/own/other`)).status).toBe(404);
    expect(await (await fetch(`${frontend.url}/live`)).json()).toMatchObject({ status: 'live' });
  });

  it('receives the state of the frontend', async () => {
    const { here, frontend } = await routed({ '/own/state': (_request, context) => Response.json(context.frontend) });
    const state = async () => (await fetch(`${frontend.url}/own/state`)).json();
    expect(await state()).toEqual({ ready: true, draining: false, models: [], readyModels: [] });
    await here.serve(new CountingEngine('counting'));
    await frontend.waitForModel('counting');
    expect(await state()).toEqual({ ready: true, draining: false, models: ['counting'], readyModels: ['counting'] });
  });

  it.each([
    [new DynamoError('NotFound', 'no such thing'), 404, 'no such thing'],
    [new TypeError('not so'), 500, 'Internal server error'],
    [new DynamoError('InvalidRequest', 'not so'), 400, 'not so'],
    [new DynamoError('RateLimited', 'later'), 429, 'later'],
    [new Error('a secret'), 500, 'Internal server error'],
  ])('turns %s into status %i', async (error, status, message) => {
    const { frontend } = await routed({
      '/own/fail': () => {
        throw error;
      },
    });
    const response = await fetch(`${frontend.url}/own/fail`);
    expect(response.status).toBe(status);
    expect(await response.json()).toMatchObject({ message, code: status });
  });

  it('answers 500 if it returns no Response', async () => {
    const { frontend } = await routed({ '/own/odd': () => 'text' as never });
    expect((await fetch(`${frontend.url}/own/odd`)).status).toBe(500);
  });

  it('streams its body without delay', async () => {
    let next: (value: string | undefined) => void = () => {};
    const parts = async function* () {
      for (;;) {
        const part = await new Promise<string | undefined>((resolve) => (next = resolve));
        if (part === undefined) return;
        yield Buffer.from(part);
      }
    };
    const { frontend } = await routed({ '/own/stream': () => new Response(ReadableStream.from(parts())) });
    const response = await fetch(`${frontend.url}/own/stream`);
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    for (const part of ['one', 'two']) {
      const read = reader.read();
      await waitFor(
        'the reader',
        () => next,
        (state) => state.length === 1,
      );
      next(part);
      expect(Buffer.from((await read).value as Uint8Array).toString()).toBe(part);
    }
    const last = reader.read();
    next(undefined);
    expect((await last).done).toBe(true);
  });

  it('closes the connection if its body fails', async () => {
    let begin = (): void => {};
    const begun = new Promise<void>((resolve) => (begin = resolve));
    const parts = async function* () {
      yield Buffer.from('half');
      await begun;
      throw new Error('the other half is missing');
    };
    const { frontend } = await routed({ '/own/half': () => new Response(ReadableStream.from(parts())) });
    // Newer versions of fetch reject if the connection ends before they have read the head of the response.
    const response = await fetch(`${frontend.url}/own/half`);
    expect(response.status).toBe(200);
    begin();
    await expect(response.text()).rejects.toThrow();
  });

  it('applies back-pressure to its body, and is notified when the client disconnects', async () => {
    let made = 0;
    let cancelled: unknown;
    const chunk = Buffer.alloc(64 * 1024);
    const endless = (signal: AbortSignal) =>
      new ReadableStream({
        pull: (controller) => {
          made += 1;
          controller.enqueue(chunk);
        },
        cancel: () => void (cancelled = signal.reason),
      });
    const { frontend } = await routed({ '/own/endless': (_request, { signal }) => new Response(endless(signal)) });
    const socket = connect(frontend.port, '127.0.0.1');
    socket.write('GET /own/endless HTTP/1.1\r\nhost: x\r\n\r\n');
    socket.pause();
    await waitForPause('a pause', () => made);
    expect(made * chunk.length).toBeLessThan(64 << 20);
    socket.destroy();
    await waitFor('the cancel', () => cancelled, Boolean);
    expect(cancelled).toMatchObject({ name: 'AbortError', kind: 'killed' });
  });

  it('is rejected on an invalid path and on one that is in use', async () => {
    const { options } = deployment();
    const { Frontend } = await import('dynamo-node');
    const start = (routes: unknown) =>
      Frontend.start(options, { host: '127.0.0.1', port: 0, routes: routes as FrontendRoutes });
    const none = () => new Response();
    expect(() => start({ '/x': 1 })).toThrow('Frontend.start options.routes["/x"]: expected a function');
    for (const path of ['x', '/{id}', '/*rest', '/a b'])
      await expect(start({ [path]: none })).rejects.toThrow(TypeError);
    const taken = await start({ '/health': none });
    await expect(taken.ready).rejects.toThrow(/\/health/);
    await taken.close();
  });
});
