import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { type Client, DistributedRuntime, DynamoError } from 'dynamo-node';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';

import { type Child, pythonPeer } from '../../helpers/child.js';
import { carried, describeValue, fixture } from '../../helpers/interop/describe-value.js';
import { missingPeers } from '../../helpers/interop/peers.js';
import { lowest, waitFor, within } from '../../helpers/wait.js';

const folder = mkdtempSync(join(tmpdir(), 'dynamo-interop-'));
let runtime: DistributedRuntime;

beforeAll(async () => {
  if (missingPeers !== undefined) return undefined;
  runtime = await DistributedRuntime.create({
    discovery: { kind: 'file', dir: folder },
    host: '127.0.0.1',
    inhibitedSeconds: 0,
  });
  return () => runtime.close({ timeoutMs: 5000 });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));
beforeEach(({ skip }) => skip(missingPeers !== undefined, missingPeers));

function pythonWorker(namespace: string, codec: string): Child {
  return pythonPeer('worker.py', [namespace], folder, { DYN_REQUEST_PLANE_CODEC: codec });
}

async function clientOf<Request, Response>(path: string): Promise<Client<Request, Response>> {
  const client = await runtime.endpoint<Request, Response>(path).client();
  onTestFinished(() => client.close());
  await client.waitForInstances({ timeoutMs: 30_000 });
  return client;
}

