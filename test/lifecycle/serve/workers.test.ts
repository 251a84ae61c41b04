import { statSync } from 'node:fs';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { describe, expect, it, onTestFinished } from 'vitest';

import type { LocalGraph } from '../../../lib/deploy/local/local-graph.js';
import { DEFAULT_RESTARTS } from '../../../lib/deploy/local/restart-policy.js';
import { ServeTest } from '../../helpers/deploy/serve.js';
import { root } from '../../helpers/project.js';
import { waitFor, waitForPause, within } from '../../helpers/wait.js';

const quickRestarts = { restarts: { ...DEFAULT_RESTARTS, minDelayMs: 10 } };

/** Crashes the worker of Splitter each time that it is ready. */
function crashWhenReady(local: LocalGraph): void {
  let last: number | undefined;
  const timer = setInterval(() => {
    const { phase, pid } = local.state.services[0]?.workers[0] ?? {};
    if (phase !== 'ready' || pid === undefined || pid === last) return;
    last = pid;
    process.kill(pid, 'SIGUSR2');
  }, 20);
  onTestFinished(() => clearInterval(timer));
}

describe('a worker', () => {
  it('that exits in its start is not started again', async () => {
    await using test = new ServeTest();
    const { local } = await test.local({ Splitter: { mode: 'exit' } });
    await expect(local.start()).rejects.toMatchObject({
      code: 'E_WORKER_FAILED',
      exitCode: 1,
      message: 'Splitter#0 did not start: its process ended with code 7',
    });
  });

  it('that is not ready in time fails', async () => {
    await using test = new ServeTest();
    const { local } = await test.local({ Splitter: { mode: 'hang' } }, { startTimeoutMs: 100 });
    await expect(local.start()).rejects.toThrow('Splitter#0 did not start: it was not ready within 100 ms');
  });

  it('that loads its graph ends at once when the graph drains, without an error', async () => {
    await using test = new ServeTest();
    const target = join(root, 'test/helpers/deploy/graphs/slow-load.ts');
    const { local, lines, notes } = await test.local({}, {}, target);
    const started = local.start();
    await waitFor('the load', () => lines.some((line) => line.endsWith('loading')));
    await within(10_000, 'the end', local.drain(), () => lines);
    await started;
    expect(lines).toEqual(['[Slow#0] loading']);
    expect(notes).toEqual([]);
  });

  it('that crashes is restarted, until it has crashed 5 times in a row', async () => {
    await using test = new ServeTest();
    const { local, notes } = await test.local({ Splitter: { mode: 'crash-on-signal' } }, quickRestarts);
    crashWhenReady(local);
    await local.start().catch(() => {});
    await expect(local.ended).rejects.toThrow('Splitter#0 crashed 5 times in a row: its process ended with code 3');
    const crashes = notes.filter((note) => note.startsWith('Splitter#0 crashed'));
    expect(crashes).toEqual(Array(4).fill('Splitter#0 crashed: its process ended with code 3; it starts again soon'));
  });

  it('that crashes ends the graph if nothing may be restarted', async () => {
    await using test = new ServeTest();
    const { local } = await test.local(
      { Splitter: { mode: 'crash-on-signal' } },
      { restarts: { ...DEFAULT_RESTARTS, respawn: 'never' } },
    );
    crashWhenReady(local);
    await local.start().catch(() => {});
    await expect(local.ended).rejects.toThrow('Splitter#0 crashed: its process ended with code 3');
  });

  it('that does not drain is killed after the grace time', async () => {
    await using test = new ServeTest();
    const { local } = await test.local({ Splitter: { mode: 'hang-in-shutdown' } }, { graceMs: 500 });
    await local.start();
    const from = performance.now();
    await local.drain();
    expect(performance.now() - from).toBeGreaterThan(450);
    expect(local.state.services.flatMap(({ workers }) => workers.map(({ phase }) => phase))).toEqual([
      'stopped',
      'stopped',
      'stopped',
    ]);
  });

  it('that floods its log waits while nobody reads it', async () => {
    await using test = new ServeTest();
    const out = new Writable({ write: () => {} });
    const { local } = await test.local({ Splitter: { mode: 'flood' } }, { out, graceMs: 0 });
    await local.start();
    const log = local.state.services[0]?.workers[0]?.log as string;
    await waitForPause('the log', () => statSync(log).size);
    expect(out.writableLength).toBeLessThan(1024 * 1024);
  });

  it('that floods its log while nobody reads it still drains', async () => {
    await using test = new ServeTest();
    const out = new Writable({ write: () => {} });
    const { local } = await test.local({ Splitter: { mode: 'flood' } }, { out, graceMs: 60_000 });
    await local.start();
    const log = local.state.services[0]?.workers[0]?.log as string;
    await waitForPause('the log', () => statSync(log).size);
    await within(30_000, 'the drain', local.drain(), () => local.state);
    expect(local.state.services[0]?.workers[0]?.reason).toBeUndefined();
  });

  it('that floods its log has two log files of limited size', async () => {
    await using test = new ServeTest();
    const out = new Writable({ write: (_, __, done) => done() });
    const { local } = await test.local({ Splitter: { mode: 'flood' } }, { out, logDir: join(test.folder, 'logs') });
    await local.start();
    const log = join(test.folder, 'logs', 'Splitter-0.log');
    await waitFor('the second file', () => statSync(`${log}.1`, { throwIfNoEntry: false }) !== undefined);
    expect(statSync(`${log}.1`).size).toBeLessThan(17 * 1024 * 1024);
    expect((await test.dynamo('logs', 'Splitter#0', '--tail', '2')).stdout).toBe(
      `[Splitter#0] ${'x'.repeat(1023)}\n`.repeat(2),
    );
    expect(await test.dynamo('logs', 'Nobody')).toMatchObject({ code: 65 });
  });
});
