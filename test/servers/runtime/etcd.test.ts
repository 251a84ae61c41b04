import { type Client, DistributedRuntime, Frontend, type InstanceChange, serveEngine } from 'dynamo-node';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';

import { Child } from '../../helpers/child.js';
import { CountingEngine } from '../../helpers/llm/engines.js';
import { failures, Traffic } from '../../helpers/runtime/traffic.js';
import type { NumbersItem, NumbersRequest } from '../../helpers/runtime/worker-protocol.js';
import { Server, serversMissing } from '../../helpers/servers.js';
import { waitFor, within } from '../../helpers/wait.js';

const missing = serversMissing('etcd');
/** Long enough for a live runtime to keep it on a loaded machine. */
const LEASE_SECONDS = 15;
/** For runtimes that lose it. */
const SHORT_LEASE_SECONDS = 3;

type Numbers = Client<NumbersRequest, NumbersItem>;

beforeEach(({ skip }) => skip(missing !== undefined, missing));

function connect(server: Server, leaseTtlSeconds = LEASE_SECONDS): Promise<DistributedRuntime> {
  return DistributedRuntime.create({
    discovery: { kind: 'etcd', endpoints: [server.url], leaseTtlSeconds },
    host: '127.0.0.1',
    inhibitedSeconds: 1,
  });
}

async function runtimeOn(server: Server, leaseTtlSeconds?: number): Promise<DistributedRuntime> {
  const runtime = await connect(server, leaseTtlSeconds);
  onTestFinished(() => runtime.close({ timeoutMs: 5000 }));
  return runtime;
}

/** A worker in a separate process. */
function workerOn(server: Server, path: string, leaseTtlSeconds = LEASE_SECONDS): Child {
  const runtime = { discovery: { kind: 'etcd', endpoints: [server.url], leaseTtlSeconds }, host: '127.0.0.1' };
  const child = Child.program('test/helpers/runtime/programs/worker.ts', [JSON.stringify({ path, runtime })]);
  onTestFinished(() => child.stop());
  return child;
}

async function clientOf(runtime: DistributedRuntime, path: string): Promise<Numbers> {
  const client = await runtime.endpoint<NumbersRequest, NumbersItem>(path).client();
  onTestFinished(() => client.close());
  return client;
}

/** The keys in etcd, by its own HTTP interface. */
async function keys(server: Server): Promise<string[]> {
  const base64 = (text: string): string => Buffer.from(text).toString('base64');
  const body = JSON.stringify({ key: base64('\0'), range_end: base64('\0'), keys_only: true });
  const response = await fetch(`${server.url}/v3/kv/range`, { method: 'POST', body });
  const { kvs = [] } = (await response.json()) as { kvs?: { key: string }[] };
  return kvs.map(({ key }) => Buffer.from(key, 'base64').toString());
}

async function post(server: Server, path: string, body: object): Promise<unknown> {
  return (await fetch(`${server.url}/v3/${path}`, { method: 'POST', body: JSON.stringify(body) })).json();
}

/** The lease of a key whose name contains `part`. */
async function leaseOf(server: Server, part: string): Promise<string | undefined> {
  const zero = Buffer.from('\0').toString('base64');
  const { kvs } = (await post(server, 'kv/range', { key: zero, range_end: zero, keys_only: true })) as {
    kvs: { key: string; lease: string }[];
  };
  return kvs.find((one) => Buffer.from(one.key, 'base64').toString().includes(part))?.lease;
}

/** The lifetime in seconds of that lease. */
async function leaseTtl(server: Server, part: string): Promise<number> {
  const ID = await leaseOf(server, part);
  const { grantedTTL } = (await post(server, 'lease/timetolive', { ID })) as { grantedTTL: string };
  return Number(grantedTTL);
}

