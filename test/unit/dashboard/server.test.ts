import { request as httpRequest, type IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type FakeDashboard, startFakeDashboard } from '../../helpers/dashboard/fake-sources.js';
import { openEvents } from '../../helpers/dashboard/viewer.js';

const files = new Map([['/', { type: 'text/html; charset=utf-8', body: Buffer.from('<!doctype html>') }]]);

let dashboard: FakeDashboard;

beforeEach(async () => {
  dashboard = await startFakeDashboard({ files, intervalMs: 50 });
});

afterEach(async () => {
  await dashboard.close();
});

/** A request with headers that `fetch` does not allow. */
function rawRequest(
  path: string,
  headers: Readonly<Record<string, string>>,
  method = 'GET',
  body?: string,
): Promise<{ status: number; headers: IncomingMessage['headers']; text: string }> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(dashboard.origin);
    const sent = httpRequest({ hostname, port, path, method, headers }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part: string) => {
        text += part;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, text }));
    });
    sent.on('error', reject).end(body);
  });
}

const codeOf = (text: string): unknown => (JSON.parse(text) as { error: { code: unknown } }).error.code;

const post = (path: string, body: unknown, token = dashboard.token): Promise<Response> =>
  fetch(dashboard.origin + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
    body: JSON.stringify(body),
  });

