import { createServer } from 'node:net';
import { type ForwardPassMetrics, ForwardPassPublisher, ForwardPassRelay, ForwardPassSubscriber } from 'dynamo-node';
import { describe, expect, it } from 'vitest';
import { deployments } from '../../helpers/llm/deployments.js';
import { waitFor } from '../../helpers/wait.js';

const deployment = deployments();
const path = 'test.backend.generate';

describe('forward-pass metrics', () => {
  it('reach a subscriber, with one counter per rank', async () => {
    const here = deployment();
    const [worker, planner] = [await here.runtime(), await here.runtime()];
    const received: ForwardPassMetrics[] = [];
    await using subscriber = await ForwardPassSubscriber.create(
      planner.endpoint(path),
      (metrics) => void received.push(metrics),
    );
    await using publisher = await ForwardPassPublisher.create(worker.endpoint(path), { ranks: 2 });
    // A heartbeat of each rank shows that they are connected.
    await waitFor(
      'both ranks',
      () => subscriber.latest(),
      (latest) => latest.length === 2,
    );
    expect(
      subscriber
        .latest()
        .every(({ wallTimeSeconds, workerId }) => wallTimeSeconds === 0 && workerId === String(worker.instanceId)),
    ).toBe(true);
    const scheduled = {
      prefillRequests: 2,
      prefillTokens: 256,
      prefillLengthVariance: 1.5,
      prefillKvTokens: 64,
      decodeRequests: 3,
      decodeKvTokens: 2 ** 40,
      decodeKvVariance: 50,
    };
    const queued = {
      prefillRequests: 1,
      prefillTokens: 128,
      prefillLengthVariance: 0,
      decodeRequests: 4,
      decodeKvTokens: 9,
      decodeKvVariance: 0.5,
    };
    publisher.publish({ wallTimeSeconds: 0.25, scheduled, queued }, 1);
    await waitFor('the pass', () => received.find(({ wallTimeSeconds }) => wallTimeSeconds > 0), Boolean);
    const pass = received.find(({ wallTimeSeconds }) => wallTimeSeconds > 0);
    expect(pass).toEqual({
      version: 1,
      workerId: String(worker.instanceId),
      dpRank: 1,
      counterId: expect.any(Number),
      wallTimeSeconds: 0.25,
      scheduled,
      queued,
    });
    const counters = received.filter(({ dpRank }) => dpRank === 1).map(({ counterId }) => counterId);
    expect(counters).toEqual(counters.map((_, index) => (counters[0] as number) + index));
  });

  it('of a worker that has left are removed', async () => {
    const here = deployment();
    const [worker, planner] = [await here.runtime(), await here.runtime()];
    await using subscriber = await ForwardPassSubscriber.create(planner.endpoint(path));
    await worker.endpoint(path).serve(() => 1);
    await using publisher = await ForwardPassPublisher.create(worker.endpoint(path));
    await waitFor(
      'the rank',
      () => subscriber.latest(),
      (latest) => latest.length === 1,
    );
    await worker.close({ timeoutMs: 2000 });
    await waitFor(
      'the end',
      () => subscriber.latest(),
      (latest) => latest.length === 0,
    );
    await publisher.close();
  });

  it('are validated before they are sent', async () => {
    const runtime = await deployment().runtime();
    const endpoint = runtime.endpoint(path);
    await expect(ForwardPassPublisher.create(endpoint, { ranks: 0 })).rejects.toThrow(
      /ranks: expected an integer from 1/,
    );
    const publisher = await ForwardPassPublisher.create(endpoint, { workerId: 'worker-a' });
    expect(() => publisher.publish({} as never)).toThrow('pass.wallTimeSeconds: expected a number');
    expect(() => publisher.publish({ wallTimeSeconds: 1, scheduled: { prefillTokens: -1 } })).toThrow(RangeError);
    expect(() => publisher.publish({ wallTimeSeconds: 1, queued: { prefillKvTokens: 1 } as never })).toThrow(
      /unknown option/,
    );
    expect(() => publisher.publish({ wallTimeSeconds: 1 }, 1)).toThrow(/rank: expected less than 1, got 1/);
    await publisher.close();
    await publisher.close();
    expect(() => publisher.publish({ wallTimeSeconds: 1 })).toThrow(expect.objectContaining({ code: 'DYN_CLOSED' }));
  });

  it('of an engine in another process are relayed', async () => {
    const silent = createServer();
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const { port } = silent.address() as { port: number };
    const connected = new Promise<void>((resolve) =>
      silent.on('connection', (socket) => (socket.destroy(), resolve())),
    );
    const runtime = await deployment().runtime();
    await using relay = await ForwardPassRelay.create(runtime.endpoint(path), `tcp://127.0.0.1:${port}`);
    await connected;
    await relay.close();
    await new Promise((resolve) => silent.close(resolve));
  });
});