describe('discovery on etcd', () => {
  let server: Server;

  beforeAll(async () => {
    if (missing === undefined) server = await Server.etcd();
  });
  afterAll(() => server?.close());

  it('has a key of a served endpoint, until the endpoint is closed', async () => {
    const runtime = await runtimeOn(server);
    expect(runtime.config.discovery).toBe('etcd');
    const served = await runtime.endpoint('etcd.plain.generate').serve(() => 1);
    expect((await keys(server)).filter((key) => key.includes('etcd/plain/generate'))).toHaveLength(1);
    expect((await runtime.instances()).map(({ endpoint }) => endpoint)).toEqual(['generate']);
    await served.close();
    expect((await keys(server)).filter((key) => key.includes('etcd/plain/generate'))).toEqual([]);
  });

  it.each<[string, (url: string) => { env?: NodeJS.ProcessEnv; discovery?: object }]>([
    ['options', (url) => ({ discovery: { kind: 'etcd', endpoints: [url], leaseTtlSeconds: 7 } })],
    ['variables', (url) => ({ env: { DYN_DISCOVERY_BACKEND: 'etcd', ETCD_ENDPOINTS: url, ETCD_LEASE_TTL: '7' } })],
    [
      'variables without the backend, since etcd is the default',
      (url) => ({ env: { ETCD_ENDPOINTS: url, ETCD_LEASE_TTL: '7' } }),
    ],
    ['a list of endpoints', (url) => ({ env: { ETCD_ENDPOINTS: `${url},${url}`, ETCD_LEASE_TTL: '7' } })],
    [
      'variables for an option without endpoints',
      (url) => ({ env: { ETCD_ENDPOINTS: url, ETCD_LEASE_TTL: '7' }, discovery: { kind: 'etcd' } }),
    ],
    [
      'options over variables',
      (url) => ({
        env: { ETCD_ENDPOINTS: 'http://127.0.0.1:1', ETCD_LEASE_TTL: '9' },
        discovery: { kind: 'etcd', endpoints: [url], leaseTtlSeconds: 7 },
      }),
    ],
  ])('is found, with a lease of seven seconds, by %s', async (_, told) => {
    const { env = {}, discovery } = told(server.url);
    const path = 'etcd.told.generate';
    const child = Child.program(
      'test/helpers/runtime/programs/worker.ts',
      [JSON.stringify({ path, runtime: { host: '127.0.0.1', discovery } })],
      { env },
    );
    onTestFinished(() => child.stop());
    await child.event('ready');
    expect(await leaseTtl(server, 'etcd/told/generate')).toBe(7);
    child.kill('SIGTERM');
    expect(await child.exit()).toMatchObject({ code: 0 });
    expect((await keys(server)).filter((key) => key.includes('etcd/told/generate'))).toEqual([]);
  });

  it('reports each worker that starts and ends, in other processes too', async () => {
    const runtime = await runtimeOn(server);
    const client = await clientOf(runtime, 'etcd.watched.generate');
    const changes: InstanceChange[] = [];
    const watch = client.watch();
    const watching = (async () => {
      for await (const change of watch) changes.push(change);
    })();
    const worker = workerOn(server, 'etcd.watched.generate');
    const ready = await worker.event('ready');
    const instanceId = BigInt(ready['instanceId'] as string);
    await waitFor(
      'a change "added"',
      () => changes,
      (seen) => seen.some((one) => one.type === 'added' && one.instance.instanceId === instanceId),
    );
    await client.waitForInstances({ timeoutMs: 30_000 });
    expect(await client.collect({ call: 1, items: 3 })).toEqual([0, 1, 2].map((index) => ({ call: 1, index })));
    worker.kill('SIGTERM');
    await waitFor(
      'a change "removed"',
      () => changes,
      (seen) => seen.some((one) => one.type === 'removed' && one.instanceId === instanceId),
    );
    await worker.exit();
    await watch.return?.();
    await within(20_000, 'the end of the watch', watching);
  });

  it('removes a killed worker when its lease expires', async () => {
    const runtime = await runtimeOn(server);
    const client = await clientOf(runtime, 'etcd.killed.generate');
    const worker = workerOn(server, 'etcd.killed.generate', SHORT_LEASE_SECONDS);
    await worker.event('ready');
    await client.waitForInstances({ timeoutMs: 30_000 });
    worker.kill('SIGKILL');
    await worker.exit();
    await waitFor(
      'the instances of the client',
      () => client.instances(),
      (instances) => instances.length === 0,
      (SHORT_LEASE_SECONDS + 30) * 1000,
    );
    await expect(client.collect({ call: 1, items: 1 })).rejects.toMatchObject({ code: 'DYN_UNAVAILABLE' });
  });

  it('removes an unregistered endpoint and adds it again under its id', async () => {
    const runtime = await runtimeOn(server);
    const endpoint = runtime.endpoint<NumbersRequest, NumbersItem>('etcd.sleeping.generate');
    await endpoint.serve(({ call }) => ({ call, index: 0 }));
    const client = await clientOf(runtime, 'etcd.sleeping.generate');
    const [instance] = await client.waitForInstances({ timeoutMs: 30_000 });
    await endpoint.unregister();
    await waitFor(
      'the instances of the client',
      () => client.instances(),
      (instances) => instances.length === 0,
    );
    await endpoint.register();
    expect(await client.waitForInstances({ timeoutMs: 30_000 })).toEqual([instance]);
  });
});