describe.each(['msgpack', 'json'] as const)('a Python worker with codec %s, called by TypeScript', (codec) => {
  const namespace = `interop-${codec}`;
  let worker: Child;

  beforeAll(async () => {
    if (missingPeers !== undefined) return undefined;
    worker = pythonWorker(namespace, codec);
    await worker.event('ready');
    return () => worker.stop();
  });

  const python = <Request, Response>(name: string): Promise<Client<Request, Response>> =>
    clientOf(`${namespace}.python.${name}`);

  it('is called with the codec that it advertises', async () => {
    const client = await python('echo');
    expect(client.instances().map((instance) => instance.codec)).toEqual([codec]);
  });

  it('receives values as Python writes them: u64, bytes, NaN, unicode, nesting', async () => {
    const client = await python<unknown, string>('describe');
    expect(await client.unary(fixture)).toBe(carried(codec));
  });

  it('returns a value with its types', async () => {
    const client = await python<unknown, unknown>('echo');
    expect(describeValue(await client.unary(fixture))).toBe(carried(codec));
  });

  it('streams in order', async () => {
    const client = await python<number, number>('count');
    expect(await client.collect(1000)).toEqual(Array.from({ length: 1000 }, (_, index) => index));
  });

  it('answers at a unary and at a bidirectional endpoint', async () => {
    const double = await python<number, number>('double');
    expect(await double.unary(21)).toBe(42);
    const total = await python<number, number>('total');
    async function* numbers(): AsyncGenerator<number> {
      yield* [1, 2, 3, 4];
    }
    expect(await total.bidirectional(numbers()).collect()).toEqual([1, 3, 6, 10]);
  });

  it('receives the request id and the metadata', async () => {
    const client = await python('context');
    const metadata = { tenant: 'a', traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' };
    expect(await client.unary(null, { id: 'request-7', metadata })).toEqual({ id: 'request-7', metadata });
  });

  it('sends event, comments and id beside the data', async () => {
    const client = await python<null, number>('annotated');
    expect(await client.collect(null)).toEqual([1, 2]);
    const items = await client.generateAnnotated(null).collect();
    expect(items.map(({ event, comments, id, data }) => ({ event, comments, id, data }))).toEqual([
      { event: 'progress', comments: ['half'], id: undefined, data: undefined },
      { event: undefined, comments: undefined, id: 'first', data: 1 },
      { event: undefined, comments: undefined, id: undefined, data: 2 },
    ]);
  });

  it.each([
    ['value', 'DYN_INVALID_REQUEST', 'backend.invalid_argument', 'wrong value'],
    ['type', 'DYN_INVALID_REQUEST', 'backend.invalid_argument', 'wrong type'],
    ['invalid', 'DYN_INVALID_REQUEST', 'backend.invalid_argument', 'bad argument'],
    ['http', 'DYN_NOT_FOUND', expect.any(String), 'no such model'],
    ['runtime', 'DYN_INTERNAL', expect.any(String), 'broken'],
    ['cancelled', 'DYN_CANCELLED', 'backend.cancelled', 'not wanted'],
    ['timeout', 'DYN_DEADLINE_EXCEEDED', 'backend.connection_timeout', 'too slow'],
    ['refused', 'DYN_UNAVAILABLE', 'backend.cannot_connect', 'database'],
    ['shutdown', 'DYN_UNAVAILABLE', 'backend.engine_shutdown', 'engine left'],
  ])(
    'turns the exception "%s" into the same typed error before and after the first item',
    async (error, code, reason, message) => {
      const client = await python<{ items: number; error: string }, number>('fail');
      for (const items of [0, 2]) {
        const seen: number[] = [];
        const failed = (async () => {
          for await (const item of client.generate({ items, error })) seen.push(item);
        })();
        const thrown: unknown = await failed.then(
          () => undefined,
          (cause: unknown) => cause,
        );
        expect(thrown).toBeInstanceOf(DynamoError);
        expect(thrown).toMatchObject({ code, reason, message: expect.stringContaining(message) });
        expect(seen).toHaveLength(items);
      }
    },
  );

  it('is stopped, and the stream ends without an error', async () => {
    const client = await python<null, number>('endless');
    const stream = client.generate(null, { id: 'to-stop' });
    await stream.next();
    await worker.event('started', { id: 'to-stop' });
    stream.stop();
    await within(20_000, 'the end of the stopped stream', stream.collect());
    expect(await worker.event('ended', { id: 'to-stop' })).toMatchObject({ stopped: true, killed: false });
  });

  // Upstream may report "stopped" instead of "killed".
  it.each(['leaving the loop', 'aborting'])('is cancelled by %s', async (how) => {
    const client = await python<null, number>('endless');
    const controller = new AbortController();
    const id = `to-kill-${how}`;
    const read = (async () => {
      for await (const item of client.generate(null, { id, signal: controller.signal })) {
        if (item === 3 && how === 'aborting') controller.abort(new Error('enough'));
        if (item === 3 && how !== 'aborting') break;
      }
    })();
    if (how === 'aborting') await expect(read).rejects.toThrow('enough');
    await read.catch(() => {});
    expect(await worker.event('ended', { id })).toMatchObject({ stopped: true });
  });

  it('ends a call that is killed before its first item', async () => {
    const client = await python<string, null>('silent');
    const stream = client.generate('never', { id: 'silent' });
    await worker.event('started', { id: 'silent' });
    await stream.kill();
    expect(await worker.event('ended', { id: 'silent' })).toMatchObject({ stopped: true });
  });

  it('is not called while it is unregistered', async () => {
    const client = await python<number, number>('count');
    worker.send({ do: 'unregister', endpoint: 'count' });
    await worker.event('done', { do: 'unregister' });
    await waitFor(
      'the instances of the client',
      () => client.instances(),
      (instances) => instances.length === 0,
    );
    await expect(client.collect(1)).rejects.toMatchObject({ code: 'DYN_UNAVAILABLE' });
    worker.send({ do: 'register', endpoint: 'count' });
    await worker.event('done', { do: 'register' });
    await client.waitForInstances({ timeoutMs: 30_000 });
    expect(await client.collect(2)).toEqual([0, 1]);
  });
});

describe('a Python worker that leaves', () => {
  it('causes a typed Disconnected within a second if killed mid-stream, after every received item', async () => {
    expect(await lowest(1000, killed)).toBeLessThan(1000);
  });

  let tries = 0;
  const killed = async (): Promise<number> => {
    const namespace = `interop-killed-${tries++}`;
    const worker = pythonWorker(namespace, 'msgpack');
    onTestFinished(() => worker.stop());
    await worker.event('ready');
    const client = await clientOf<null, number>(`${namespace}.python.endless`);
    const seen: number[] = [];
    let killedAt = 0;
    const read = (async () => {
      for await (const item of client.generate(null)) {
        seen.push(item);
        if (item !== 10) continue;
        killedAt = performance.now();
        worker.kill('SIGKILL');
      }
    })();
    const error: unknown = await within(20_000, 'the end of the stream', read, () => seen.length).catch(
      (cause: unknown) => cause,
    );
    const elapsed = performance.now() - killedAt;
    expect(error).toBeInstanceOf(DynamoError);
    expect(error).toMatchObject({ code: 'DYN_UNAVAILABLE', kind: 'Disconnected', retryable: true });
    expect(seen).toEqual(seen.map((_, index) => index));
    return elapsed;
  };

  it('leaves discovery at once when it is shut down', async () => {
    const worker = pythonWorker('interop-shutdown', 'msgpack');
    onTestFinished(() => worker.stop());
    await worker.event('ready');
    const client = await clientOf('interop-shutdown.python.echo');
    worker.send({ do: 'shutdown' });
    await waitFor(
      'the instances of the client',
      () => client.instances(),
      (instances) => instances.length === 0,
    );
    expect(await worker.exit()).toMatchObject({ code: 0 });
  });
});

describe('the trace context', () => {
  const [trace, span] = ['0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331'];
  const metadata = { traceparent: `00-${trace}-${span}-01` };
  const namespace = 'interop-trace';

  beforeAll(async () => {
    if (missingPeers !== undefined) return undefined;
    // The wheel keeps trace contexts together with its log.
    const worker = pythonPeer('worker.py', [namespace], folder, { DYN_LOGGING_JSONL: 'true' });
    await worker.event('ready');
    return () => worker.stop();
  });

  it('is sent to Python in the header of a request', async () => {
    const client = await clientOf(`${namespace}.python.trace`);
    expect(await client.unary(null, { metadata })).toEqual({ trace, caller: span });
  });

  it('is read from the header of a request if the metadata have none', async () => {
    const endpoint = runtime.endpoint(`${namespace}.typescript.trace`);
    const served = await endpoint.serve((_, { traceparent }) => traceparent ?? 'none');
    onTestFinished(() => served.close());
    const relay = await clientOf<string, string>(`${namespace}.python.relay`);
    // Python begins a trace for each request without one.
    expect(await relay.unary(endpoint.path)).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$/);
    expect(await relay.unary(endpoint.path, { metadata })).toBe(metadata.traceparent);
  });
});
