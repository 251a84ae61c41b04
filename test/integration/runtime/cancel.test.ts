import { type Client, RequestCancelled, type RequestContext } from 'dynamo-node';
import { describe, expect, it } from 'vitest';

import { testRuntime } from '../../helpers/runtime/runtime.js';
import { waitForPause } from '../../helpers/wait.js';

interface Observed {
  yielded: number;
  returned: boolean;
  context: RequestContext | undefined;
}

/** An endpoint that yields forever, and the state of its generator. */
async function endless(delay: () => Promise<void>): Promise<{ client: Client<null, number>; observed: Observed }> {
  const observed: Observed = { yielded: 0, returned: false, context: undefined };
  const runtime = await testRuntime();
  const endpoint = runtime.endpoint<null, number>('test.worker.endless');
  await endpoint.serve(async function* (_, context) {
    observed.context = context;
    try {
      for (;;) {
        await delay();
        yield observed.yielded++;
      }
    } finally {
      observed.returned = true;
    }
  });
  const client = await endpoint.client();
  await client.waitForInstances({ timeoutMs: 30_000 });
  return { client, observed };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('a unary call', () => {
  const stuck = async () => {
    const signals: AbortSignal[] = [];
    const runtime = await testRuntime();
    const endpoint = runtime.endpoint<number, number>('test.worker.stuck');
    await endpoint.serve(async (_, { signal }) => {
      signals.push(signal);
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      return 0;
    });
    const client = await endpoint.client();
    await client.waitForInstances({ timeoutMs: 30_000 });
    return { client, signals };
  };

  it('ends with its signal and after timeoutMs, and cancels its handler', async () => {
    const { client, signals } = await stuck();
    const reason = new Error('enough');
    await expect(client.unary(0, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(signals).toEqual([]);
    const controller = new AbortController();
    const waiting = client.unary(0, { signal: controller.signal });
    await expect.poll(() => signals.length).toBe(1);
    controller.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    // The time may be over before the call has reached the handler.
    for (let timeoutMs = 50; signals.length < 2 && timeoutMs < 60_000; timeoutMs *= 2) {
      const late = {
        code: 'DYN_DEADLINE_EXCEEDED',
        operation: 'client.unary',
        message: expect.stringContaining(`${timeoutMs} ms`),
      };
      await expect(client.unary(0, { timeoutMs })).rejects.toMatchObject(late);
    }
    await expect.poll(() => signals.length > 1 && signals.every(({ aborted }) => aborted)).toBe(true);
  });

  it('is retried only within timeoutMs', async () => {
    const { client } = await stuck();
    await expect(client.unary(0, { attempts: 1000, timeoutMs: 60 })).rejects.toMatchObject({
      code: 'DYN_DEADLINE_EXCEEDED',
    });
  });
});

describe('the close of an endpoint', () => {
  it('aborts a request that runs longer than the close of its endpoint waits, with kind shutdown', async () => {
    const runtime = await testRuntime();
    const endpoint = runtime.endpoint<null, string>('test.worker.closing');
    let reason: unknown;
    const served = await endpoint.serve(async (_, { signal }) => {
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      reason = signal.reason;
      return 'cut';
    });
    const client = await endpoint.client();
    await client.waitForInstances({ timeoutMs: 30_000 });
    const answer = client.unary(null).catch(() => 'gone');
    await expect.poll(() => served.inFlight).toBe(1);
    await served.close({ timeoutMs: 50 });
    expect(reason).toBeInstanceOf(RequestCancelled);
    expect(reason).toMatchObject({ kind: 'shutdown', message: 'the request was cut off by shutdown' });
    expect(await answer).toMatch(/cut|gone/);
  });
});

describe('a caller that leaves', () => {
  it('kills the request when it leaves the loop', async () => {
    const { client, observed } = await endless(turn);
    for await (const item of client.generate(null)) if (item === 3) break;
    await expect.poll(() => observed.returned).toBe(true);
    expect(observed.context?.signal.reason).toBeInstanceOf(RequestCancelled);
    // The transport may notice the closed connection before the kill, and then only stops.
    expect((observed.context?.signal.reason as RequestCancelled).kind).toMatch(/killed|stopped/);
  });

  it('gets the reason of its signal, aborted before, during or after the call', async () => {
    const { client, observed } = await endless(turn);
    const reason = new Error('enough');
    await expect(client.generate(null, { signal: AbortSignal.abort(reason) }).collect()).rejects.toBe(reason);
    const controller = new AbortController();
    const seen: number[] = [];
    const read = (async () => {
      for await (const item of client.generate(null, { signal: controller.signal })) {
        seen.push(item);
        if (seen.length === 5) controller.abort(reason);
      }
    })();
    await expect(read).rejects.toBe(reason);
    await expect.poll(() => observed.returned).toBe(true);
    controller.abort(new Error('again'));
  });

  it('gets a deadline error after timeoutMs', async () => {
    const { client, observed } = await endless(turn);
    await expect(client.collect(null, { timeoutMs: 100 })).rejects.toMatchObject({
      code: 'DYN_DEADLINE_EXCEEDED',
      reason: 'request.deadline_exceeded',
    });
    await expect.poll(() => observed.returned).toBe(true);
  });

  it('may stop a worker, whose stream then ends without an error', async () => {
    const { client, observed } = await endless(turn);
    const stream = client.generate(null);
    let count = 0;
    for await (const _ of stream) if (++count === 3) stream.stop();
    await expect.poll(() => observed.returned).toBe(true);
    expect((observed.context?.signal.reason as RequestCancelled).kind).toBe('stopped');
  });

  it('cancels a handler that never yields', async () => {
    let aborted = false;
    const { client } = await endless(
      () =>
        new Promise(() => {
          aborted = true;
        }),
    );
    const controller = new AbortController();
    const read = client.collect(null, { signal: controller.signal });
    await expect.poll(() => aborted).toBe(true);
    controller.abort(new Error('gone'));
    await expect(read).rejects.toThrow('gone');
  });

  it('cancels its child requests', async () => {
    const { client: inner, observed } = await endless(turn);
    const runtime = await testRuntime();
    const outer = runtime.endpoint<null, number>('test.outer.relay');
    await outer.serve(async function* () {
      yield* inner.generate(null);
    });
    const client = await outer.client();
    await client.waitForInstances({ timeoutMs: 30_000 });
    for await (const item of client.generate(null)) if (item === 2) break;
    await expect.poll(() => observed.returned).toBe(true);
  });
});

describe('a reader that pauses', () => {
  it('pauses the producer after the high-water mark and the queues of the transport', async () => {
    const item = 'x'.repeat(64 * 1024);
    const runtime = await testRuntime();
    const endpoint = runtime.endpoint<null, string>('test.worker.flood');
    let yielded = 0;
    await endpoint.serve(async function* () {
      for (;;) {
        yielded += 1;
        yield item;
      }
    });
    const client = await endpoint.client();
    await client.waitForInstances({ timeoutMs: 30_000 });
    const stream = client.generate(null);
    await stream.next();
    // The sink keeps 16 items, the transport two queues of 64 frames, the sockets up to 30 MiB.
    expect(await waitForPause('the producer', () => yielded)).toBeLessThan(1000);
    await stream.kill();
  });
});