describe('a lease that is revoked', () => {
  let server: Server;

  beforeAll(async () => {
    if (missing === undefined) server = await Server.etcd();
  });
  afterAll(() => server?.close());

  it('ends the runtime of a worker with an error, after its running requests', async () => {
    const runtime = await runtimeOn(server);
    const endpoint = runtime.endpoint<null, string>('etcd.revoked.generate');
    let answer = (_: string): void => {};
    const served = await endpoint.serve(() => new Promise<string>((resolve) => (answer = resolve)));
    const caller = await runtimeOn(server);
    const client = await caller.endpoint<null, string>('etcd.revoked.generate').client();
    await client.waitForInstances({ timeoutMs: 30_000 });
    const running = client.unary(null);
    await waitFor(
      'the running request',
      () => served.inFlight,
      (inFlight) => inFlight === 1,
    );
    const warned = new Promise<Error>((resolve) => {
      const onWarning = (warning: Error & { code?: string }): void => {
        if (warning.code !== 'DYN_RUNTIME_LOST') return;
        process.off('warning', onWarning);
        resolve(warning);
      };
      process.on('warning', onWarning);
    });
    await post(server, 'lease/revoke', { ID: await leaseOf(server, 'etcd/revoked/generate') });
    const lost = { code: 'DYN_UNAVAILABLE', reason: 'discovery.lease_lost' };
    await expect(within(LEASE_SECONDS * 2000, 'the end of the runtime', runtime.ended)).rejects.toMatchObject(lost);
    expect((await warned).message).toContain('lost its lease in etcd');
    expect(() => runtime.endpoint('etcd.revoked.other')).toThrow(expect.objectContaining({ code: 'DYN_CLOSED' }));
    answer('whole');
    await expect(running).resolves.toBe('whole');
    await within(30_000, 'the close', runtime.close());
    await within(30_000, 'the end of the endpoint', served.ended);
    await caller.close();
    await expect(caller.ended).resolves.toBeUndefined();
  });

  it('ends an engine and a frontend with an error', async () => {
    const runtime = await runtimeOn(server);
    const engine = await serveEngine(runtime.endpoint('etcd.engine.generate'), new CountingEngine('counting'));
    await engine.ready;
    const frontend = await Frontend.start(await runtimeOn(server), { host: '127.0.0.1', port: 0 });
    await frontend.ready;
    const { leases } = (await post(server, 'lease/leases', {})) as { leases: { ID: string }[] };
    for (const { ID } of leases) await post(server, 'lease/revoke', { ID });
    const lost = { code: 'DYN_UNAVAILABLE', reason: 'discovery.lease_lost' };
    for (const { ended } of [runtime, engine, frontend])
      await expect(within(LEASE_SECONDS * 2000, 'the end', ended)).rejects.toMatchObject(lost);
  });

  it('is not reported by a runtime, an engine and a frontend that are closed', async () => {
    const runtime = await runtimeOn(server);
    const engine = await serveEngine(runtime.endpoint('etcd.closed.generate'), new CountingEngine('counting'));
    await engine.ready;
    const used = await runtimeOn(server);
    const frontend = await Frontend.start(used, { host: '127.0.0.1', port: 0 });
    await frontend.ready;
    await Promise.all([frontend.close(), engine.close()]);
    await runtime.close();
    for (const { ended } of [runtime, engine, frontend, used]) await expect(ended).resolves.toBeUndefined();
  });
});

