import type { DynamoError, Endpoint, ServeOptions } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';

import { temporaryFolder, testRuntime } from '../../helpers/runtime/runtime.js';
import { waitFor } from '../../helpers/wait.js';

const PATH = 'queue.worker.generate';
const REJECTED = /^dynamo_component_queue_rejected_total\{[^}]*dynamo_endpoint="generate"[^}]*\} (\d+)$/m;

/** An endpoint whose handler answers only after `open`. */
async function gated(endpoint: Endpoint<unknown, string>, name: string, options: ServeOptions<unknown>) {
  let open = (): void => {};
  const gate = new Promise<void>((resolve) => (open = resolve));
  // A handler that never ends would delay the close of the runtime.
  onTestFinished(() => open());
  const served = await endpoint.serve(async () => {
    await gate;
    return name;
  }, options);
  return { served, open };
}

const settled = (calls: Promise<string>[]): Promise<(string | DynamoError)[]> =>
  Promise.all(calls.map((call) => call.catch((error: DynamoError) => error)));

/** The first calls that fail, after which no further one does until the gate opens. */
async function refusals(calls: Promise<string>[], count: number): Promise<DynamoError[]> {
  const refused: DynamoError[] = [];
  for (const call of calls) call.catch((error: DynamoError) => refused.push(error));
  await waitFor(
    `${count} refused calls`,
    () => refused.length,
    (found) => found === count,
  );
  return refused;
}

describe('requests that wait for a handler', () => {
  it('are refused beyond maxQueued, with a retryable error and a metric', async () => {
    const runtime = await testRuntime();
    const endpoint = runtime.endpoint<unknown, string>(PATH);
    const { open } = await gated(endpoint, 'here', { concurrency: 2, maxQueued: 3 });
    const client = await endpoint.client();
    await client.waitForInstances({ timeoutMs: 30_000 });
    const calls = Array.from({ length: 10 }, () => client.unary(null));
    const refused = await refusals(calls, 5);
    for (const error of refused)
      expect(error).toMatchObject({
        code: 'DYN_CAPACITY_EXHAUSTED',
        reason: 'capacity.worker_overloaded',
        retryable: true,
        message: expect.stringMatching(/3 waiting requests \(maxQueued\)/),
      });
    expect(REJECTED.exec(runtime.metricsText())?.[1]).toBe('5');
    open();
    const answers = await settled(calls);
    expect(answers.filter((answer) => answer === 'here')).toHaveLength(5);
    expect(await client.unary(null)).toBe('here');
  });

  it('are refused beyond maxQueuedBytes, so that a busy handler costs little memory', async () => {
    const runtime = await testRuntime();
    const endpoint = runtime.endpoint<unknown, string>(PATH);
    const { open } = await gated(endpoint, 'here', { concurrency: 1, maxQueuedBytes: 4 * 2 ** 20 });
    const client = await endpoint.client();
    await client.waitForInstances({ timeoutMs: 30_000 });
    const calls = Array.from({ length: 20 }, () => client.unary(new Uint8Array(2 ** 20)));
    const [first] = await refusals(calls, 16);
    expect(first).toMatchObject({ code: 'DYN_CAPACITY_EXHAUSTED', message: expect.stringContaining('maxQueuedBytes') });
    open();
    expect((await settled(calls)).filter((answer) => answer === 'here')).toHaveLength(4);
  });

  it('are limited to 64 MiB by default', async () => {
    const runtime = await testRuntime();
    const endpoint = runtime.endpoint<unknown, string>(PATH);
    const { open } = await gated(endpoint, 'here', { concurrency: 1 });
    const client = await endpoint.client();
    await client.waitForInstances({ timeoutMs: 30_000 });
    const calls = Array.from({ length: 24 }, () => client.unary(new Uint8Array(4 * 2 ** 20)));
    // One runs, and 15 wait: the sixteenth and its overhead exceed the limit.
    await refusals(calls, 8);
    open();
    await settled(calls);
  });

  it('are served by another instance if the caller tries again', async () => {
    const dir = temporaryFolder();
    const runtimes = [
      await testRuntime({ discovery: { kind: 'file', dir } }),
      await testRuntime({ discovery: { kind: 'file', dir } }),
    ];
    const [busy, idle] = runtimes.map((runtime) => runtime.endpoint<unknown, string>(PATH)) as [
      Endpoint<unknown, string>,
      Endpoint<unknown, string>,
    ];
    const { open, served } = await gated(busy, 'busy', { concurrency: 1, maxQueued: 0 });
    await idle.serve(() => 'idle');
    const client = await idle.client({ mode: 'round_robin' });
    await client.waitForInstances({ count: 2, timeoutMs: 30_000 });
    const direct = await busy.client({ mode: 'direct' });
    await direct.waitForInstances({ timeoutMs: 30_000 });
    const held = direct.unary(null, { instanceId: served.instance.instanceId });
    await waitFor(
      'a running request',
      () => served.inFlight,
      (running) => running === 1,
    );
    // One after the other, so that the second attempt of a call goes to the other instance.
    for (let call = 0; call < 20; call++) expect(await client.unary(null, { attempts: 2 })).toBe('idle');
    const rejected = runtimes.map((runtime) => Number(REJECTED.exec(runtime.metricsText())?.[1]));
    expect(rejected[0]).toBeGreaterThan(0);
    expect(rejected[1]).toBe(0);
    open();
    expect(await held).toBe('busy');
  });
});
