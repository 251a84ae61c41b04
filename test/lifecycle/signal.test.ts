import { DynamoError } from 'dynamo-node';
import { expect, it, onTestFinished } from 'vitest';

import { Child } from '../helpers/child.js';
import type { NumbersItem, NumbersRequest } from '../helpers/numbers.js';
import { temporaryFolder, testRuntime } from '../helpers/runtime.js';
import { failures, type Outcome, Traffic } from '../helpers/traffic.js';
import { waitFor } from '../helpers/wait.js';

interface Counts {
  readonly accepted: number;
  readonly whole: number;
  readonly failed: number;
  readonly cut: number;
}

/** Two workers under load, of which one is told to end. */
async function leave(attempts: number): Promise<{ outcomes: readonly Outcome[]; left: Counts; stayed: Counts }> {
  const folder = temporaryFolder();
  const path = 'signal.worker.generate';
  const start = (): Child => {
    const options = { path, runtime: { discovery: { kind: 'file', dir: folder }, host: '127.0.0.1' } };
    const child = Child.program('test/helpers/programs/worker.ts', [JSON.stringify(options)]);
    onTestFinished(() => child.stop());
    return child;
  };
  const [leaving, staying] = [start(), start()];
  await leaving.event('ready');
  await staying.event('ready');
  const runtime = await testRuntime({ discovery: { kind: 'file', dir: folder } });
  const client = await runtime.endpoint<NumbersRequest, NumbersItem>(path).client();
  await client.waitForInstances({ count: 2, timeoutMs: 10_000 });

  const traffic = new Traffic(client, { items: 20, paceMs: 5, lanes: 32, attempts });
  await waitFor('calls before the signal', () => traffic.whole, (whole) => whole >= 100);
  leaving.kill('SIGTERM');
  expect(await leaving.exit()).toMatchObject({ code: 0, signal: null });
  const atExit = traffic.whole;
  await waitFor('calls behind the signal', () => traffic.whole, (whole) => whole >= atExit + 100);
  const outcomes = await traffic.end();
  staying.kill('SIGTERM');
  await staying.exit();
  const [left, stayed] = [await leaving.event('closed'), await staying.event('closed')] as unknown as [Counts, Counts];
  console.log(`${outcomes.length} calls over a SIGTERM; of ${left.accepted} that the worker accepted ${left.whole} ended whole and ${left.cut} were sent elsewhere`);
  return { outcomes, left, stayed };
}

it('SIGTERM under load loses no accepted request: each ends whole, at this worker or sent again at another', { timeout: 60_000 }, async () => {
  const { outcomes, left, stayed } = await leave(5);
  expect(failures(outcomes)).toEqual([]);
  expect(left.failed + stayed.failed).toBe(0);
  // The caller's own view of discovery gives up what had no connection yet when the worker left, and sends it again.
  expect(left.cut).toBeLessThanOrEqual(8);
  expect(stayed.cut).toBe(0);
  expect(left.whole + stayed.whole).toBe(outcomes.length);
});

it('SIGTERM under load is never more to a caller without retries than a typed error before the first item', { timeout: 60_000 }, async () => {
  const { outcomes, left, stayed } = await leave(1);
  const failed = outcomes.filter(({ error }) => error !== undefined);
  expect(failed.filter(({ items }) => items > 0)).toEqual([]);
  expect(failed.filter(({ error }) => !DynamoError.is(error) || error.code !== 'DYN_UNAVAILABLE' || !error.retryable)).toEqual([]);
  expect(left.whole + stayed.whole).toBe(outcomes.length - failed.length);
});

it('a second signal ends a process whose close takes too long at once, with the code of the signal', async () => {
  const folder = temporaryFolder();
  const path = 'signal.stuck.generate';
  const options = { path, runtime: { discovery: { kind: 'file', dir: folder }, host: '127.0.0.1' } };
  const child = Child.program('test/helpers/programs/worker.ts', [JSON.stringify(options)]);
  onTestFinished(() => child.stop());
  await child.event('ready');
  const runtime = await testRuntime({ discovery: { kind: 'file', dir: folder } });
  const client = await runtime.endpoint<NumbersRequest, NumbersItem>(path).client();
  await client.waitForInstances({ timeoutMs: 10_000 });
  const stream = client.generate({ call: 0, items: 2, hangAt: 1 });
  expect((await stream.next()).value).toEqual({ call: 0, index: 0 });
  child.kill('SIGTERM');
  await waitFor('the worker to leave discovery', () => client.instances(), (instances) => instances.length === 0);
  expect(child.isRunning).toBe(true);
  child.kill('SIGTERM');
  expect(await child.exit(5000)).toMatchObject({ code: 143, signal: null });
  await expect(stream.collect()).rejects.toMatchObject({ code: 'DYN_UNAVAILABLE', kind: 'Disconnected' });
});
