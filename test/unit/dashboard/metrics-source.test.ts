import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { metricsAt } from '../../../lib/dashboard/metrics-source.js';
import { waitFor } from '../../helpers/wait.js';

const servers: Server[] = [];
afterEach(() => {
  vi.useRealTimers();
  for (const server of servers.splice(0)) server.close().closeAllConnections();
});

async function listening(answer: RequestListener): Promise<{ server: Server; url: string }> {
  const server = createServer(answer);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

describe('metricsAt', () => {
  it('returns the text at /metrics, in parts that end within a character', async () => {
    const bytes = Buffer.from('a{x="é"} 1\n');
    const { url } = await listening(({ url: path }, response) => {
      response.write(bytes.subarray(0, 6));
      setImmediate(() => response.end(Buffer.concat([bytes.subarray(6), Buffer.from(path ?? '')])));
    });
    expect(await metricsAt(url)).toBe(`${bytes.toString()}/metrics`);
  });

  it('reads again and again through one connection', async () => {
    let connections = 0;
    const { server, url } = await listening((_, response) => void response.end('a 1\n'));
    server.on('connection', () => connections++);
    for (let reading = 0; reading < 5; reading++) expect(await metricsAt(url)).toBe('a 1\n');
    expect(connections).toBe(1);
  });

  it.each([301, 404, 500])('rejects the status %i, and does not read on', async (status) => {
    const { server, url } = await listening((_, response) => void response.writeHead(status).write('a 1\n'));
    await expect(metricsAt(url)).rejects.toThrow(`it answered with status ${status}`);
    await disconnected(server);
  });

  it('rejects more than 16 MiB, and does not read on', async () => {
    const part = Buffer.alloc(1 << 20, 'a 1\n');
    const { server, url } = await listening((_, response) => {
      const write = (): void => void (response.destroyed || response.write(part, () => setImmediate(write)));
      write();
    });
    await expect(metricsAt(url)).rejects.toThrow('its metrics have more than 16777216 bytes');
    await disconnected(server);
  });

  it.each([
    ['no answer', () => {}],
    ['half an answer', (response: { write(text: string): unknown }) => response.write('a 1\n')],
  ])('gives up after 5 s with %s', async (_, answer) => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const { url } = await listening((_request, response) => {
      answer(response);
      setImmediate(() => vi.advanceTimersByTime(5000));
    });
    await expect(metricsAt(url)).rejects.toThrow('it did not answer within 5000 ms');
  });

  it('leaves no timer after the answer', async () => {
    const { url } = await listening((_, response) => void response.end('a 1\n'));
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    await metricsAt(url);
    await new Promise((resolve) => setImmediate(resolve));
    expect(vi.getTimerCount()).toBe(0);
  });

  it('rejects if nobody listens, and if the connection breaks', async () => {
    await expect(metricsAt('http://127.0.0.1:1')).rejects.toThrow('ECONNREFUSED');
    const { url } = await listening((request) => void request.socket.destroy());
    await expect(metricsAt(url)).rejects.toThrow();
    const half = await listening((_, response) => void response.write('a 1\n', () => response.socket?.destroy()));
    await expect(metricsAt(half.url)).rejects.toThrow();
  });
});

const connectionsOf = (server: Server): Promise<number> =>
  new Promise((resolve, reject) => server.getConnections((error, count) => (error ? reject(error) : resolve(count))));

const disconnected = (server: Server): Promise<number> =>
  waitFor(
    'the end of the connections',
    () => connectionsOf(server),
    (count) => count === 0,
  );
