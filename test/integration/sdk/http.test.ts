import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { connect } from 'node:net';
import { Readable } from 'node:stream';
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';

import { currentRequest, DynamoError, type RunningService } from 'dynamo-node';
import { api, defineService, depends, endpoint, type Graph, graph, onStart, service } from 'dynamo-node/sdk';
import { describe, expect, it, vi } from 'vitest';
import { z } from 'zod';

import { freePort } from '../../helpers/runtime/cluster.js';
import { hostings } from '../../helpers/sdk/hosting.js';
import { warnings } from '../../helpers/warnings.js';

const hosting = hostings();

const http = { transports: ['http'] } as const;

/** Runs the entry of a graph, and its other services before it. */
async function running(one: Graph): Promise<RunningService> {
  const host = hosting();
  let last: RunningService | undefined;
  for (const each of one.services) last = await host.start(one, each);
  return last as RunningService;
}

const post = (url: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });

const Worker = defineService('Worker')
  .endpoint('double', async (value: number) => ({ value: value * 2, id: currentRequest()?.id }))
  .endpoint('fail', async (message: string) => {
    throw new Error(message);
  });

const Api = defineService('Api', { httpPort: 0, deps: { worker: depends(Worker) } })
  .endpoint('double', http, async ({ value }: { value: number }, { deps }) => deps.worker.double(value))
  .endpoint('count', http, async function* ({ to }: { to: number }) {
    for (let value = 1; value <= to; value++) yield { value };
  })
  .endpoint('find', { ...http, httpMethod: 'GET' }, async (query: unknown) => query)
  .endpoint('nothing', { ...http, httpMethod: 'DELETE' }, async () => {})
  .endpoint('checked', { ...http, input: z.object({ size: z.number() }) }, async ({ size }) => size)
  .endpoint('bytes', http, async () => ({ tokens: Uint32Array.of(1, 2), data: Buffer.of(3) }))
  .endpoint('fail', http, async ({ kind }: { kind: string }, { deps }) => {
    if (kind === 'dependency') return deps.worker.fail('the key is 5678');
    if (kind === 'secret') throw new Error('the password is 1234');
    if (kind === 'bigint') return 1n;
    throw new DynamoError(kind as 'Internal', `failed as ${kind}`, { reason: 'test.reason' });
  })
  .endpoint('late', http, async function* ({ after }: { after: number }) {
    for (let value = 0; value < after; value++) yield value;
    throw new DynamoError('Unavailable', 'gone');
  });

const apiGraph = graph('api', Api);