describe('the server of the dashboard', () => {
  it('serves the page with a policy that allows no inline script and no other origin', async () => {
    const response = await fetch(dashboard.url);
    expect(await response.text()).toBe('<!doctype html>');
    const policy = response.headers.get('content-security-policy') ?? '';
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("script-src 'self';");
    expect(policy).not.toContain('unsafe');
    expect(response.headers.get('x-content-type-options')).toBe('nosniff');
    expect(response.headers.get('cross-origin-resource-policy')).toBe('same-origin');
    expect(response.headers.get('access-control-allow-origin')).toBeNull();
  });

  it('returns the snapshot and the history without the token', async () => {
    const body = (await (await fetch(`${dashboard.origin}/api/snapshot`)).json()) as Record<string, object>;
    expect(body['snapshot']).toMatchObject({ schema: 'dynamo-node.dashboard/v1', graph: { name: 'llm' } });
    expect(body['history']).toMatchObject({ capacity: 600 });
  });

  it.each([
    '/../package.json',
    '/%2e%2e/package.json',
    '/page/../../package.json',
    '//etc/passwd',
    '/constructor',
    '/api',
  ])('has nothing at %s', async (path) => {
    const { status, text } = await rawRequest(path, {});
    expect(status).toBe(404);
    expect(codeOf(text)).toBe('E_PATH');
  });

  it('refuses a method that a path does not take', async () => {
    expect((await fetch(`${dashboard.origin}/api/snapshot`, { method: 'DELETE' })).status).toBe(405);
    expect((await fetch(`${dashboard.origin}/`, { method: 'POST' })).status).toBe(405);
    expect((await fetch(`${dashboard.origin}/api/scale`)).status).toBe(405);
  });

  it.each(['evil.example', 'evil.example:80', '127.0.0.1.evil.example', 'localhost.evil.example:1', '10.0.0.1:80'])(
    'refuses the host %j of a name that was bound to this address',
    async (host) => {
      const { status, text } = await rawRequest('/api/snapshot', { host });
      expect(status).toBe(403);
      expect(codeOf(text)).toBe('E_HOST');
    },
  );

  it.each(['localhost:9000', 'LOCALHOST', '127.0.0.1:1', '[::1]:8080'])(
    'accepts the host %s, of this machine or the end of a tunnel',
    async (host) => {
      expect((await rawRequest('/api/snapshot', { host })).status).toBe(200);
    },
  );

  it.each<Record<string, string>>([
    { origin: 'http://evil.example' },
    { origin: 'null' },
    { origin: 'http://localhost:3000', host: 'localhost:4000' },
    { 'sec-fetch-site': 'cross-site' },
    { 'sec-fetch-site': 'same-site' },
  ])('refuses a request of another page, %j, although it has the token', async (headers) => {
    const all = { authorization: `Bearer ${dashboard.token}`, 'content-type': 'application/json', ...headers };
    const body = JSON.stringify({ service: 'Decode', workers: 1 });
    const { status, text } = await rawRequest('/api/scale', all, 'POST', body);
    expect(status).toBe(403);
    expect(codeOf(text)).toBe('E_ORIGIN');
    expect(dashboard.scaled).toEqual([]);
  });

  it('accepts a request of its own page', async () => {
    const { host } = new URL(dashboard.origin);
    const headers = { origin: `http://${host}`, host, 'sec-fetch-site': 'same-origin' };
    expect((await rawRequest('/api/snapshot', headers)).status).toBe(200);
  });

  it.each(['', 'Bearer ', 'Bearer wrong', 'Basic YTph'])(
    'refuses actions and logs with the header %j',
    async (header) => {
      const headers = { authorization: header, 'content-type': 'application/json' };
      for (const [path, method] of [
        ['/api/scale', 'POST'],
        ['/api/trace', 'POST'],
        ['/api/logs?instance=Decode%230', 'GET'],
      ] as const) {
        const { status, text } = await rawRequest(path, headers, method, method === 'GET' ? undefined : '{}');
        expect(status).toBe(401);
        expect(codeOf(text)).toBe('E_TOKEN');
      }
      expect(dashboard.scaled).toEqual([]);
      expect(dashboard.traced).toEqual([]);
    },
  );

  it('scales with the token, and says whether the change goes on', async () => {
    const done = await post('/api/scale', { service: 'Decode', workers: 3 });
    expect([done.status, await done.json()]).toEqual([200, { outcome: 'done' }]);
    const started = await post('/api/scale', { service: 'Decode', workers: 9 });
    expect([started.status, await started.json()]).toEqual([202, { outcome: 'started' }]);
    expect(dashboard.scaled).toEqual([
      { service: 'Decode', workers: 3 },
      { service: 'Decode', workers: 9 },
    ]);
  });

  it('returns why a change is refused', async () => {
    const response = await post('/api/scale', { service: 'Decode', workers: 13 });
    expect(response.status).toBe(409);
    expect(await response.json()).toEqual({
      error: { code: 'E_GPU_SHORT', message: '13 workers need 13 GPUs, 2 are free', hint: 'Take fewer.' },
    });
  });

  it.each([
    ['/api/scale', { service: 'Decode' }, /body.workers: expected/],
    ['/api/scale', { service: 'Decode', workers: -1 }, /body.workers: expected an integer from 0 to 1024/],
    ['/api/scale', { service: 'Decode', workers: 1, more: 1 }, /body.more: unknown option/],
    ['/api/scale', [], /body: expected an object/],
    ['/api/trace', { prompt: '' }, /body.prompt: expected a string of 1 to 65536/],
    ['/api/trace', { prompt: 'x'.repeat(70_000) }, /body.prompt: expected a string of 1 to 65536/],
    ['/api/trace', { prompt: 'x', maxTokens: 0 }, /body.maxTokens: expected an integer from 1 to 4096/],
  ])('refuses the body of %s that does not fit', async (path, body, message) => {
    const response = await post(path, body);
    const { error } = (await response.json()) as { error: { code: string; message: string } };
    expect(response.status).toBe(400);
    expect(error.code).toBe('E_BODY');
    expect(error.message).toMatch(message);
  });

  it('refuses a body that is no JSON, another type, and one that is too long', async () => {
    const authorization = `Bearer ${dashboard.token}`;
    const json = { authorization, 'content-type': 'application/json' };
    expect((await rawRequest('/api/scale', json, 'POST', '{"service"')).status).toBe(400);
    const text = { authorization, 'content-type': 'text/plain' };
    expect((await rawRequest('/api/scale', text, 'POST', '{}')).status).toBe(415);
    const large = await rawRequest('/api/trace', json, 'POST', JSON.stringify({ prompt: 'x'.repeat(200_000) }));
    expect(large.status).toBe(413);
    const chunked = { ...json, 'transfer-encoding': 'chunked' };
    const endless = await rawRequest('/api/trace', chunked, 'POST', JSON.stringify({ prompt: 'x'.repeat(140_000) }));
    expect(endless.status).toBe(413);
  });

  it('returns the last lines of an instance, and none of one that has no output', async () => {
    const headers = { authorization: `Bearer ${dashboard.token}` };
    const logs = (query: string): Promise<Response> => fetch(`${dashboard.origin}/api/logs?${query}`, { headers });
    const { lines } = (await (await logs('instance=Decode%230&tail=3')).json()) as { lines: { text: string }[] };
    expect(lines.map(({ text }) => text)).toEqual(['line 0', 'line 1', 'line 2']);
    expect((await logs('instance=Nobody')).status).toBe(404);
    for (const tail of ['-1', '1e3', '5001', 'x', ''])
      expect((await logs(`instance=Decode%230&tail=${tail}`)).status).toBe(400);
  });

  it('follows the lines of an instance until the reader leaves', async () => {
    const response = await fetch(`${dashboard.origin}/api/logs?instance=Decode%230&tail=2&follow=1`, {
      headers: { authorization: `Bearer ${dashboard.token}` },
    });
    expect(response.headers.get('content-type')).toContain('application/x-ndjson');
    let text = '';
    for await (const part of response.body as unknown as AsyncIterable<Uint8Array>) {
      text += Buffer.from(part).toString('utf8');
      if (text.split('\n').length > 3) break;
    }
    const lines = text
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { text: string }).text);
    expect(lines.slice(0, 3)).toEqual(['line 0', 'line 1', 'line 2']);
  });
});

