import { type Client, type DistributedRuntime, DynamoError } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';

import { Child } from '../../helpers/child.js';
import { temporaryFolder, testRuntime } from '../../helpers/runtime/runtime.js';
import type { NumbersItem, NumbersRequest } from '../../helpers/runtime/worker-protocol.js';
import { lowest, waitFor, within } from '../../helpers/wait.js';

const REQUESTS_PER_SECOND = 10;
const INHIBITED_MS = 5000;
/** Discovery files expire after 10 s. They are scanned every third of that time. */
const SWEPT_MS = 40_000;

interface Scene {
  readonly workers: Child[];
  readonly runtime: DistributedRuntime;
  readonly client: Client<NumbersRequest, NumbersItem>;
  /** A client of another runtime, which learns of failures separately. */
  readonly other: Client<NumbersRequest, NumbersItem>;
}

async function scene(path: string, count: number): Promise<Scene> {
  const folder = temporaryFolder();
  const options = { path, runtime: { discovery: { kind: 'file', dir: folder }, host: '127.0.0.1' } };
  const workers = Array.from({ length: count }, () =>
    Child.program('test/helpers/runtime/programs/worker.ts', [JSON.stringify(options)]),
  );
  onTestFinished(async () => {
    await Promise.all(workers.map((worker) => worker.stop()));
  });
  for (const worker of workers) await worker.event('ready');
  const connect = async (): Promise<[DistributedRuntime, Client<NumbersRequest, NumbersItem>]> => {
    const runtime = await testRuntime({ discovery: { kind: 'file', dir: folder } });
    const client = await runtime.endpoint<NumbersRequest, NumbersItem>(path).client();
    await client.waitForInstances({ count, timeoutMs: 30_000 });
    return [runtime, client];
  };
  const [[runtime, client], [, other]] = await Promise.all([connect(), connect()]);
  return { workers, runtime, client, other };
}

interface Sent {
  readonly at: number;
  readonly endedAt: number;
  readonly error: unknown;
}

/** Failures of calls that were sent when the last failure was known. Concurrent ones could not be avoided. */
function apart(failed: readonly Sent[]): Sent[] {
  let knownAt = Number.NEGATIVE_INFINITY;
  return [...failed]
    .sort((a, b) => a.at - b.at)
    .filter(({ at, endedAt }) => {
      if (at < knownAt) return false;
      knownAt = endedAt;
      return true;
    });
}

describe('a worker killed during a stream', () => {
  it('causes a typed Disconnected within a second, after every received item', async () => {
    expect(await lowest(1000, killed)).toBeLessThan(1000);
  });
});

async function killed(): Promise<number> {
  const { workers, client } = await scene('kill.stream.generate', 1);
  const seen: number[][] = [];
  const streams = Array.from({ length: 20 }, async (_, call) => {
    const items: number[] = (seen[call] = []);
    for await (const { index } of client.generate({ call, items: 1_000_000, paceMs: 2 })) items.push(index);
  });
  const ends = Promise.allSettled(streams);
  await waitFor(
    'items of every stream',
    () => seen.map(({ length }) => length),
    (lengths) => lengths.every((length) => length > 5),
  );
  const killedAt = performance.now();
  workers[0]?.kill('SIGKILL');
  const results = await within(20_000, 'the ends of the streams', ends, () => seen.map(({ length }) => length));
  const endedMs = performance.now() - killedAt;
  console.log(
    `${streams.length} streams of a worker killed after ${seen.reduce((sum, { length }) => sum + length, 0)} items: ` +
      `all ended within ${endedMs.toFixed(0)} ms`,
  );
  for (const result of results) {
    expect(result).toMatchObject({
      status: 'rejected',
      reason: { code: 'DYN_UNAVAILABLE', kind: 'Disconnected', reason: 'transport.disconnected', retryable: true },
    });
  }
  for (const items of seen) expect(items).toEqual(items.map((_, index) => index));
  return endedMs;
}

describe('one of two workers killed at 10 requests per second', () => {
  it('fails no call with retries, at most one per inhibition period without, then leaves discovery', async () => {
    const { workers, runtime, client, other } = await scene('kill.pair.generate', 2);
    const bare: Sent[] = [];
    const retried: Sent[] = [];
    const calls: Promise<void>[] = [];
    let call = 0;
    const send = (from: typeof client, into: Sent[], attempts: number): void => {
      const at = performance.now();
      const answer = from.collect({ call: call++, items: 3 }, { attempts });
      calls.push(
        answer
          .then(
            () => undefined,
            (error: unknown) => error,
          )
          .then((error) => void into.push({ at, endedAt: performance.now(), error })),
      );
    };
    const pulse = setInterval(() => {
      send(client, bare, 1);
      send(other, retried, 5);
    }, 1000 / REQUESTS_PER_SECOND);
    onTestFinished(() => clearInterval(pulse));

    await waitFor(
      'calls before the kill',
      () => bare.length,
      (count) => count >= 10,
    );
    const before = (await runtime.instances()).length;
    workers[0]?.kill('SIGKILL');
    // Until then it may still take a call, which is then in flight.
    await workers[0]?.exited;
    const killedAt = performance.now();
    await waitFor(
      'the registrations',
      () => runtime.instances(),
      (instances) => instances.length === before - 1,
      SWEPT_MS,
    );
    await waitFor(
      'the routing view',
      () => client.instances(),
      (instances) => instances.length === before - 1,
    );
    const sweptAt = performance.now();
    const atSweep = bare.length;
    await waitFor(
      'calls behind the sweep',
      () => bare.length,
      (count) => count >= atSweep + 10,
    );
    clearInterval(pulse);
    await Promise.all(calls);

    const failed = bare.filter(({ error }) => error !== undefined);
    const inFlight = failed.filter(({ at }) => at <= killedAt);
    const later = failed.filter(({ at }) => at > killedAt);
    const ticks = Math.ceil((sweptAt - killedAt) / INHIBITED_MS);
    console.log(
      `${bare.length} calls without and ${retried.length} with retries; ` +
        `removed after ${((sweptAt - killedAt) / 1000).toFixed(1)} s; ` +
        `without retries ${inFlight.length} in flight and ${later.length} later failed, in ${ticks} ticks`,
    );
    expect(retried.filter(({ error }) => error !== undefined)).toEqual([]);
    expect(failed.every(({ error }) => DynamoError.is(error) && error.code === 'DYN_UNAVAILABLE')).toBe(true);
    expect(apart(later).length).toBeLessThanOrEqual(ticks);
    expect(failed.filter(({ at }) => at > sweptAt)).toEqual([]);
  });
});