describe('etcd stopped and started again under load', () => {
  it('for less than a lease: no call fails, registrations remain, and workers are found again', async () => {
    const server = await Server.etcd();
    onTestFinished(() => server.close());
    const leaseSeconds = 60;
    const path = 'etcd.restarted.generate';
    const first = workerOn(server, path, leaseSeconds);
    await first.event('ready');
    const runtime = await runtimeOn(server, leaseSeconds);
    const client = await clientOf(runtime, path);
    const before = await client.waitForInstances({ timeoutMs: 30_000 });
    const traffic = new Traffic(client);
    await waitFor(
      'calls before the stop',
      () => traffic.whole,
      (whole) => whole > 50,
    );
    await server.stop();
    const atStop = traffic.whole;
    await waitFor(
      'calls while etcd is away',
      () => traffic.whole,
      (whole) => whole > atStop + 200,
    );
    expect(client.instances()).toEqual(before);
    await server.start();
    const second = workerOn(server, path, leaseSeconds);
    await second.event('ready');
    const both = await client.waitForInstances({ count: 2, timeoutMs: 20_000 });
    expect(both.map(({ instanceId }) => instanceId)).toContain(before[0]?.instanceId);
    const outcomes = await traffic.end();
    console.log(`${outcomes.length} calls over a restart of etcd`);
    expect(failures(outcomes)).toEqual([]);
    second.kill('SIGTERM');
    first.kill('SIGTERM');
    expect(await first.exit()).toMatchObject({ code: 0 });
    expect(await second.exit()).toMatchObject({ code: 0 });
  });

  it('for longer than a lease: the runtime that lost it fails with typed errors, and a new one works', async () => {
    const server = await Server.etcd();
    onTestFinished(() => server.close());
    const runtime = await runtimeOn(server, SHORT_LEASE_SECONDS);
    const endpoint = runtime.endpoint<NumbersRequest, NumbersItem>('etcd.lost.generate');
    await endpoint.serve(({ call }) => ({ call, index: 0 }));
    const client = await clientOf(runtime, 'etcd.lost.generate');
    await client.waitForInstances({ timeoutMs: 30_000 });
    await server.stop();
    const failed = await waitFor(
      'the end of the calls of a runtime without a lease',
      () =>
        within(20_000, 'a call', client.unary({ call: 1, items: 1 })).then(
          () => undefined,
          (error: unknown) => error,
        ),
      (error) => error !== undefined,
      (SHORT_LEASE_SECONDS + 60) * 1000,
    );
    expect(failed).toMatchObject({
      name: expect.stringMatching(/DynamoError|ClosedError/),
      code: expect.stringMatching(/^DYN_/),
    });
    await server.start();
    const next = await runtimeOn(server);
    await next.endpoint<NumbersRequest, NumbersItem>('etcd.lost.generate').serve(({ call }) => ({ call, index: 7 }));
    const again = await clientOf(next, 'etcd.lost.generate');
    // The server restarts the lifetime of a lease at its own start, and removes expired owners only after that.
    const left = await waitFor(
      'the instances',
      () => again.instances(),
      (instances) => instances.length === 1,
      (SHORT_LEASE_SECONDS + 60) * 1000,
    );
    expect(left.map(({ instanceId }) => instanceId)).toEqual([next.instanceId]);
    expect(await again.unary({ call: 2, items: 1 })).toEqual({ call: 2, index: 7 });
  });
});
