import { expect, it, onTestFinished } from 'vitest';

import { Child } from '../helpers/child.js';
import type { NumbersItem, NumbersRequest } from '../helpers/numbers.js';
import { temporaryFolder, testRuntime } from '../helpers/runtime.js';
import { failures, Traffic } from '../helpers/traffic.js';
import { waitFor } from '../helpers/wait.js';

it('SIGTERM under load loses no accepted request: each handler ends whole, and only what was not accepted is sent elsewhere', { timeout: 60_000 }, async () => {
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

  const traffic = new Traffic(client, { items: 20, paceMs: 5, lanes: 32, attempts: 5 });
  await waitFor('calls before the signal', () => traffic.whole, (whole) => whole >= 100);
  leaving.kill('SIGTERM');
  expect(await leaving.exit()).toMatchObject({ code: 0, signal: null });
  const atExit = traffic.whole;
  await waitFor('calls behind the signal', () => traffic.whole, (whole) => whole >= atExit + 100);
  const outcomes = await traffic.end();
  const closed = await leaving.event('closed');
  console.log(`${outcomes.length} calls over a SIGTERM, ${String(closed['accepted'])} of them accepted by the worker that left`);
  expect(failures(outcomes)).toEqual([]);
  expect(closed).toMatchObject({ failed: 0, cut: 0 });
  expect(closed['whole']).toBe(closed['accepted']);
  staying.kill('SIGTERM');
  await staying.exit();
  const accepted = (closed['accepted'] as number) + ((await staying.event('closed'))['accepted'] as number);
  expect(accepted).toBe(outcomes.length);
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
