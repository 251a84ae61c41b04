import type { RequestCancelled } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';

import { Child } from '../../helpers/child.js';
import { temporaryFolder, testRuntime } from '../../helpers/runtime/runtime.js';

const TIMES = 50;
const PATH = 'test.leaving.endless';

/** An endpoint that yields forever, and the cancel kinds of its requests. */
async function endless() {
  const dir = temporaryFolder();
  const kinds: string[] = [];
  const runtime = await testRuntime({ discovery: { kind: 'file', dir } });
  const endpoint = runtime.endpoint<null, number>(PATH);
  await endpoint.serve(async function* (_, { signal }) {
    signal.addEventListener('abort', () => kinds.push((signal.reason as RequestCancelled).kind));
    for (let index = 0; ; index++) {
      await new Promise((resolve) => setImmediate(resolve));
      yield index;
    }
  });
  return { dir, endpoint, kinds };
}

describe('the signal of a request', () => {
  it('is aborted with kind killed if the process of the caller ended', async () => {
    const { dir, kinds } = await endless();
    const reader = Child.program('test/helpers/runtime/programs/reader.ts', [dir, PATH, String(TIMES)]);
    onTestFinished(() => reader.stop());
    await reader.event('reading');
    expect(kinds).toEqual([]);
    reader.kill('SIGKILL');
    await expect.poll(() => kinds.length, { timeout: 10_000 }).toBe(TIMES);
    expect(kinds).toEqual(Array(TIMES).fill('killed'));
    console.log(`${TIMES} callers killed, and each told to its handler`);
  });

  it('is aborted with kind stopped if the caller stopped the request', async () => {
    const { endpoint, kinds } = await endless();
    const client = await endpoint.client();
    await client.waitForInstances({ timeoutMs: 30_000 });
    await Promise.all(
      Array.from({ length: TIMES }, async (_, index) => {
        const stream = client.generate(null);
        for await (const item of stream) if (item === index % 7) stream.stop();
      }),
    );
    await expect.poll(() => kinds.length, { timeout: 10_000 }).toBe(TIMES);
    expect(kinds).toEqual(Array(TIMES).fill('stopped'));
    console.log(`${TIMES} callers stopped, and each told to its handler`);
  });
});
