import { DynamoError } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';

import { Child } from '../../helpers/child.js';
import { temporaryFolder, testRuntime } from '../../helpers/runtime/runtime.js';
import { failures, type Outcome, Traffic } from '../../helpers/runtime/traffic.js';
import type { NumbersItem, NumbersRequest } from '../../helpers/runtime/worker-protocol.js';
import { waitFor } from '../../helpers/wait.js';

const LANES = 32;

interface Counts {
  readonly accepted: number;
  readonly whole: number;
  readonly failed: number;
  readonly cut: number;
}

/** Two workers under load, of which one is terminated. */
async function leave(attempts: number): Promise<{ outcomes: readonly Outcome[]; left: Counts; stayed: Counts }> {
  const folder = temporaryFolder();
  const path = 'signal.worker.generate';
  const start = (): Child => {
    const options = { path, runtime: { discovery: { kind: 'file', dir: folder }, host: '127.0.0.1' } };
    const child = Child.program('test/helpers/runtime/programs/worker.ts', [JSON.stringify(options)]);
    onTestFinished(() => child.stop());
    return child;
  };
  const [leaving, staying] = [start(), start()];
  await leaving.event('ready');
  await staying.event('ready');
  const runtime = await testRuntime({ discovery: { kind: 'file', dir: folder } });
  const client = await runtime.endpoint<NumbersRequest, NumbersItem>(path).client();
  await client.waitForInstances({ count: 2, timeoutMs: 30_000 });

  const traffic = new Traffic(client, { items: 20, paceMs: 5, lanes: LANES, attempts });
  await waitFor(
    'calls before the signal',
    () => traffic.whole,
    (whole) => whole >= 100,
  );
  leaving.kill('SIGTERM');
  expect(await leaving.exit()).toMatchObject({ code: 0, signal: null });
  const atExit = traffic.whole;
  await waitFor(
    'calls behind the signal',
    () => traffic.whole,
    (whole) => whole >= atExit + 100,
  );
  const outcomes = await traffic.end();
  staying.kill('SIGTERM');
  await staying.exit();
  const [left, stayed] = [await leaving.event('closed'), await staying.event('closed')] as unknown as [Counts, Counts];
  console.log(
    `${outcomes.length} calls during a SIGTERM; of ${left.accepted} that the worker accepted, ` +
      `${left.whole} completed and ${left.cut} were sent elsewhere`,
  );
  return { outcomes, left, stayed };
}

describe('SIGTERM', () => {
  it('completes every accepted request under load, at this worker or at another', async () => {
    const { outcomes, left, stayed } = await leave(5);
    expect(failures(outcomes)).toEqual([]);
    expect(left.failed + stayed.failed).toBe(0);
    // The caller's view of discovery abandons requests without a connection when the worker leaves, and sends them
    // again.
    expect(left.cut).toBeLessThanOrEqual(LANES);
    expect(stayed.cut).toBe(0);
    expect(left.whole + stayed.whole).toBe(outcomes.length);
  });

  it('causes at most a typed error before the first item for callers without retries', async () => {
    const { outcomes, left, stayed } = await leave(1);
    const failed = outcomes.filter(({ error }) => error !== undefined);
    expect(failed.filter(({ items }) => items > 0)).toEqual([]);
    expect(
      failed.filter(({ error }) => !DynamoError.is(error) || error.code !== 'DYN_UNAVAILABLE' || !error.retryable),
    ).toEqual([]);
    expect(left.whole + stayed.whole).toBe(outcomes.length - failed.length);
  });

  it('ends the process at the second signal if the close takes too long, with the code of the signal', async () => {
    const folder = temporaryFolder();
    const path = 'signal.stuck.generate';
    const options = { path, runtime: { discovery: { kind: 'file', dir: folder }, host: '127.0.0.1' } };
    const child = Child.program('test/helpers/runtime/programs/worker.ts', [JSON.stringify(options)]);
    onTestFinished(() => child.stop());
    await child.event('ready');
    const runtime = await testRuntime({ discovery: { kind: 'file', dir: folder } });
    const client = await runtime.endpoint<NumbersRequest, NumbersItem>(path).client();
    await client.waitForInstances({ timeoutMs: 30_000 });
    const stream = client.generate({ call: 0, items: 2, hangAt: 1 });
    expect((await stream.next()).value).toEqual({ call: 0, index: 0 });
    child.kill('SIGTERM');
    await waitFor(
      'the worker to leave discovery',
      () => client.instances(),
      (instances) => instances.length === 0,
    );
    expect(child.isRunning).toBe(true);
    child.kill('SIGTERM');
    expect(await child.exit()).toMatchObject({ code: 143, signal: null });
    await expect(stream.collect()).rejects.toMatchObject({ code: 'DYN_UNAVAILABLE', kind: 'Disconnected' });
  });
});

