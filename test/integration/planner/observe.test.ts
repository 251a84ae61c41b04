import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { ForwardPassPublisher } from 'dynamo-node';
import { RuntimeObserver, type RuntimeObserverOptions } from 'dynamo-node/planner';
import { describe, expect, it, onTestFinished } from 'vitest';
import { deployments } from '../../helpers/llm/deployments.js';
import { CountingEngine } from '../../helpers/llm/engines.js';
import { waitFor } from '../../helpers/wait.js';

const deployment = deployments();
const path = 'test.backend.generate';
const MIB = 2 ** 20;
const { signal } = new AbortController();

async function observing(options: RuntimeObserverOptions): Promise<RuntimeObserver> {
  const observer = await RuntimeObserver.create(options);
  onTestFinished(() => observer.close());
  return observer;
}

describe('RuntimeObserver', () => {
  it('returns the passes and the load of workers', async () => {
    const here = deployment();
    const [worker, planner] = [await here.runtime(), await here.runtime()];
    await worker.endpoint(path).serve(() => 1);
    const publisher = await ForwardPassPublisher.create(worker.endpoint(path));
    onTestFinished(() => publisher.close());
    const observer = await observing({ endpoints: { worker: planner.endpoint(path) } });

    const found = await waitFor('a pass', async () => {
      publisher.publish({
        wallTimeSeconds: 0.02,
        scheduled: { prefillTokens: 500, decodeRequests: 8, decodeKvTokens: 4096 },
        queued: { prefillRequests: 2, prefillTokens: 3000, decodeRequests: 1, decodeKvTokens: 700 },
      });
      const { workers } = await observer.observe({ signal });
      return workers.worker?.find(({ passes }) => passes.length > 0);
    });
    expect(found).toMatchObject({
      id: String(worker.instanceId),
      load: {
        queuedPrefillTokens: 3000,
        queuedRequests: 3,
        queuedKvTokens: 700,
        decodeRequests: 8,
        kvTokens: 4096,
      },
    });
    expect(found?.passes[0]).toEqual({ wallMs: 20, prefillTokens: 500, decodeRequests: 8, kvTokens: 4096 });
    expect(found?.ageMs).toBeLessThan(5000);
  });

  it('no longer returns a worker that has left', async () => {
    const here = deployment();
    const [worker, planner] = [await here.runtime(), await here.runtime()];
    await worker.endpoint(path).serve(() => 1);
    const publisher = await ForwardPassPublisher.create(worker.endpoint(path));
    const observer = await observing({ endpoints: { worker: planner.endpoint(path) } });
    const workers = async () => (await observer.observe({ signal })).workers.worker ?? [];
    await waitFor('the worker', async () => (await workers()).length === 1);
    await publisher.close();
    await worker.close({ timeoutMs: 2000 });
    await waitFor('its end', async () => (await workers()).length === 0);
  });

  it('returns the traffic of a frontend', async () => {
    const here = deployment();
    await here.serve(new CountingEngine('counting'), { modelName: 'counting' });
    const frontend = await here.frontend();
    const planner = await here.runtime();
    const observer = await observing({
      endpoints: { worker: planner.endpoint(path) },
      frontends: [`${frontend.url}/metrics`],
    });
    await waitFor(
      'the model',
      async () => ((await (await fetch(`${frontend.url}/v1/models`)).json()) as { data: unknown[] }).data.length > 0,
    );
    expect((await observer.observe({ signal })).traffic).toBeUndefined();
    const body = JSON.stringify({ model: 'counting', prompt: 'one two three', max_tokens: 4 });
    for (let index = 0; index < 3; index++) {
      const response = await fetch(`${frontend.url}/v1/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body,
      });
      expect(response.status).toBe(200);
    }
    const { traffic } = await observer.observe({ signal });
    expect(traffic).toMatchObject({ requests: 3 });
    expect(traffic?.inputTokens).toBeGreaterThan(0);
    expect(traffic?.outputTokens).toBeGreaterThan(0);
    expect(traffic?.ttftMs).toBeGreaterThan(0);
  });

  it('returns no traffic of a frontend with more than 16 MiB of metrics, and reads no more of them', async () => {
    const planner = await deployment().runtime();
    let sent = 0;
    const server = createServer((_request, response) => {
      const more = (): void => {
        while (!response.destroyed && sent < 256 * MIB) {
          sent += MIB;
          if (!response.write(Buffer.alloc(MIB, '#'))) return void response.once('drain', more);
        }
        response.end();
      };
      more();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/metrics`;
    const observer = await observing({ endpoints: { worker: planner.endpoint(path) }, frontends: [url] });
    for (let reading = 0; reading < 2; reading++) {
      sent = 0;
      expect((await observer.observe({ signal })).traffic).toBeUndefined();
      // What waits in buffers comes on top.
      expect(sent).toBeLessThan(64 * MIB);
    }
  });

  it('returns no traffic if one of two frontends does not answer', async () => {
    const planner = await deployment().runtime();
    let isUp = true;
    const counter = 'dynamo_frontend_requests_started_total{model="m"} 5';
    const observer = await observing({
      endpoints: { worker: planner.endpoint(path) },
      frontends: [() => counter, () => (isUp ? counter : Promise.reject(new Error('down')))],
    });
    await observer.observe({ signal });
    await waitFor('traffic', async () => (await observer.observe({ signal })).traffic);
    isUp = false;
    expect((await observer.observe({ signal })).traffic).toBeUndefined();
  });

  it.each([
    ['an unknown role', { endpoints: { other: undefined } }, 'endpoints.other: unknown name'],
    ['no endpoint', { endpoints: { worker: 'a.b.c' } }, 'endpoints.worker: expected an object of Endpoint'],
    ['no URL', { endpoints: {}, frontends: ['here'] }, 'frontends[0]: expected a URL, got "here"'],
    ['a number for a frontend', { endpoints: {}, frontends: [1] }, 'frontends[0]: expected a function'],
  ])('rejects %s', async (_, options, message) => {
    await expect(RuntimeObserver.create(options as never)).rejects.toThrow(message);
  });
});
