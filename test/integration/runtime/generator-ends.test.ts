import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { type Client, DistributedRuntime, type ServedEndpoint } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';

import { Child } from '../../helpers/child.js';
import { temporaryFolder } from '../../helpers/runtime/runtime.js';
import { waitFor } from '../../helpers/wait.js';

/** What a generator does after its first item. */
type After = 'ends' | 'throws' | 'yields what cannot be packed' | 'yields too much' | 'goes on';

const ENDS: [name: string, after: After][] = [
  ['its end', 'ends'],
  ['its own error', 'throws'],
  ['an item that cannot be packed', 'yields what cannot be packed'],
  ['an item that is too large', 'yields too much'],
  ['a kill', 'goes on'],
  ['a stop', 'goes on'],
  ['the close of the endpoint', 'goes on'],
  ['the close of the runtime', 'goes on'],
  ['a disconnect', 'goes on'],
];

const KINDS = ['serve', 'serveBidirectional'] as const;

/** A served generator, which counts those that have begun and have not run their `finally`. */
async function served(kind: (typeof KINDS)[number], after: After, dir: string) {
  const observed = { open: 0, begun: 0 };
  const runtime = await DistributedRuntime.create({ discovery: { kind: 'file', dir }, host: '127.0.0.1' });
  onTestFinished(() => runtime.close({ timeoutMs: 100 }));
  const endpoint = runtime.endpoint<unknown, unknown>('test.generator.ends');
  const generate = async function* (): AsyncGenerator<unknown> {
    observed.open += 1;
    observed.begun += 1;
    try {
      yield 0;
      if (after === 'ends') return;
      if (after === 'throws') throw new Error('no more paper');
      if (after === 'yields what cannot be packed') yield () => {};
      if (after === 'yields too much') yield new Uint8Array(2000);
      for (;;) {
        await new Promise((resolve) => setImmediate(resolve));
        yield 1;
      }
    } finally {
      observed.open -= 1;
    }
  };
  const serving: ServedEndpoint = await endpoint[kind](generate, { maxItemBytes: 1000 });
  return { observed, runtime, serving };
}

async function caller(dir: string): Promise<{ runtime: DistributedRuntime; client: Client<unknown, unknown> }> {
  const runtime = await DistributedRuntime.create({ discovery: { kind: 'file', dir }, host: '127.0.0.1' });
  onTestFinished(() => runtime.close({ timeoutMs: 100 }));
  const client = await runtime.endpoint<unknown, unknown>('test.generator.ends').client();
  await client.waitForInstances({ timeoutMs: 30_000 });
  return { runtime, client };
}

describe.each(KINDS)('the generator of a handler of %s runs its finally', (kind) => {
  it.each(ENDS)('after %s', async (end, after) => {
    // The program that reads makes no bidirectional calls.
    if (end === 'a disconnect' && kind !== 'serve') return;
    const dir = temporaryFolder();
    const { observed, runtime, serving } = await served(kind, after, dir);
    if (end === 'a disconnect') {
      const child = Child.program('test/helpers/runtime/programs/reader.ts', [dir, 'test.generator.ends', '1']);
      onTestFinished(() => child.stop());
      await child.event('reading');
      child.kill('SIGKILL');
    } else {
      const { client } = await caller(dir);
      const stream = kind === 'serve' ? client.generate(null) : client.bidirectional([]);
      expect(await stream.next()).toEqual({ done: false, value: 0 });
      if (after === 'goes on') expect((await stream.next()).value).toBe(1);
      if (end === 'a kill') await stream.return();
      if (end === 'a stop') stream.stop();
      const rest = stream.collect().catch(() => {});
      if (end === 'the close of the endpoint') await serving.close({ timeoutMs: 10 });
      if (end === 'the close of the runtime') await runtime.close({ timeoutMs: 10 });
      await rest;
    }
    await waitFor('the generator', () => observed.begun > 0 && observed.open === 0);
    await waitFor('the capacity', () => serving.inFlight === 0);
  });
});

describe('a runtime', () => {
  it('forgets the endpoints that are closed', async () => {
    const runtime = await DistributedRuntime.create({ discovery: { kind: 'mem' }, host: '127.0.0.1' });
    onTestFinished(() => runtime.close({ timeoutMs: 100 }));
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const serveAndClose = async (): Promise<WeakRef<ServedEndpoint>> => {
      const serving = await runtime.endpoint('test.closed.often').serve(() => 1);
      await serving.close();
      return new WeakRef(serving);
    };
    const closed = [await serveAndClose(), await serveAndClose()];
    await waitFor(
      'the endpoints',
      () => (collect(), closed.filter((one) => one.deref() !== undefined).length),
      (left) => left === 0,
    );
    expect(runtime.limits.maxMessageBytes).toBeGreaterThan(0);
  });
});
