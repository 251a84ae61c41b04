import { Worker } from 'node:worker_threads';
import { DistributedRuntime } from 'dynamo-node';
import { describe, expect, it } from 'vitest';

import { testRuntime } from '../../helpers/runtime/runtime.js';
import { waitFor, waitForPause } from '../../helpers/wait.js';

const MAX_MESSAGE_BYTES = 256 * 1024;
const limited = { maxMessageBytes: MAX_MESSAGE_BYTES };

async function pair(options: object, handler: (size: number) => unknown) {
  const runtime = await testRuntime(limited);
  const endpoint = runtime.endpoint<unknown, Uint8Array>('limits.worker.generate');
  await endpoint.serve(handler as never, options);
  const client = await endpoint.client();
  await client.waitForInstances({ timeoutMs: 30_000 });
  return { runtime, client };
}

describe('limits', () => {
  it('apply maxMessageBytes in both directions, with an error that names it', async () => {
    const { runtime, client } = await pair({}, (size) => new Uint8Array(size));
    const { maxMessageBytes } = runtime.limits;
    expect(maxMessageBytes).toBe(MAX_MESSAGE_BYTES - 16 * 1024);
    expect((await client.unary(maxMessageBytes - 100)).byteLength).toBe(maxMessageBytes - 100);
    const details = { type: 'size_limit', limit: maxMessageBytes };
    const tooLarge = {
      code: 'DYN_PAYLOAD_TOO_LARGE',
      retryable: false,
      message: expect.stringContaining('DYN_TCP_MAX_MESSAGE_SIZE'),
      details: expect.objectContaining(details),
    };
    await expect(client.unary(maxMessageBytes + 1)).rejects.toMatchObject(tooLarge);
    await expect(client.unary(new Uint8Array(maxMessageBytes + 1))).rejects.toMatchObject({
      ...tooLarge,
      operation: 'client.unary',
    });
  });

  it('reject metadata that put a request over the limit, by the same name', async () => {
    const { runtime, client } = await pair({}, () => 'fits');
    const payload = new Uint8Array(runtime.limits.maxMessageBytes - 100);
    expect(await client.unary(payload, { metadata: { note: 'x'.repeat(8 * 1024) } })).toBe('fits');
    await expect(client.unary(payload, { metadata: { note: 'x'.repeat(32 * 1024) } })).rejects.toMatchObject({
      code: 'DYN_PAYLOAD_TOO_LARGE',
      retryable: false,
      message: expect.stringMatching(
        /the request and its metadata exceed the limit of TCP \(DYN_TCP_MAX_MESSAGE_SIZE\): .*262144/,
      ),
      details: { type: 'size_limit', variable: 'DYN_TCP_MAX_MESSAGE_SIZE' },
    });
    expect(await client.unary(payload)).toBe('fits');
  });

  it('apply maxItemBytes to each item of an endpoint, up to the limit of the transport', async () => {
    const { client } = await pair({ maxItemBytes: 1000 }, async function* (size) {
      yield new Uint8Array(10);
      yield new Uint8Array(size);
    });
    expect(await client.collect(900)).toHaveLength(2);
    const stream = client.generate(1001);
    expect((await stream.next()).value).toHaveLength(10);
    await expect(stream.next()).rejects.toMatchObject({
      code: 'DYN_PAYLOAD_TOO_LARGE',
      message: expect.stringMatching(/1004 bytes packed, the limit is 1000, options\.maxItemBytes/),
    });
    const runtime = await testRuntime(limited);
    await expect(
      runtime.endpoint('limits.other.other').serve(() => 1, { maxItemBytes: MAX_MESSAGE_BYTES }),
    ).rejects.toThrow(/maxItemBytes: expected an integer from 1 to 245760/);
  });

  it('pause a handler that is highWaterBytes ahead of its reader', async () => {
    const ahead = async (highWaterBytes: number): Promise<number> => {
      let yielded = 0;
      const { client } = await pair({ highWaterBytes }, async function* () {
        for (;;) {
          yielded += 1;
          yield new Uint8Array(64 * 1024);
        }
      });
      await using stream = client.generate(0);
      await stream.next();
      await waitForPause('the handler', () => yielded);
      return yielded;
    };
    const [little, much] = [await ahead(64 * 1024), await ahead(64 << 20)];
    expect(much - little).toBeGreaterThan(700);
    expect(much - little).toBeLessThan(1500);
  });

  it('apply to threads that start later', async () => {
    await testRuntime(limited);
    const program = `
    const { parentPort, workerData } = require('node:worker_threads');
    import('tsx/esm/api').then(async ({ register }) => {
      register();
      const { DistributedRuntime } = await import(workerData);
      const runtime = await DistributedRuntime.create({ discovery: { kind: 'mem' } });
      parentPort.postMessage(runtime.limits.maxMessageBytes);
      await runtime.close();
    });`;
    const { DYN_TCP_MAX_MESSAGE_SIZE: _, ...env } = process.env;
    const worker = new Worker(program, {
      eval: true,
      env,
      workerData: new URL('../../../lib/index.ts', import.meta.url).href,
    });
    const told = await new Promise((resolve, reject) => worker.on('message', resolve).on('error', reject));
    expect(told).toBe(MAX_MESSAGE_BYTES - 16 * 1024);
    await worker.terminate();
    await expect(
      DistributedRuntime.create({ discovery: { kind: 'mem' }, maxMessageBytes: 2 * MAX_MESSAGE_BYTES }),
    ).rejects.toMatchObject({ code: 'DYN_CONFLICT' });
  });

  it('end running requests at the close of the runtime if gracefulShutdown is false', async () => {
    const ends = async (gracefulShutdown: boolean): Promise<{ cut: boolean; failed: boolean }> => {
      const runtime = await DistributedRuntime.create({ discovery: { kind: 'mem' }, host: '127.0.0.1', ...limited });
      const endpoint = runtime.endpoint<null, number>('limits.graceful.generate');
      let release = (): void => {};
      const released = new Promise<void>((resolve) => (release = resolve));
      let running = false;
      let cut = false;
      await endpoint.serve(
        async (_, { signal }) => {
          running = true;
          await Promise.race([released, new Promise((resolve) => signal.addEventListener('abort', resolve))]);
          cut = signal.aborted;
          return 1;
        },
        { gracefulShutdown },
      );
      const client = await endpoint.client();
      await client.waitForInstances();
      const answer = client.unary(null).then(
        () => false,
        () => true,
      );
      await waitFor('the handler', () => running);
      const closing = runtime.close({ timeoutMs: 5000 });
      if (gracefulShutdown) release();
      await closing;
      return { cut, failed: await answer };
    };
    expect(await ends(true)).toEqual({ cut: false, failed: false });
    expect(await ends(false)).toMatchObject({ cut: true });
  });
});