describe('the events of the dashboard', () => {
  it('sends the history first, then each snapshot', async () => {
    const viewer = await openEvents(dashboard.origin);
    await expect.poll(() => viewer.events.length).toBeGreaterThan(4);
    expect(viewer.events[0]?.event).toBe('history');
    const sequences = viewer.events.slice(1).map(({ data }) => (data as { sequence: number }).sequence);
    expect(sequences).toEqual(sequences.map((_, index) => (sequences[0] as number) + index));
    viewer.close();
  });

  it('sends the same to 50 viewers, and refuses the 65th', async () => {
    const viewers = await Promise.all(Array.from({ length: 50 }, () => openEvents(dashboard.origin)));
    await expect.poll(() => Math.min(...viewers.map(({ events }) => events.length))).toBeGreaterThan(3);
    const more = await Promise.all(Array.from({ length: 14 }, () => openEvents(dashboard.origin)));
    expect((await fetch(`${dashboard.origin}/api/events`)).status).toBe(503);
    for (const viewer of [...viewers, ...more]) viewer.close();
    await expect.poll(() => dashboard.server.viewerCount).toBe(0);
    expect((await fetch(`${dashboard.origin}/api/snapshot`)).status).toBe(200);
  });

  it('says to its viewers that it ends', async () => {
    const viewer = await openEvents(dashboard.origin);
    await expect.poll(() => viewer.events.length).toBeGreaterThan(1);
    await dashboard.close();
    await expect.poll(() => viewer.events.at(-1)?.event).toBe('end');
  });
});

describe('a viewer that stops reading', () => {
  const sockets: Socket[] = [];
  afterEach(() => {
    for (const socket of sockets.splice(0)) socket.destroy();
  });

  function stopped(origin: string): Promise<Socket> {
    const { hostname, port } = new URL(origin);
    return new Promise((resolve) => {
      const socket = connect({ host: hostname, port: Number(port) }, () => {
        socket.write(`GET /api/events HTTP/1.1\r\nHost: ${hostname}:${port}\r\n\r\n`);
        socket.pause();
        resolve(socket);
      });
      sockets.push(socket);
    });
  }

  it('is skipped: memory does not grow, and others get the snapshots', async () => {
    const large = await startFakeDashboard({ files, intervalMs: 100_000, instances: 200 });
    try {
      await stopped(large.origin);
      const reader = await openEvents(large.origin);
      await expect.poll(() => large.server.viewerCount).toBe(2);
      const bufferedBefore = large.server.bufferedBytes;
      expect(bufferedBefore).toBeLessThan(1_000_000);
      // A viewer that has not read for 30 s is dropped, so no more is sent than is needed.
      while (reader.bytes < 10_000_000) {
        const { sequence } = large.send();
        const latest = (): number => (reader.events.at(-1)?.data as { sequence?: number } | undefined)?.sequence ?? 0;
        // A snapshot that follows at once may find the connection of the reader full.
        await expect.poll(() => latest() >= sequence || large.send() === undefined, { interval: 20 }).toBe(true);
      }
      expect(large.server.viewerCount).toBe(2);
      expect(large.server.bufferedBytes).toBeLessThan(1_000_000);
      reader.close();
    } finally {
      await large.close();
    }
  });

  it('gets the whole history when it reads again', async () => {
    const large = await startFakeDashboard({ files, intervalMs: 100_000, instances: 200 });
    try {
      const socket = await stopped(large.origin);
      await expect.poll(() => large.server.viewerCount).toBe(1);
      for (let sent = 0; sent < 100; sent++) {
        large.send();
        await new Promise((resolve) => setImmediate(resolve));
      }
      let text = '';
      socket.setEncoding('utf8').on('data', (part: string) => {
        text += part;
      });
      socket.resume();
      const histories = (): number => text.split('event: history').length - 1;
      await expect
        .poll(() => {
          large.send();
          return histories();
        })
        .toBe(2);
      expect(text.split('event: snapshot').length - 1).toBeLessThan(100);
    } finally {
      await large.close();
    }
  });
});
