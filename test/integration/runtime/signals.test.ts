import { getEventListeners } from 'node:events';

import type { Client } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';

import { testRuntime } from '../../helpers/runtime/runtime.js';

/** The warnings of the process, from now until the end of the test. */
function warnings(): Error[] {
  const seen: Error[] = [];
  const note = (warning: Error): void => void seen.push(warning);
  process.on('warning', note);
  onTestFinished(() => void process.off('warning', note));
  return seen;
}

async function echo(): Promise<Client<unknown, unknown>> {
  const runtime = await testRuntime();
  const endpoint = runtime.endpoint('test.worker.shared-signal');
  await endpoint.serve(async function* (request, { signal }) {
    yield request;
    if (request !== 'stay') return;
    await new Promise((resolve) => signal.addEventListener('abort', resolve));
  });
  const client = await endpoint.client();
  await client.waitForInstances({ timeoutMs: 30_000 });
  return client;
}

const context = (signal: AbortSignal) => ({
  id: '',
  metadata: {},
  signal,
  traceparent: undefined,
  tracestate: undefined,
});

describe('one AbortSignal shared by 300 calls', () => {
  it('causes no warning, has one listener while they run and none afterwards', async () => {
    const seen = warnings();
    const client = await echo();
    const [own, parent] = [new AbortController(), new AbortController()];
    const options = { signal: own.signal, parent: context(parent.signal) };
    // Dynamo does not run two requests with one id at the same time.
    const one = (index: number) => ({ ...options, id: `request-${index}` });
    const calls = Array.from({ length: 300 }, (_, index) =>
      index % 2 === 0 ? client.unary(index, one(index)) : client.collect(index, { ...one(index), timeoutMs: 60_000 }),
    );
    for (const { signal } of [own, parent]) expect(getEventListeners(signal, 'abort')).toHaveLength(1);
    await Promise.all(calls);
    for (const { signal } of [own, parent]) expect(getEventListeners(signal, 'abort')).toHaveLength(0);
    await new Promise((resolve) => setImmediate(resolve));
    expect(seen.map(({ name }) => name)).toEqual([]);
  });

  it('ends all of them', async () => {
    const client = await echo();
    const controller = new AbortController();
    const streams = Array.from({ length: 300 }, () => client.generate('stay', { signal: controller.signal }));
    for (const stream of streams) expect((await stream.next()).value).toBe('stay');
    const ends = streams.map((stream) => stream.next().catch((error: unknown) => error));
    const reason = new Error('enough');
    controller.abort(reason);
    expect(new Set(await Promise.all(ends))).toEqual(new Set([reason]));
    expect(getEventListeners(controller.signal, 'abort')).toHaveLength(0);
  });
});
