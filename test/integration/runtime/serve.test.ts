import {
  Annotated,
  type Client,
  ClosedError,
  currentRequest,
  DynamoError,
  type Endpoint,
  type Handler,
  type RequestContext,
} from 'dynamo-node';
import { describe, expect, it } from 'vitest';

import { testRuntime } from '../../helpers/runtime/runtime.js';

async function pair<Request, Response>(
  handler: Handler<Request, Response>,
): Promise<{ client: Client<Request, Response>; endpoint: Endpoint<Request, Response> }> {
  const runtime = await testRuntime();
  const endpoint = runtime.endpoint<Request, Response>('test.worker.generate');
  await endpoint.serve(handler);
  const client = await endpoint.client();
  await client.waitForInstances({ timeoutMs: 30_000 });
  return { client, endpoint };
}

describe('a served endpoint', () => {
  it('streams the items of a generator in order', async () => {
    const { client } = await pair<{ count: number }, number>(async function* ({ count }) {
      for (let index = 0; index < count; index++) yield index;
    });
    expect(await client.collect({ count: 1000 })).toEqual(Array.from({ length: 1000 }, (_, index) => index));
  });

  it('returns the one item of a unary handler', async () => {
    const { client } = await pair<string, { text: string }>(async (text) => ({ text }));
    expect(await client.unary('hello')).toEqual({ text: 'hello' });
  });

  it('preserves u64, bytes, NaN, unicode and nesting', async () => {
    const { client } = await pair<unknown, unknown>((value) => value);
    const value = {
      big: 2n ** 64n - 1n,
      negative: -(2n ** 62n),
      bytes: Buffer.from([0, 255, 128]),
      nan: Number.NaN,
      infinite: Number.NEGATIVE_INFINITY,
      text: 'žluťoučký 🐎',
      nested: [[{ a: null }], true, false, 1.5],
      empty: {},
    };
    const echoed = (await client.unary(value)) as typeof value;
    expect(Buffer.from(echoed.bytes).equals(value.bytes)).toBe(true);
    expect({ ...echoed, bytes: value.bytes }).toEqual(value);
  });

  it('sends annotations beside the data to generateAnnotated', async () => {
    const { client } = await pair<null, number>(async function* () {
      yield new Annotated<number>({ event: 'progress', comments: ['half'] });
      yield new Annotated<number>({ data: 1, id: 'first' });
      yield 2;
    });
    expect(await client.collect(null)).toEqual([1, 2]);
    const items = await client.generateAnnotated(null).collect();
    expect(items.map(({ event, comments, id, data }) => ({ event, comments, id, data }))).toEqual([
      { event: 'progress', comments: ['half'], id: undefined, data: undefined },
      { event: undefined, comments: undefined, id: 'first', data: 1 },
      { event: undefined, comments: undefined, id: undefined, data: 2 },
    ]);
  });

  it('passes the request id and metadata to the handler and to child requests', async () => {
    const seen: unknown[] = [];
    const runtime = await testRuntime();
    const inner = runtime.endpoint<null, string>('test.inner.call');
    await inner.serve((_, { id, metadata }) => {
      seen.push({ id, metadata });
      return 'inner';
    });
    const innerClient = await inner.client();
    await innerClient.waitForInstances();
    const outer = runtime.endpoint<null, string>('test.outer.run');
    await outer.serve(async () => {
      expect(currentRequest()?.id).toBe('request-1');
      return innerClient.unary(null);
    });
    const client = await outer.client();
    await client.waitForInstances();
    expect(await client.unary(null, { id: 'request-1', metadata: { tenant: 'a', traceparent: '00-1-2-01' } })).toBe(
      'inner',
    );
    expect(seen).toEqual([{ id: 'request-1', metadata: { tenant: 'a', traceparent: '00-1-2-01' } }]);
  });

  it('provides the current request in a generator, as the default parent of its calls', async () => {
    const seen: (string | undefined)[] = [];
    const runtime = await testRuntime();
    const inner = runtime.endpoint<null, string>('test.inner.call');
    await inner.serve((_, { id, metadata: { tenant }, traceparent, tracestate }) => {
      seen.push([id.length < 20 ? id : 'new', tenant, traceparent, tracestate].join(' '));
      return 'inner';
    });
    const innerClient = await inner.client();
    await innerClient.waitForInstances();
    const other: RequestContext = {
      id: 'other',
      metadata: { tenant: 'b' },
      signal: new AbortController().signal,
      traceparent: undefined,
      tracestate: undefined,
    };
    for (const endpoint of [
      runtime.endpoint<null, string>('test.outer.stream'),
      runtime.endpoint<null, string>('test.outer.both'),
    ]) {
      const handler = async function* (_: unknown, { id }: RequestContext): AsyncGenerator<string> {
        yield currentRequest()?.id ?? 'none';
        await new Promise((resolve) => setImmediate(resolve));
        yield await innerClient.unary(null);
        yield await innerClient.unary(null, { parent: other });
        yield await innerClient.unary(null, { parent: null });
        expect(currentRequest()?.id).toBe(id);
      };
      const both = endpoint.name === 'both';
      await (both ? endpoint.serveBidirectional(handler) : endpoint.serve(handler));
      const client = await endpoint.client();
      await client.waitForInstances();
      const options = { id: 'mine', metadata: { tenant: 'a', traceparent: '00-1-2-01', tracestate: 'x=1' } };
      const answer = both
        ? client.bidirectional((async function* () {})(), options).collect()
        : client.collect(null, options);
      expect(await answer).toEqual(['mine', 'inner', 'inner', 'inner']);
      expect(seen.splice(0)).toEqual(['mine a 00-1-2-01 x=1', 'other b  ', 'new   ']);
    }
    expect(currentRequest()).toBeUndefined();
  });

  it('runs at most `concurrency` requests concurrently, and eventually all', async () => {
    const runtime = await testRuntime();
    const endpoint = runtime.endpoint<number, number>('test.worker.generate');
    let running = 0;
    let most = 0;
    let allRun = (): void => {};
    const three = new Promise<void>((resolve) => {
      allRun = resolve;
    });
    await endpoint.serve(
      async (value) => {
        most = Math.max(most, ++running);
        if (running === 3) allRun();
        await three;
        await new Promise((resolve) => setImmediate(resolve));
        running -= 1;
        return value;
      },
      { concurrency: 3 },
    );
    const client = await endpoint.client();
    await client.waitForInstances();
    const values = Array.from({ length: 200 }, (_, index) => index);
    expect(await Promise.all(values.map((value) => client.unary(value)))).toEqual(values);
    expect(most).toBe(3);
  });

  it('rejects a second endpoint of the same name in one runtime', async () => {
    const runtime = await testRuntime();
    const served = await runtime.endpoint('test.a.generate').serve(() => 1);
    await expect(runtime.endpoint('test.b.generate').serve(() => 2)).rejects.toMatchObject({ code: 'DYN_CONFLICT' });
    await served.close();
    await served.close();
    await (await runtime.endpoint('test.b.generate').serve(() => 2)).close();
  });

  it('leaves discovery and comes back', async () => {
    const { client, endpoint } = await pair<null, number>(() => 1);
    await endpoint.unregister();
    await expect.poll(() => client.instances().length).toBe(0);
    await endpoint.register();
    await client.waitForInstances({ timeoutMs: 30_000 });
    expect(await client.unary(null)).toBe(1);
  });

  it('accepts a stream of requests', async () => {
    const runtime = await testRuntime();
    const endpoint = runtime.endpoint<number, number>('test.worker.sum');
    await endpoint.serveBidirectional(async function* (requests) {
      let sum = 0;
      for await (const value of requests) yield (sum += value);
    });
    const client = await endpoint.client();
    await client.waitForInstances();
    async function* numbers(): AsyncGenerator<number> {
      for (const value of [1, 2, 3, 4]) yield value;
    }
    expect(await client.bidirectional(numbers()).collect()).toEqual([1, 3, 6, 10]);
  });
});

