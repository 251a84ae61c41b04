import { DynamoError, RequestCancelled } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';
import { Child } from '../../helpers/child.js';
import { deployments } from '../../helpers/llm/deployments.js';
import { expectConversations } from '../../helpers/runtime/conversation.js';
import { temporaryFolder } from '../../helpers/runtime/runtime.js';

const deployment = deployments();

async function connected(
  handler: (request: unknown, context: import('dynamo-node').RequestContext) => AsyncIterable<unknown>,
) {
  const here = deployment({ responsePlane: 'quic' });
  const [worker, caller] = [await here.runtime(), await here.runtime()];
  expect(worker.config.responsePlane).toBe('quic');
  await worker.endpoint('test.quic.generate').serve(handler as never);
  const client = await caller.endpoint<unknown, unknown>('test.quic.generate').client();
  await client.waitForInstances();
  return client;
}

describe('responses over QUIC', () => {
  it('arrive complete and in order, many concurrently', async () => {
    const client = await connected(async function* (request) {
      const { from, count } = request as { from: number; count: number };
      for (let index = 0; index < count; index++)
        yield { index: from + index, big: 2n ** 63n, bytes: Uint8Array.of(1, 2) };
    });
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, from) => client.collect({ from: from * 100, count: 100 })),
    );
    answers.forEach((items, from) => {
      expect(items.map((item) => (item as { index: number }).index)).toEqual(
        Array.from({ length: 100 }, (_, index) => from * 100 + index),
      );
    });
    expect(answers[0]?.[0]).toMatchObject({ big: 2n ** 63n });
  });

  it('transmit large items', async () => {
    const client = await connected(async function* () {
      for (let index = 0; index < 8; index++) yield new Uint8Array(4 << 20).fill(index);
    });
    const items = (await client.collect(null)) as Uint8Array[];
    expect(items.map((item) => [item.length, item[0], item.at(-1)])).toEqual(
      Array.from({ length: 8 }, (_, index) => [4 << 20, index, index]),
    );
  });

  it('transmit errors, before and after items', async () => {
    const client = await connected(async function* (request) {
      if (request === 'late') yield 1;
      throw new DynamoError('RateLimited', 'not now');
    });
    for (const when of ['early', 'late'])
      await expect(client.collect(when)).rejects.toMatchObject({ code: 'DYN_RATE_LIMITED' });
  });

  it('cancel the worker of a caller that leaves', async () => {
    let reason: unknown;
    const client = await connected(async function* (_request, context) {
      context.signal.addEventListener('abort', () => (reason = context.signal.reason));
      for (let index = 0; ; index++) {
        await new Promise((resolve) => setImmediate(resolve));
        yield index;
      }
    });
    for await (const item of client.generate(null)) if (item === 10) break;
    await expect.poll(() => reason, { timeout: 10_000 }).toBeInstanceOf(RequestCancelled);
  });

  it('answer bidirectional requests, complete or cancelled', async () => {
    const here = deployment({ responsePlane: 'quic' });
    await expectConversations(await here.runtime(), await here.runtime(), 'test.quic.conversation');
  });

  it('are enabled by a variable or an option, on both sides', async () => {
    const path = 'test.quic.generate';
    const runtime = { discovery: { kind: 'file', dir: temporaryFolder() }, host: '127.0.0.1' };
    const start = (program: string, more: object, env: NodeJS.ProcessEnv): Child => {
      const child = Child.program(
        `test/helpers/runtime/programs/${program}.ts`,
        [JSON.stringify({ path, runtime: { ...runtime, ...more } })],
        { env },
      );
      onTestFinished(() => child.stop());
      return child;
    };
    await start('worker', {}, { DYN_RESPONSE_PLANE: 'quic' }).event('ready');
    const items = [0, 1, 2].map((index) => ({ call: 1, index }));
    expect(await start('one-call', {}, { DYN_RESPONSE_PLANE: 'quic' }).event('called')).toMatchObject({ items });
    expect(await start('one-call', { responsePlane: 'quic' }, {}).event('called')).toMatchObject({ items });
    for (const [more, env] of [
      [{}, {}],
      [{ responsePlane: 'tcp' }, { DYN_RESPONSE_PLANE: 'quic' }],
    ]) {
      const refused = await start('one-call', more as object, env as NodeJS.ProcessEnv).event('called');
      expect(refused).toMatchObject({
        code: 'DYN_UNAVAILABLE',
        message: expect.stringContaining('response plane mismatch'),
      });
    }
  });
});
