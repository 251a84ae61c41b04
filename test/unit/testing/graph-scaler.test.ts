import { describe, expect, it } from 'vitest';
import { GraphScaler } from '../../../lib/testing/graph-scaler.js';
import { waitFor } from '../../helpers/wait.js';

/** Workers that are counts. A start waits for `release`. */
class Workers {
  counts: Record<string, number> = { Worker: 1, Other: 1 };
  starts: { resolve(): void; reject(error: Error): void }[] = [];
  drains: (() => void)[] = [];

  count(service: string): number {
    return this.counts[service] ?? 0;
  }

  async add(service: string): Promise<void> {
    await new Promise<void>((resolve, reject) => this.starts.push({ resolve, reject }));
    this.counts[service] = this.count(service) + 1;
  }

  async remove(service: string): Promise<void> {
    this.counts[service] = this.count(service) - 1;
    await new Promise<void>((resolve) => this.drains.push(resolve));
  }

  /** Waits for the next start, and takes it. */
  async start() {
    await waitFor('a start', () => this.starts.length > 0);
    return this.starts.shift() as (typeof this.starts)[number];
  }
}

function scaled() {
  const workers = new Workers();
  return { workers, scaler: new GraphScaler(workers, { prefill: 'Worker', decode: 'Other' }) };
}

describe('GraphScaler', () => {
  it('counts what was asked for as desired, and what has started as ready', async () => {
    const { workers, scaler } = scaled();
    await scaler.scale({ prefill: 3 });
    expect(scaler.current()).toEqual({ prefill: { desired: 3, ready: 1 }, decode: { desired: 1, ready: 1 } });
    (await workers.start()).resolve();
    (await workers.start()).resolve();
    await waitFor('both', () => scaler.current().prefill?.ready === 3);
    expect(workers.starts).toEqual([]);
    workers.counts['Worker'] = 2;
    expect(scaler.current().prefill).toEqual({ desired: 2, ready: 2 });
  });

  it('follows a target that changes during a start, and drains several workers at once', async () => {
    const { workers, scaler } = scaled();
    workers.counts['Worker'] = 4;
    await scaler.scale({ prefill: 5 });
    const start = await workers.start();
    await scaler.scale({ prefill: 2 });
    start.resolve();
    await waitFor('the target', () => workers.count('Worker') === 2);
    expect(workers.drains.length).toBe(3);
    expect(scaler.current().prefill).toEqual({ desired: 2, ready: 2 });
  });

  it('reports a start that fails once, and does not want the worker any more', async () => {
    const { workers, scaler } = scaled();
    await scaler.scale({ prefill: 2 });
    (await workers.start()).reject(new Error('no model'));
    await expect.poll(() => caught(() => scaler.current())).toBe('no model');
    expect(scaler.current().prefill).toEqual({ desired: 1, ready: 1 });
  });

  it('waits for drains and starts at its close, and begins no others', async () => {
    const { workers, scaler } = scaled();
    workers.counts['Other'] = 2;
    await scaler.scale({ prefill: 3, decode: 1 });
    const start = await workers.start();
    let isClosed = false;
    const closed = scaler.close().then(() => {
      isClosed = true;
    });
    start.resolve();
    await waitFor('the start', () => workers.count('Worker') === 2);
    expect(isClosed).toBe(false);
    for (const drain of workers.drains) drain();
    await closed;
    await scaler.scale({ prefill: 9 });
    expect([workers.starts.length, workers.count('Worker')]).toEqual([0, 2]);
  });
});

function caught(run: () => unknown): string | undefined {
  try {
    run();
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}