describe('an error of a handler', () => {
  const error = new DynamoError('NotFound', 'no such block', {
    reason: 'request.not_found',
    details: { message: 'block 7' },
  });

  it.each([
    ['before the first item', 0],
    ['after an item', 2],
  ])('reaches the caller as a typed error, %s', async (_, items) => {
    const { client } = await pair<null, number>(async function* () {
      for (let index = 0; index < items; index++) yield index;
      throw error;
    });
    const seen: number[] = [];
    const failed = (async () => {
      for await (const item of client.generate(null)) seen.push(item);
    })();
    await expect(failed).rejects.toMatchObject({
      name: 'DynamoError',
      code: 'DYN_NOT_FOUND',
      reason: 'request.not_found',
      message: 'no such block',
    });
    expect(seen).toHaveLength(items);
  });

  it('does not remove the worker from the rotation', async () => {
    const { client } = await pair<boolean, number>((fail) => {
      if (fail) throw Object.assign(new Error('database'), { code: 'ECONNREFUSED' });
      return 1;
    });
    await expect(client.unary(true)).rejects.toMatchObject({
      code: 'DYN_UNAVAILABLE',
      reason: 'backend.cannot_connect',
    });
    expect(await client.unary(false)).toBe(1);
  });

  it.each([
    [new RangeError('too long'), 'DYN_INTERNAL'],
    [new TypeError('x is not a function'), 'DYN_INTERNAL'],
    [new DynamoError('InvalidRequest', 'too long'), 'DYN_INVALID_REQUEST'],
    [Object.assign(new Error('who are you'), { status: 401 }), 'DYN_UNAUTHENTICATED'],
    [new Error('anything'), 'DYN_INTERNAL'],
    ['a string', 'DYN_INTERNAL'],
  ])('has a code: %s is %s', async (thrown, code) => {
    const { client } = await pair<null, number>(() => {
      throw thrown;
    });
    await expect(client.unary(null)).rejects.toMatchObject({ code });
  });

  it('is a protocol error if a unary call gets no item or two', async () => {
    const { client } = await pair<number, number>(async function* (count) {
      for (let index = 0; index < count; index++) yield index;
    });
    await expect(client.unary(0)).rejects.toMatchObject({ code: 'DYN_BACKEND_PROTOCOL' });
    await expect(client.unary(2)).rejects.toMatchObject({ code: 'DYN_BACKEND_PROTOCOL' });
    expect(await client.unary(1)).toBe(0);
  });

  it('names an item over the limit before it is sent', async () => {
    const { client } = await pair<number, string>((bytes) => 'x'.repeat(bytes));
    await expect(client.unary(40 << 20)).rejects.toMatchObject({
      code: 'DYN_PAYLOAD_TOO_LARGE',
      message: expect.stringContaining('DYN_TCP_MAX_MESSAGE_SIZE'),
    });
    expect((await client.unary(31 << 20)).length).toBe(31 << 20);
    const tooLarge = client.unary('x'.repeat(40 << 20) as never);
    await expect(tooLarge).rejects.toMatchObject({ code: 'DYN_PAYLOAD_TOO_LARGE' });
  });
});

describe('after close', () => {
  it('every call fails with ClosedError, and a second close does not', async () => {
    const { client } = await pair<null, number>(() => 1);
    await client.close();
    await client.close();
    expect(() => client.generate(null)).toThrow(ClosedError);
    await expect(client.unary(null)).rejects.toThrow(ClosedError);
    expect(() => client.instances()).toThrow(ClosedError);
  });
});