describe('endpoints over HTTP', () => {
  it('answer JSON with JSON, through a dependency, with the id of the request', async () => {
    const { url } = await running(apiGraph);
    const response = await post(`${url}/double`, { value: 21 }, { 'x-request-id': 'my-id' });
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('application/json');
    expect(response.headers.get('x-request-id')).toBe('my-id');
    expect(await response.json()).toEqual({ value: 42, id: 'my-id' });
    const other = await post(`${url}/double`, { value: 1 }, { 'x-request-id': 'not safe' });
    expect(other.headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
  });

  it('take the query of a GET, and answer nothing with 204', async () => {
    const { url } = await running(apiGraph);
    expect(await (await fetch(`${url}/find?a=1&b=x&b=y&__proto__=z`)).json()).toEqual(
      JSON.parse('{"a":"1","b":["x","y"],"__proto__":"z"}'),
    );
    const response = await fetch(`${url}/nothing`, { method: 'DELETE' });
    expect([response.status, await response.text()]).toEqual([204, '']);
  });

  it('stream lines of JSON, or server-sent events if the client accepts them', async () => {
    const { url } = await running(apiGraph);
    const lines = await post(`${url}/count`, { to: 2 });
    expect(lines.headers.get('content-type')).toBe('application/x-ndjson');
    expect(await lines.text()).toBe('{"value":1}\n{"value":2}\n');
    const events = await post(`${url}/count`, { to: 2 }, { accept: 'text/event-stream' });
    expect(events.headers.get('content-type')).toBe('text/event-stream');
    expect(await events.text()).toBe('data: {"value":1}\n\ndata: {"value":2}\n\n');
    expect(await (await post(`${url}/count`, { to: 0 })).text()).toBe('');
  });

  it('write typed arrays as plain arrays', async () => {
    const { url } = await running(apiGraph);
    expect(await (await post(`${url}/bytes`, {})).json()).toEqual({ tokens: [1, 2], data: [3] });
  });

  it('are served beside those for Dynamo, by a class with @api', async () => {
    @service({ httpPort: 0 })
    class Both {
      #started = 0;
      @onStart() begin() {
        this.#started += 1;
      }
      @api({ httpMethod: 'GET', name: 'state/all' }) async all() {
        return { started: this.#started };
      }
      @endpoint({ transports: ['dynamo', 'http'] }) async *echo(text: string) {
        yield text;
      }
    }
    const host = hosting();
    const { url } = await host.start(graph('both', Both), Both);
    expect(await (await fetch(`${url}/state/all`)).json()).toEqual({ started: 1 });
    expect(await (await post(`${url}/echo`, '"hi"')).text()).toBe('"hi"\n');
    const client = await (await host.runtime()).endpoint('dynamo.both.echo').client();
    await client.waitForInstances({ timeoutMs: 5000 });
    expect(await client.generate('hi').collect()).toEqual(['hi']);
  });

  it('run no more requests at once than their concurrency', async () => {
    let running_ = 0;
    let most = 0;
    const Narrow = defineService('Narrow', { httpPort: 0 }).endpoint('run', { ...http, concurrency: 2 }, async () => {
      most = Math.max(most, ++running_);
      await new Promise((resolve) => setTimeout(resolve, 20));
      running_ -= 1;
      return most;
    });
    const { url } = await running(graph('narrow', Narrow));
    const responses = await Promise.all(Array.from({ length: 6 }, () => post(`${url}/run`, {})));
    expect(responses.map(({ status }) => status)).toEqual(Array.from({ length: 6 }, () => 200));
    expect(most).toBe(2);
  });
});

function* repeated(chunk: Buffer, times: number): Generator<Buffer> {
  for (let index = 0; index < times; index++) yield chunk;
}

describe('errors over HTTP', () => {
  it.each([
    ['InvalidRequest', 400],
    ['Unauthenticated', 401],
    ['PermissionDenied', 403],
    ['NotFound', 404],
    ['Conflict', 409],
    ['RateLimited', 429],
    ['CapacityExhausted', 529],
    ['Unavailable', 503],
    ['DeadlineExceeded', 504],
    ['NotImplemented', 501],
    ['Internal', 500],
  ])('of the class %s have the status %i', async (kind, status) => {
    const { url } = await running(apiGraph);
    const response = await post(`${url}/fail`, { kind });
    expect(response.status).toBe(status);
    expect(await response.json()).toEqual({
      error: {
        code: new DynamoError(kind as 'Internal', '').code,
        reason: 'test.reason',
        message: `failed as ${kind}`,
      },
    });
  });

  it('that are no DynamoError do not leave the process: they are a warning', async () => {
    const { url } = await running(apiGraph);
    const seen = warnings('DYN_HTTP_HANDLER');
    for (const kind of ['secret', 'bigint', 'dependency']) {
      const response = await post(`${url}/fail`, { kind });
      expect(response.status).toBe(500);
      expect(await response.json()).toEqual({
        error: { code: 'DYN_INTERNAL', reason: 'runtime.unclassified', message: 'the service failed' },
      });
    }
    await expect
      .poll(() => seen.map(({ message }) => message))
      .toEqual([
        'POST /fail failed: the password is 1234',
        expect.stringContaining('BigInt'),
        'POST /fail failed: the key is 5678',
      ]);
  });

  it('before the first item of a stream have their status, later ones end the stream', async () => {
    const { url } = await running(apiGraph);
    const early = await post(`${url}/late`, { after: 0 });
    expect([early.status, await early.json()]).toEqual([503, { error: { code: 'DYN_UNAVAILABLE', message: 'gone' } }]);
    const late = await post(`${url}/late`, { after: 1 });
    expect([late.status, await late.text()]).toEqual([
      200,
      '0\n{"error":{"code":"DYN_UNAVAILABLE","message":"gone"}}\n',
    ]);
    const events = await post(`${url}/late`, { after: 1 }, { accept: 'text/event-stream' });
    expect(await events.text()).toBe(
      'data: 0\n\nevent: error\ndata: {"error":{"code":"DYN_UNAVAILABLE","message":"gone"}}\n\n',
    );
  });

  it.each<[string, string, RequestInit, number, string]>([
    ['an unknown path', '/nowhere', {}, 404, 'no endpoint has the path /nowhere'],
    ['the name of a built-in', '/constructor', {}, 404, 'no endpoint has the path /constructor'],
    ['another method', '/double', {}, 405, '/double: expected POST, got GET'],
    [
      'no JSON',
      '/double',
      { method: 'POST', body: '{', headers: { 'content-type': 'application/json' } },
      400,
      'expected JSON',
    ],
    [
      'another type',
      '/double',
      { method: 'POST', body: '{}' },
      415,
      "content-type: expected application/json, got 'text/plain",
    ],
    [
      'bytes that are no UTF-8',
      '/double',
      { method: 'POST', body: Uint8Array.of(0x22, 0xff, 0x22), headers: { 'content-type': 'application/json' } },
      400,
      'expected JSON',
    ],
    [
      'a value that the schema refuses',
      '/checked',
      { method: 'POST', body: '{"size":"x"}', headers: { 'content-type': 'application/json' } },
      400,
      'Api.checked request.size: Invalid input',
    ],
    ['no body where the schema needs one', '/checked', { method: 'POST' }, 400, 'Api.checked request: Invalid input'],
  ])('answer %s', async (_, path, init, status, message) => {
    const { url } = await running(apiGraph);
    const response = await fetch(`${url}${path}`, init);
    expect(response.status).toBe(status);
    expect(await response.json()).toMatchObject({ error: { message: expect.stringContaining(message) } });
  });

  it.each([
    ['gzip', gzipSync],
    ['deflate', deflateSync],
    ['br', brotliCompressSync],
  ] as const)('decode a body with content-encoding %s, up to the limit of a body', async (encoding, encode) => {
    const { url } = await running(apiGraph);
    const headers = { 'content-type': 'application/json', 'content-encoding': encoding };
    const send = (body: Uint8Array<ArrayBuffer>) => fetch(`${url}/double`, { method: 'POST', body, headers });
    const response = await send(Uint8Array.from(encode('{"value":21}')));
    expect(await response.json()).toMatchObject({ value: 42 });
    expect((await send(Uint8Array.from(encode(Buffer.alloc(40 * 1024 * 1024, ' '))))).status).toBe(413);
    const broken = await send(Uint8Array.of(1, 2, 3));
    expect(broken.status).toBe(400);
    expect(await broken.json()).toMatchObject({ error: { message: expect.stringContaining(`expected ${encoding}`) } });
  });

  it.each(['zstd', 'constructor', '__proto__'])('name the encodings that they decode, for %s', async (encoding) => {
    const { url } = await running(apiGraph);
    const headers = { 'content-type': 'application/json', 'content-encoding': encoding };
    const refused = await fetch(`${url}/double`, { method: 'POST', body: '{"value":21}', headers });
    expect(refused.status).toBe(415);
    expect(await refused.json()).toEqual({
      error: {
        code: 'DYN_UNSUPPORTED_MEDIA',
        reason: 'request.unsupported_media',
        message: `content-encoding: expected one of gzip, deflate, br, got '${encoding}'`,
      },
    });
  });

  it('say the reason of a refusal', async () => {
    const { url } = await running(apiGraph);
    const reasonOf = async (path: string) =>
      ((await (await fetch(`${url}${path}`)).json()) as { error: { reason: string } }).error.reason;
    expect([await reasonOf('/nowhere'), await reasonOf('/double')]).toEqual(['request.not_found', 'request.invalid']);
  });

  it('answer a body above the limit with 413, with and without its length', async () => {
    const { url } = await running(apiGraph);
    const upload = request(`${url}/double`, { method: 'POST', headers: { 'content-type': 'application/json' } });
    // It is destroyed while it still sends.
    upload.on('error', () => {});
    const answered = once(upload, 'response') as Promise<[IncomingMessage]>;
    Readable.from(repeated(Buffer.alloc(1024 * 1024, ' '), 40)).pipe(upload);
    expect((await answered)[0].statusCode).toBe(413);
    upload.destroy();

    const { hostname, port } = new URL(url as string);
    const socket = connect(Number(port), hostname);
    socket.write(
      'POST /double HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99999999999\r\n\r\n',
    );
    const [head] = (await once(socket, 'data')) as [Buffer];
    expect(head.toString()).toMatch(/^HTTP\/1\.1 413 /);
    socket.destroy();
  });
});

describe('a client of HTTP that disconnects', () => {
  it('aborts the signal of the handler, and its generator is returned', async () => {
    const ends: string[] = [];
    const Endless = defineService('Endless', { httpPort: 0 })
      .endpoint('stream', http, async function* (_: unknown, __, { signal }) {
        signal.addEventListener('abort', () => ends.push('stream aborted'));
        try {
          for (;;) {
            yield 'x'.repeat(1000);
            await new Promise((resolve) => setTimeout(resolve, 1));
          }
        } finally {
          ends.push('stream returned');
        }
      })
      .endpoint('wait', http, async (_: unknown, __, { signal }) => {
        await new Promise((resolve) => signal.addEventListener('abort', resolve));
        ends.push(`wait ${(signal.reason as { kind: string }).kind}`);
      });
    const { url } = await running(graph('endless', Endless));
    const response = await post(`${url}/stream`, {});
    const reader = response.body!.getReader();
    await reader.read();
    await reader.cancel();
    await expect.poll(() => ends).toEqual(['stream aborted', 'stream returned']);

    const abort = new AbortController();
    const request = fetch(`${url}/wait`, { method: 'POST', signal: abort.signal }).catch(() => {});
    await vi.waitFor(async () => expect((await fetch(`${url}/readyz`)).status).toBe(200));
    abort.abort();
    await request;
    await expect.poll(() => ends).toContain('wait killed');
  });

  it('does not make the service buffer a stream that it does not read', async () => {
    let sent = 0;
    const Fast = defineService('Fast', { httpPort: 0 }).endpoint('run', http, async function* () {
      for (;;) {
        sent += 1;
        yield 'x'.repeat(64 * 1024);
      }
    });
    const { url } = await running(graph('fast', Fast));
    const { hostname, port } = new URL(url as string);
    const socket = connect(Number(port), hostname);
    socket.write('POST /run HTTP/1.1\r\nhost: x\r\n\r\n');
    await once(socket, 'readable');
    let before = -1;
    await vi.waitUntil(
      () => {
        const isSame = sent === before;
        before = sent;
        return isSame;
      },
      { interval: 200, timeout: 20_000 },
    );
    expect(sent).toBeLessThan(1000);
    socket.destroy();
  });
});

describe('probes over HTTP', () => {
  it('answer 200 without hooks', async () => {
    const { url } = await running(apiGraph);
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
    expect(await (await fetch(`${url}/readyz`)).json()).toEqual({ status: 'ok' });
  });

  it('answer 503 for false and 500 for an exception', async () => {
    const Probed = defineService('Probed', { httpPort: 0 })
      .liveness(() => {})
      .readiness(() => false)
      .readiness(() => true);
    const { url } = await running(graph('probed', Probed));
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
    expect((await fetch(`${url}/readyz`)).status).toBe(503);
    const Faulty = defineService('Faulty', { httpPort: 0 }).liveness(() => {
      throw new Error('stuck');
    });
    const faulty = await running(graph('faulty', Faulty));
    expect((await fetch(`${faulty.url}/healthz`)).status).toBe(500);
  });
});

describe('the server of a service', () => {
  it('listens on the port of the service plus the number of the worker', async () => {
    const port = await freePort();
    const Port = defineService('Port', { httpPort: port }).endpoint('run', http, async () => 1);
    const host = hosting();
    const { url } = await host.start(graph('port', Port), Port, { worker: 1 });
    expect(url).toBe(`http://127.0.0.1:${port + 1}`);
  });

  it('listens where DYNAMO_PORT and DYNAMO_HOST say', async () => {
    const port = await freePort();
    vi.stubEnv('DYNAMO_PORT', String(port));
    vi.stubEnv('DYNAMO_HOST', 'localhost');
    try {
      const { url } = await running(apiGraph);
      expect(new URL(url as string).port).toBe(String(port));
      vi.stubEnv('DYNAMO_PORT', 'http');
      await expect(running(apiGraph)).rejects.toThrow('the HTTP port of service Api: expected an integer');
    } finally {
      vi.unstubAllEnvs();
    }
  });

  it('rejects a port that is taken, and then serves nothing', async () => {
    const host = hosting();
    const { url } = await host.start(apiGraph, Worker).then(() => host.start(apiGraph, Api));
    const Taken = defineService('Taken', { httpPort: Number(new URL(url as string).port) }).endpoint(
      'run',
      { transports: ['dynamo', 'http'] },
      async () => 1,
    );
    await expect(host.start(graph('taken', Taken), Taken)).rejects.toMatchObject({
      code: 'DYN_CONFLICT',
      message: expect.stringMatching(/^port \d+ of 127\.0\.0\.1 is taken$/),
    });
    const found = new Set((await (await host.runtime()).instances()).map(({ component }) => component));
    expect(found).toEqual(new Set(['worker']));
  });

  it('completes requests at its close, takes no further ones, and is closed to new connections', async () => {
    let release = (): void => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const Slow = defineService('Slow', { httpPort: 0 }).endpoint('run', http, async function* () {
      yield 1;
      await held;
      yield 2;
    });
    const service_ = await running(graph('slow', Slow));
    const response = await post(`${service_.url}/run`, {});
    const closing = service_.close();
    await expect
      .poll(() =>
        fetch(`${service_.url}/readyz`).then(
          () => 'open',
          () => 'closed',
        ),
      )
      .toBe('closed');
    release();
    expect(await response.text()).toBe('1\n2\n');
    await closing;
  });

  it('cuts streams with an error when the time of its close is over', async () => {
    const Stuck = defineService('Stuck', { httpPort: 0 }).endpoint(
      'run',
      http,
      async function* (_: unknown, __, { signal }) {
        yield 1;
        await new Promise((resolve) => signal.addEventListener('abort', resolve));
      },
    );
    const service_ = await running(graph('stuck', Stuck));
    const response = await post(`${service_.url}/run`, {});
    await service_.close({ timeoutMs: 50 });
    expect(await response.text()).toBe(
      '1\n{"error":{"code":"DYN_UNAVAILABLE","reason":"transport.disconnected",' +
        '"message":"the service shut down before the end of the answer"}}\n',
    );
  });
});
