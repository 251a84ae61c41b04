import { DynamoError, type Endpoint } from 'dynamo-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { type AnsweringWorker, answeringWorker, cyclic, echo, throws } from '../../helpers/runtime/answering.js';
import { outcome } from '../../helpers/runtime/outcome.js';
import { testRuntime } from '../../helpers/runtime/runtime.js';
import { within } from '../../helpers/wait.js';

let worker: AnsweringWorker;
let client: AnsweringWorker['client'];

beforeAll(async () => {
  worker = await answeringWorker();
  client = worker.client;
});

afterAll(async () => {
  expect(await worker.close()).toEqual([]);
});

describe('a faulty handler', () => {
  it.each<[string, () => unknown, object]>([
    [
      'throws undefined',
      () => {
        throw undefined;
      },
      { code: 'DYN_INTERNAL', message: 'undefined was thrown, which is not an Error' },
    ],
    [
      'throws a string',
      () => {
        throw 'words';
      },
      { code: 'DYN_INTERNAL', message: 'words' },
    ],
    [
      'throws an object without a prototype',
      () => {
        throw Object.create(null);
      },
      { code: 'DYN_INTERNAL', message: 'an object was thrown, which is not an Error' },
    ],
    [
      'throws a symbol',
      () => {
        throw Symbol('s');
      },
      { code: 'DYN_INTERNAL', message: 'Symbol(s) was thrown, which is not an Error' },
    ],
    [
      'throws a proxy',
      () => {
        throw new Proxy({}, { get: throws, has: throws, getPrototypeOf: throws });
      },
      { code: 'DYN_INTERNAL' },
    ],
    [
      'throws an error that causes itself',
      () => {
        const error = new DynamoError('Conflict', 'round') as Error;
        error.cause = error;
        throw error;
      },
      { code: 'DYN_CONFLICT', message: 'round' },
    ],
    [
      'throws details that JSON cannot represent',
      () => {
        throw new DynamoError('Conflict', 'x', { details: cyclic });
      },
      { code: 'DYN_CONFLICT', message: 'x' },
    ],
    [
      'throws a long message',
      () => {
        throw new Error('x'.repeat(1 << 20));
      },
      { code: 'DYN_INTERNAL' },
    ],
    [
      'returns a value that refers to itself',
      () => cyclic,
      {
        code: 'DYN_INTERNAL',
        message: expect.stringContaining('an item of the response cannot be sent: '),
      },
    ],
    ['gives a symbol', () => Symbol('x'), { code: 'DYN_INTERNAL', message: expect.stringContaining('cannot be sent') }],
    [
      'rejects with nothing',
      () => Promise.reject(undefined),
      { code: 'DYN_INTERNAL', message: 'undefined was thrown, which is not an Error' },
    ],
    ['returns a thenable that throws', () => ({ then: throws }), { message: 'a trap' }],
    ['returns an iterator that throws', () => ({ [Symbol.asyncIterator]: throws }), { message: 'a trap' }],
    [
      'returns a wrong iterator',
      () => ({ [Symbol.asyncIterator]: () => ({}) }),
      { code: expect.stringMatching(/^DYN_/) },
    ],
    [
      'returns an iterator without results',
      () => ({ [Symbol.asyncIterator]: () => ({ next: async () => undefined }) }),
      { code: expect.stringMatching(/^DYN_/) },
    ],
  ])('causes a typed error of its caller, and the endpoint continues: it %s', async (_, handler, error) => {
    worker.answer = handler as never;
    expect(await outcome(() => client.unary(1))).toMatchObject({ name: 'DynamoError', ...error });
    worker.answer = echo;
    expect(await client.unary('still there')).toBe('still there');
  });

  it.each<[string, unknown]>([
    ['throws', { next: async () => ({ done: false, value: 1 }), return: throws }],
    ['never settles', { next: async () => ({ done: false, value: 1 }), return: () => new Promise(() => {}) }],
    ['is no function', { next: async () => ({ done: false, value: 1 }), return: 1 }],
  ])('does not stop the others with an iterator whose return %s', async (_, iterator) => {
    worker.answer = () => ({ [Symbol.asyncIterator]: () => iterator });
    for await (const item of client.generate(1)) if (item === 1) break;
    worker.answer = echo;
    expect(await client.unary('still there')).toBe('still there');
  });

  it('may call its own endpoint, and close objects while it runs', async () => {
    const other = await testRuntime({ systemPort: 0, systemHost: '127.0.0.1' });
    const own = other.endpoint<number, number>('bad.recursive.generate');
    let closing: Promise<void> | undefined;
    const served = await own.serve(async (depth) => {
      if (depth === 0) closing = served.close();
      return depth === 0 ? 0 : 1 + (await calls.unary(depth - 1));
    });
    const calls = await own.client();
    await calls.waitForInstances();
    // The caller's view of discovery abandons requests that the worker has not begun to answer.
    const got = await outcome(() => calls.unary(20));
    if (got !== 20) expect(got).toMatchObject({ code: 'DYN_UNAVAILABLE', retryable: true });
    await within(5000, 'the close', closing as Promise<void>);
  });

  it('gets the result of parse; a request that parse rejects is the mistake of the caller', async () => {
    const other = await testRuntime({ systemPort: 0, systemHost: '127.0.0.1' });
    const typed = other.endpoint<number, number>('bad.parsed.generate');
    const parse = (value: unknown): number => {
      if (typeof value !== 'string') throw new Error(`no text: ${String(value)}`);
      return Number(value);
    };
    await typed.serve((value) => value * 2, { parse });
    const streams = other.endpoint<number, number>('bad.streams.parsed');
    await streams.serveBidirectional(
      async function* (values) {
        for await (const value of values) yield value * 2;
      },
      { parse },
    );
    const one = await (typed as Endpoint<unknown, unknown>).client();
    await one.waitForInstances();
    expect(await one.unary('21')).toBe(42);
    await expect(one.unary(21)).rejects.toMatchObject({
      code: 'DYN_INVALID_REQUEST',
      reason: 'request.invalid',
      message: 'the request was rejected: no text: 21',
    });
    const many = await (streams as Endpoint<unknown, unknown>).client();
    await many.waitForInstances();
    async function* of(...values: unknown[]): AsyncGenerator<unknown> {
      yield* values;
    }
    expect(await many.bidirectional(of('1', '2')).collect()).toEqual([2, 4]);
    await expect(many.bidirectional(of('1', 2)).collect()).rejects.toMatchObject({
      code: 'DYN_INVALID_REQUEST',
      reason: 'request.invalid',
    });
    await expect(typed.serve(() => 1, { parse: 1 as never })).rejects.toThrow(
      'endpoint.serve options.parse: expected a function, got 1',
    );
  });
});
