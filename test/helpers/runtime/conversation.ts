import type { DistributedRuntime } from 'dynamo-node';
import { expect } from 'vitest';

import { waitFor } from '../wait.js';

/**
 * A bidirectional call between two runtimes: complete, failed, and left halfway. Its handler must not take the last for
 * a normal end.
 */
export async function expectConversations(
  worker: DistributedRuntime,
  caller: DistributedRuntime,
  path: string,
): Promise<void> {
  let [left, whole] = [0, 0];
  await worker.endpoint<number, number>(path).serveBidirectional(async function* (requests) {
    try {
      for await (const request of requests) {
        if (request < 0) throw new RangeError(`no ${request}`);
        yield request * 2;
      }
      whole += 1;
    } finally {
      left += 1;
    }
  });
  const client = await caller.endpoint<number, number>(path).client();
  await client.waitForInstances({ timeoutMs: 20_000 });

  const numbers = Array.from({ length: 300 }, (_, index) => index);
  expect(await client.bidirectional(numbers as never).collect()).toEqual(numbers.map((number) => number * 2));
  await expect(client.bidirectional([1, -1] as never).collect()).rejects.toThrow('no -1');
  expect([left, whole]).toEqual([2, 1]);

  for (let round = 0; round < 5; round++) {
    const controller = new AbortController();
    async function* requests(): AsyncGenerator<number> {
      yield round;
      await new Promise(() => {});
    }
    const answers = client.bidirectional(requests(), { signal: controller.signal });
    expect(await answers.next()).toEqual({ done: false, value: round * 2 });
    controller.abort(new Error('enough'));
    await expect(answers.next()).rejects.toThrow('enough');
  }
  await waitFor(
    'the handlers that were left',
    () => left,
    (count) => count === 7,
    30_000,
  );
  expect(whole).toBe(1);
}
