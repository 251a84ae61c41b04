import { type Client, type RequestContext, RequestCancelled } from 'dynamo-node';
import { describe, expect, it } from 'vitest';

import { testRuntime } from '../helpers/runtime.js';

interface Observed {
  yielded: number;
  returned: boolean;
  context: RequestContext | undefined;
}

/** An endpoint that yields for ever, and what happened to its generator. */
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
  await client.waitForInstances({ timeoutMs: 5000 });
  return { client, observed };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('a caller that goes away', () => {
  it('kills upstream when it leaves the loop', async () => {
    const { client, observed } = await endless(turn);
    for await (const item of client.generate(null)) if (item === 3) break;
    await expect.poll(() => observed.returned).toBe(true);
    expect(observed.context?.signal.reason).toBeInstanceOf(RequestCancelled);
    // The transport may notice the closed connection before the kill, and then only stops.
    expect((observed.context?.signal.reason as RequestCancelled).kind).toMatch(/killed|stopped/);
  });

  it('gets its own reason when its signal aborts, before, during and after', async () => {
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

  it('is told of its deadline', async () => {
    const { client, observed } = await endless(turn);
    await expect(client.collect(null, { timeoutMs: 100 })).rejects.toMatchObject({
      code: 'DYN_DEADLINE_EXCEEDED',
      reason: 'request.deadline_exceeded',
    });
    await expect.poll(() => observed.returned).toBe(true);
  });

  it('may ask a worker to stop, whose stream then ends without an error', async () => {
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

  it('takes its child requests with it', async () => {
    const { client: inner, observed } = await endless(turn);
    const runtime = await testRuntime();
    const outer = runtime.endpoint<null, number>('test.outer.relay');
    await outer.serve(async function* () {
      yield* inner.generate(null);
    });
    const client = await outer.client();
    await client.waitForInstances({ timeoutMs: 5000 });
    for await (const item of client.generate(null)) if (item === 2) break;
    await expect.poll(() => observed.returned).toBe(true);
  });
});

describe('a reader that pauses', () => {
  it('holds the producer back within the high-water mark and the queues of the transport', async () => {
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
    await client.waitForInstances({ timeoutMs: 5000 });
    const stream = client.generate(null);
    await stream.next();
    let last = -1;
    await expect
      .poll(
        () => {
          const still = yielded === last;
          last = yielded;
          return still;
        },
        { interval: 300 },
      )
      .toBe(true);
    // The sink holds 16 items, the transport two queues of 64 frames, the socket a few MiB.
    expect(yielded).toBeLessThan(400);
    await stream.kill();
  });
});