describe('closeOnSignal', () => {
  /** A process of `closing.ts` that waits for its signal. */
  async function waiting(what: string): Promise<Child> {
    const child = Child.program('test/lifecycle/programs/closing.ts', [what]);
    onTestFinished(() => child.stop());
    await child.event('ready');
    return child;
  }

  const closings = (child: Child): number => child.events.filter(({ event }) => event === 'closing').length;

  it.each(['SIGTERM', 'SIGINT'] as const)('closes on %s and ends with code 0', async (signal) => {
    const child = await waiting('whole');
    child.kill(signal);
    expect(await child.exit()).toMatchObject({ code: 0, signal: null });
    expect(closings(child)).toBe(1);
  });

  it.each([
    ['rejects', 'SIGTERM', 143],
    ['rejects', 'SIGINT', 130],
    ['throws', 'SIGTERM', 143],
  ] as const)('ends with the error and the code if the close %s at %s', async (what, signal, code) => {
    const child = await waiting(what);
    child.kill(signal);
    expect(await child.exit()).toMatchObject({ code, signal: null });
    expect(closings(child)).toBe(1);
    expect(child.output).toContain('Error: the store is gone');
  });

  it.each([
    ['SIGTERM', 'SIGINT', 130],
    ['SIGINT', 'SIGTERM', 143],
    ['SIGINT', 'SIGINT', 130],
  ] as const)('does not run the close again: after %s it is cut off by %s', async (first, second, code) => {
    const child = await waiting('endless');
    child.kill(first);
    await child.event('closing');
    child.kill(second);
    expect(await child.exit()).toMatchObject({ code, signal: null });
    expect(closings(child)).toBe(1);
  });

  it.each(['SIGTERM', 'SIGINT'] as const)('leaves %s to the process after its removal', async (signal) => {
    const child = await waiting('undone');
    child.kill(signal);
    expect(await child.exit()).toMatchObject({ code: null, signal });
    expect(closings(child)).toBe(0);
  });

  it('leaves the second signal to the process after a removal during the close', async () => {
    const child = await waiting('undone-meanwhile');
    child.kill('SIGTERM');
    await child.event('closing');
    child.kill('SIGTERM');
    expect(await child.exit()).toMatchObject({ code: null, signal: 'SIGTERM' });
  });

  it('does not interfere with another one after its removal', async () => {
    const child = await waiting('again');
    child.kill('SIGINT');
    expect(await child.exit()).toMatchObject({ code: 0, signal: null });
    expect(closings(child)).toBe(1);
  });

  it('closes only on the passed signals', async () => {
    const asked = await waiting('SIGHUP-alone');
    asked.kill('SIGHUP');
    expect(await asked.exit()).toMatchObject({ code: 0, signal: null });
    expect(closings(asked)).toBe(1);
    const other = await waiting('SIGHUP-alone');
    other.kill('SIGTERM');
    expect(await other.exit()).toMatchObject({ code: null, signal: 'SIGTERM' });
    expect(closings(other)).toBe(0);
  });
});
