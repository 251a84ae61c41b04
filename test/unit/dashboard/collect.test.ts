import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { DashboardFeed } from 'dynamo-node/dashboard';
import { afterEach, describe, expect, it } from 'vitest';

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close().closeAllConnections();
});

/** A frontend whose metrics a test sets. */
async function frontend(): Promise<{ url: string; text: string; status: number }> {
  const state = { url: '', text: '', status: 200 };
  const server = createServer((_, response) => void response.writeHead(state.status).end(state.text));
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  state.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return state;
}

const started = (count: number): string => `dynamo_frontend_requests_started_total{model="m"} ${count}\n`;

describe('DashboardFeed', () => {
  it('shows a frontend without a supervisor, its rates, and that it does not answer', async () => {
    const state = await frontend();
    state.text = started(10);
    await using feed = await DashboardFeed.start({ frontends: [state.url], intervalMs: 100 });
    expect(feed.next().services).toMatchObject([{ role: 'frontend', ready: 1, canScale: false }]);
    await expect
      .poll(() => {
        state.text = started(Number(/\d+$/m.exec(state.text)?.[0]) + 5);
        return feed.next().flow.requestsPerSecond ?? 0;
      })
      .toBeGreaterThan(0);

    state.status = 500;
    await expect
      .poll(() => feed.next().warnings.join())
      .toContain(`metrics of ${state.url} cannot be read: it answered with status 500`);
    expect(feed.next().services[0]).toMatchObject({ ready: 0, instances: [{ phase: 'failed' }] });

    state.status = 200;
    await expect.poll(() => feed.next().warnings).toEqual([]);
    expect(feed.history().times.length).toBeGreaterThan(3);
  });

  it('goes on with text that is no metrics', async () => {
    const state = await frontend();
    state.text = '\u0000{}{}\n<html>\ndynamo_frontend_active_requests{ 1\n';
    await using feed = await DashboardFeed.start({ frontends: [state.url], intervalMs: 100 });
    expect(feed.next().warnings).toEqual([]);
    expect(feed.next().flow.running).toBeUndefined();
  });

  it.each([
    [{ frontends: ['ftp://x'] }, /frontends\[0\]: expected an HTTP address/],
    [{ intervalMs: 1 }, /intervalMs: expected an integer from 100 to 60000/],
    [{ graph: 7 }, /graph: expected a string/],
    [{ other: 1 }, /other: unknown option/],
  ])('rejects the options %j', async (options, message) => {
    await expect(DashboardFeed.start(options as object)).rejects.toThrow(message);
  });

  it('says that no such graph runs', async () => {
    await expect(DashboardFeed.start({ graph: 'nobody-has-this-graph' })).rejects.toMatchObject({ class: 'NotFound' });
  });
});
