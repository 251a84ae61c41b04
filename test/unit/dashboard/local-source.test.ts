import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { LocalSource } from '../../../lib/dashboard/local-source.js';
import { startControl } from '../../../lib/deploy/local/control.js';
import { ownProcessId } from '../../../lib/deploy/local/process-id.js';
import type { RunState } from '../../../lib/deploy/local/run-folder.js';
import type { WorkerMetrics } from '../../../lib/deploy/local/worker-messages.js';
import { inventedRun, inventedSpec } from '../../helpers/dashboard/inputs.js';

const METRICS: WorkerMetrics = {
  requests: 100,
  requestsInFlight: 4,
  outputTokens: 0,
  firstTokenSeconds: 0,
  firstTokens: 0,
  kvTotalBlocks: 1000,
  kvUsage: 0.25,
  transfers: 10,
  transferFailures: 1,
  transferBytes: 5000,
  transferSeconds: 2,
};

let folder: string;
let server: Server | undefined;
/** Of `Decode#0`; that of the others is not known. */
let metrics: WorkerMetrics | undefined;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'local-source-'));
  metrics = METRICS;
});

afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
  server?.close();
  rmSync(folder, { recursive: true, force: true });
});

function state(): RunState {
  const run = inventedRun();
  const services = run.services.map((service) => ({
    ...service,
    workers: service.workers.map((one) =>
      service.name === 'Decode' && one.number === 0 && metrics !== undefined ? { ...one, metrics } : one,
    ),
  }));
  return { ...run, supervisor: ownProcessId(), services };
}

async function source(): Promise<LocalSource> {
  server = await startControl(join(folder, 'control.sock'), async () => ({ state: state() }));
  return new LocalSource(folder, state());
}

/** The figures of `Decode#0`, as of this time. */
async function readAt(local: LocalSource, nowMs: number) {
  vi.spyOn(performance, 'now').mockReturnValue(nowMs);
  const { figures } = await local.read();
  return figures.get('Decode#0');
}

describe('LocalSource', () => {
  it('returns the figures of a worker, with rates from the second reading on', async () => {
    const local = await source();
    const first = await readAt(local, 1000);
    expect(first).toMatchObject({
      flow: { running: 4 },
      kv: { usage: 0.25, totalBlocks: 1000, usedBlocks: 250 },
      transfers: { count: 10, failures: 1, bytes: 5000, bytesPerSecond: 0, meanMs: 200, bandwidth: 2500 },
    });
    expect(first?.flow?.requestsPerSecond).toBeUndefined();

    metrics = { ...METRICS, requests: 130, transferBytes: 6000, outputTokens: 50 };
    const second = await readAt(local, 3000);
    expect(second?.flow).toMatchObject({ requestsPerSecond: 15, outputTokensPerSecond: 25 });
    expect(second?.transfers?.bytesPerSecond).toBe(500);
  });

  it('counts from 0 after a worker has started again', async () => {
    const local = await source();
    await readAt(local, 1000);
    metrics = { ...METRICS, requests: 6 };
    expect((await readAt(local, 2000))?.flow?.requestsPerSecond).toBe(6);
  });

  it('has no rate after a reading without the metrics of the worker, and no figures of it', async () => {
    const local = await source();
    await readAt(local, 1000);
    metrics = undefined;
    expect(await readAt(local, 2000)).toBeUndefined();
    metrics = { ...METRICS, requests: 500 };
    expect((await readAt(local, 3000))?.flow?.requestsPerSecond).toBeUndefined();
  });

  it('shows no transfers of a worker that has none, and no blocks of one that does not know them', async () => {
    const local = await source();
    metrics = { ...METRICS, transfers: 0, transferFailures: 0, kvTotalBlocks: 0 };
    const figures = await readAt(local, 1000);
    expect(figures?.transfers).toBeUndefined();
    expect(figures?.kv).toEqual({ usage: 0.25 });
  });

  it('knows the frontends that have metrics: not those of code', async () => {
    const { services, ...spec } = inventedSpec();
    const [frontend] = services.filter(({ name }) => name === 'Frontend');
    const gate = { ...frontend, name: 'Gate', program: 'code' };
    writeFileSync(join(folder, 'graph.json'), JSON.stringify({ spec: { ...spec, services: [...services, gate] } }));
    const run = state();
    const url = 'http://127.0.0.1:8001';
    const worker = { ...run.services.at(-1)?.workers[0], url };
    const gated = { ...run, services: [...run.services, { name: 'Gate', desired: 1, workers: [worker] }] } as RunState;
    server = await startControl(join(folder, 'control.sock'), async () => ({ state: gated }));
    const { frontends } = await new LocalSource(folder, gated).read();
    expect(frontends).toEqual(['http://127.0.0.1:8000']);
  });

  it('gives up after 5 s if the supervisor runs but does not answer', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const path = join(folder, 'control.sock');
    server = createServer((socket) => {
      socket.resume().on('error', () => {});
      setImmediate(() => vi.advanceTimersByTime(5000));
    });
    await new Promise<void>((resolve) => server?.listen(path, resolve));
    await expect(new LocalSource(folder, state()).read()).rejects.toThrow('it did not answer within 5000 ms');
  });

  it('leaves no timer after an answer', async () => {
    const local = await source();
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    await local.read();
    expect(vi.getTimerCount()).toBe(0);
  });
});
