import { describe, expect, it } from 'vitest';

import { pack } from '../../lib/addon/codec.js';
import { ClosedError, DynamoError, errorFrom, failureFrom } from '../../lib/errors.js';

describe('errors', () => {
  it('keep class, reason, details and cause on the way out and in', () => {
    const cause = new DynamoError('Unavailable', 'gone', { reason: 'transport.disconnected' });
    const error = new DynamoError('Conflict', 'twice', { reason: 'request.conflict', details: { message: 'x' }, cause });
    const back = errorFrom(failureFrom(error), 'client.unary') as DynamoError;
    expect(back).toMatchObject({ code: 'DYN_CONFLICT', reason: 'request.conflict', details: { message: 'x' }, operation: 'client.unary', retryable: false });
    expect(back.cause).toMatchObject({ code: 'DYN_UNAVAILABLE', reason: 'transport.disconnected', retryable: true });
  });

  it('are known across copies of the package by their brand', () => {
    expect(DynamoError.is(new ClosedError('the client'))).toBe(true);
    expect(DynamoError.is(new Error('x'))).toBe(false);
    expect(DynamoError.is(null)).toBe(false);
  });

  it('of a class that Dynamo has not are refused where they are made', () => {
    for (const name of ['Nonsense', 'toString', '__proto__', undefined, Symbol('x')]) {
      expect(() => new DynamoError(name as never, 'x')).toThrow(/DynamoError class: expected one of InvalidRequest, .*, got/);
    }
  });

  const cyclic = new DynamoError('Conflict', 'round') as DynamoError & { cause: unknown };
  cyclic.cause = cyclic;
  const throws = (): never => {
    throw new Error('a trap');
  };

  it.each([
    [undefined, 'undefined was thrown, which is no Error'],
    [null, 'null was thrown, which is no Error'],
    ['words', 'words'],
    [42n, '42n was thrown, which is no Error'],
    [Symbol('x'), 'Symbol(x) was thrown, which is no Error'],
    [Object.create(null), 'an object was thrown, which is no Error'],
    [{ toString: throws }, 'an object was thrown, which is no Error'],
    [new Proxy({}, { getPrototypeOf: throws, get: throws, has: throws }), 'what was thrown cannot be read'],
    [Object.defineProperty(new Error('x'), 'message', { get: throws }), 'what was thrown cannot be read'],
    [Object.assign(new Error('x'), { code: 'toString' }), 'x'],
    [Object.assign(new Error('x'), { code: '__proto__' }), 'x'],
    [Object.assign(new Error('x'), { status: Number.NaN }), 'x'],
  ])('are made of whatever was thrown: %#', (thrown, message) => {
    expect(failureFrom(thrown)).toEqual({ class: 'Internal', reason: 'runtime.unclassified', message });
    expect(pack(failureFrom(thrown))).toBeInstanceOf(Uint8Array);
  });

  it('that refer to themselves, or have details that no wire takes, still travel', () => {
    expect(pack(failureFrom(cyclic))).toBeInstanceOf(Uint8Array);
    const details: { self?: unknown } = {};
    details.self = details;
    expect(failureFrom(new DynamoError('Conflict', 'x', { details }))).toMatchObject({ class: 'Conflict', details: 'an object' });
    expect(failureFrom(new DynamoError('Conflict', 'x', { details: 2n ** 80n }))).toMatchObject({ details: `${2n ** 80n}n` });
  });

  it('of an unknown class are internal', () => {
    for (const name of ['Nonsense', 'constructor']) expect(errorFrom({ class: name, message: 'x' }, 'test')).toMatchObject({ code: 'DYN_INTERNAL' });
  });
});
