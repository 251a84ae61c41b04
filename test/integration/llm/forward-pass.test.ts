import { createServer } from 'node:net';
import { type ForwardPassMetrics, ForwardPassPublisher, ForwardPassRelay, ForwardPassSubscriber } from 'dynamo-node';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { deployments } from '../../helpers/llm/deployments.js';
import { waitFor } from '../../helpers/wait.js';
import { warnings } from '../../helpers/warnings.js';

const deployment = deployments();
const path = 'test.backend.generate';
const TOPIC = 'forward-pass-metrics';

const work = {
  num_prefill_requests: 1,
  sum_prefill_tokens: 2,
  var_prefill_length: 0.5,
  num_decode_requests: 3,
  sum_decode_kv_tokens: 4,
  var_decode_kv_tokens: 1.5,
};

/** An event as the crates send it. */
const event = (more: Record<string, unknown> = {}): Record<string, unknown> => ({
  version: 1,
  worker_id: 'worker-a',
  dp_rank: 0,
  counter_id: 1,
  wall_time: 0.25,
  scheduled_requests: work,
  queued_requests: work,
  ...more,
});

/** A subscriber, and a publisher of arbitrary events that it has found. */
async function connected(received?: (metrics: ForwardPassMetrics) => void) {
  const here = deployment();
  const [worker, planner] = [await here.runtime(), await here.runtime()];
  const subscriber = await ForwardPassSubscriber.create(planner.endpoint(path), received);
  onTestFinished(() => subscriber.close());
  const publisher = await worker.endpoint(path).publisher(TOPIC);
  onTestFinished(() => publisher.close());
  const latest = (id: string) => subscriber.latest().find(({ workerId }) => workerId === id);
  /** Publishes an event, again and again until it has arrived. */
  const deliver = (id: string, more: Record<string, unknown> = {}) =>
    waitFor(id, async () => (await publisher.publish(event({ worker_id: id, ...more })), latest(id)));
  await deliver('first');
  /** Serves the endpoint of the worker and waits until the planner finds it. */
  const serve = async (): Promise<string> => {
    await worker.endpoint(path).serve(() => 1);
    await using client = await planner.endpoint(path).client();
    await client.waitForInstances();
    return String(worker.instanceId);
  };
  return { serve, subscriber, publisher, deliver };
}

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

  it.each([
    ['a number', 7, /expected an object, got 7/],
    ['null', null, /expected an object, got null/],
    ['an empty object', {}, /version: expected an integer, got undefined/],
    ['a list', [1], /expected an object, got an array/],
    ['a worker id of another type', event({ worker_id: 1 }), /worker_id: expected a string, got 1/],
    ['a worker id without end', event({ worker_id: 'w'.repeat(300) }), /worker_id: expected at most 256 characters/],
    ['a negative rank', event({ dp_rank: -1 }), /dp_rank: expected an integer from 0/],
    ['a rank of another type', event({ dp_rank: {} }), /dp_rank: expected an integer, got an object/],
    ['a time that is none', event({ wall_time: Number.NaN }), /wall_time: expected a number/],
    ['no queue', event({ queued_requests: undefined }), /queued_requests: expected an object, got null/],
    [
      'a queue of another shape',
      event({ queued_requests: { ...work, sum_prefill_tokens: 'many' } }),
      /queued_requests.sum_prefill_tokens: expected an integer, got "many"/,
    ],
  ])('of another shape are skipped, counted and reported: %s', async (_, data, reason) => {
    const reports = warnings('DYN_EVENT_SKIPPED');
    const { subscriber, publisher, deliver } = await connected();
    expect(subscriber.skipped).toBe(0);
    await publisher.publish(data);
    await publisher.publish(data);
    await deliver('second', { counter_id: 2 });
    expect(subscriber.skipped).toBe(2);
    expect(reports.map(({ message }) => message)).toEqual([expect.stringMatching(reason)]);
    expect(reports[0]?.message).toContain(path);
    expect(subscriber.latest().map(({ workerId }) => workerId)).toEqual(['first', 'second']);
  });

  it.each([
    [
      'throws',
      () => {
        throw new Error('broken');
      },
    ],
    ['rejects', () => Promise.reject(new Error('broken'))],
  ])('continue after a callback %s, which is reported', async (_, callback) => {
    const reports = warnings('DYN_CALLBACK_FAILED');
    let calls = 0;
    const { deliver } = await connected(() => (calls++, callback()) as never);
    await deliver('second');
    await waitFor('the report', () => reports.length);
    expect(reports[0]?.message).toMatch(/callback of the forward-pass metrics of test.backend.generate threw: broken/);
    expect(calls).toBeGreaterThan(1);
  });

  it('of workers that discovery does not list are kept for a bounded number of ranks', async () => {
    const { serve, subscriber, publisher, deliver } = await connected();
    const id = await serve();
    await deliver(id);
    // More than the limit. Events may be lost, so that they are sent until the oldest one is gone.
    let sent = 0;
    await waitFor(
      'the end of the oldest rank',
      async () => {
        for (const last = sent + 500; sent < last; sent++)
          await publisher.publish(event({ worker_id: `unknown-${sent}`, dp_rank: sent }));
        return subscriber.latest().some(({ workerId }) => workerId === 'first');
      },
      (isKept) => !isKept,
    );
    await deliver('last');
    const ids = subscriber.latest().map(({ workerId }) => workerId);
    expect(ids.length).toBeLessThanOrEqual(4097);
    expect(ids).toContain(id);
    expect(ids).toContain('last');
  });

  it('of workers that discovery does not list are removed a minute after their last pass', async () => {
    const { serve, subscriber, deliver } = await connected();
    const id = await serve();
    await deliver(id);
    onTestFinished(() => void vi.useRealTimers());
    // The clock of the fake begins at 0.
    const before = performance.now();
    const ids = () => subscriber.latest().map(({ workerId }) => workerId);
    vi.useFakeTimers({ toFake: ['performance'] });
    vi.advanceTimersByTime(before + 30_000);
    expect(ids()).toContain('first');
    vi.advanceTimersByTime(31_000);
    expect(ids()).toEqual([id]);
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
