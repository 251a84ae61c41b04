import { describe, expect, it } from 'vitest';

import { pack } from '../../lib/addon/codec.js';
import { checkInteger } from '../../lib/check.js';
import { ClosedError, DynamoError, errorFrom, failureFrom } from '../../lib/errors.js';

describe('errors', () => {
  it('keep class, reason, details and cause in both directions', () => {
    const cause = new DynamoError('Unavailable', 'gone', { reason: 'transport.disconnected' });
    const error = new DynamoError('Conflict', 'twice', {
      reason: 'request.conflict',
      details: { message: 'x' },
      cause,
    });
    const back = errorFrom(failureFrom(error), 'client.unary') as DynamoError;
    expect(back).toMatchObject({
      code: 'DYN_CONFLICT',
      reason: 'request.conflict',
      details: { message: 'x' },
      operation: 'client.unary',
      retryable: false,
    });
    expect(back.cause).toMatchObject({ code: 'DYN_UNAVAILABLE', reason: 'transport.disconnected', retryable: true });
  });

  it('are recognized across copies of the package by their brand', () => {
    expect(DynamoError.is(new ClosedError('the client'))).toBe(true);
    expect(DynamoError.is(new Error('x'))).toBe(false);
    expect(DynamoError.is(null)).toBe(false);
  });

  it('reject a class that Dynamo does not have', () => {
    for (const name of ['Nonsense', 'toString', '__proto__', undefined, Symbol('x')]) {
      expect(() => new DynamoError(name as never, 'x')).toThrow(
        /DynamoError class: expected one of InvalidRequest, .*, got/,
      );
    }
  });

  const cyclic = new DynamoError('Conflict', 'round') as DynamoError & { cause: unknown };
  cyclic.cause = cyclic;
  const throws = (): never => {
    throw new Error('a trap');
  };

  it.each([
    [undefined, 'undefined was thrown, which is not an Error'],
    [null, 'null was thrown, which is not an Error'],
    ['words', 'words'],
    [42n, '42n was thrown, which is not an Error'],
    [Symbol('x'), 'Symbol(x) was thrown, which is not an Error'],
    [Object.create(null), 'an object was thrown, which is not an Error'],
    [{ toString: throws }, 'an object was thrown, which is not an Error'],
    [new Proxy({}, { getPrototypeOf: throws, get: throws, has: throws }), 'the thrown value cannot be read'],
    [Object.defineProperty(new Error('x'), 'message', { get: throws }), 'the thrown value cannot be read'],
    [Object.assign(new Error('x'), { code: 'toString' }), 'x'],
    [Object.assign(new Error('x'), { code: '__proto__' }), 'x'],
    [Object.assign(new Error('x'), { status: Number.NaN }), 'x'],
  ])('are made from any thrown value: %#', (thrown, message) => {
    expect(failureFrom(thrown)).toEqual({ class: 'Internal', reason: 'runtime.unclassified', message });
    expect(pack(failureFrom(thrown))).toBeInstanceOf(Uint8Array);
  });

  it.each([
    ['ECONNREFUSED', 'Unavailable', 'backend.cannot_connect'],
    ['ECONNRESET', 'Unavailable', 'backend.disconnected'],
    ['EPIPE', 'Unavailable', 'backend.disconnected'],
    ['ETIMEDOUT', 'DeadlineExceeded', 'backend.connection_timeout'],
    ['ABORT_ERR', 'Cancelled', 'backend.cancelled'],
  ])('of Node.js with code %s are %s', (code, errorClass, reason) => {
    expect(failureFrom(Object.assign(new Error('x'), { code }))).toEqual({ class: errorClass, reason, message: 'x' });
  });

  it.each([
    [400, 'DYN_INVALID_REQUEST'],
    [401, 'DYN_UNAUTHENTICATED'],
    [403, 'DYN_PERMISSION_DENIED'],
    [404, 'DYN_NOT_FOUND'],
    [408, 'DYN_DEADLINE_EXCEEDED'],
    [409, 'DYN_CONFLICT'],
    [413, 'DYN_PAYLOAD_TOO_LARGE'],
    [415, 'DYN_UNSUPPORTED_MEDIA'],
    [422, 'DYN_INVALID_REQUEST'],
    [429, 'DYN_RATE_LIMITED'],
    [499, 'DYN_CANCELLED'],
    [501, 'DYN_NOT_IMPLEMENTED'],
    [503, 'DYN_UNAVAILABLE'],
    [504, 'DYN_DEADLINE_EXCEEDED'],
    [500, 'DYN_INTERNAL'],
    [200, 'DYN_INTERNAL'],
  ])('of web libraries with status %s are %s, in each of its fields', (number, code) => {
    for (const field of ['status', 'statusCode', 'code'])
      expect(errorFrom(failureFrom(Object.assign(new Error('x'), { [field]: number })), 'test')).toMatchObject({
        code,
        message: 'x',
      });
  });

  it('of the program are internal, those of timers have classes', () => {
    const named = (name: string) => Object.assign(new Error('x'), { name });
    expect(
      [new TypeError('x'), new RangeError('x'), new SyntaxError('x'), named('AbortError'), named('TimeoutError')].map(
        (error) => failureFrom(error).class,
      ),
    ).toEqual(['Internal', 'Internal', 'Internal', 'Cancelled', 'DeadlineExceeded']);
    // The checks of this package are about the request that a handler passes on.
    let refused: unknown;
    try {
      checkInteger('options.count', 'many', 1);
    } catch (error) {
      refused = error;
    }
    expect(refused).toBeInstanceOf(TypeError);
    expect(failureFrom(refused)).toMatchObject({ class: 'InvalidRequest', reason: 'backend.invalid_argument' });
    expect(failureFrom(errorFrom({ class: 'BadArgument', message: 'x' }, 'test')).class).toBe('InvalidRequest');
    // The most specific field decides: a code before a status, both before the class of the error.
    expect(failureFrom(Object.assign(new TypeError('x'), { code: 'ECONNRESET', status: 404 }))).toMatchObject({
      class: 'Unavailable',
    });
    expect(failureFrom(Object.assign(new TypeError('x'), { status: 404 }))).toMatchObject({ class: 'NotFound' });
  });

  it('are transmitted if they are cyclic or have details that JSON cannot represent', () => {
    expect(pack(failureFrom(cyclic))).toBeInstanceOf(Uint8Array);
    const details: { self?: unknown } = {};
    details.self = details;
    expect(failureFrom(new DynamoError('Conflict', 'x', { details }))).toMatchObject({
      class: 'Conflict',
      details: 'an object',
    });
    expect(failureFrom(new DynamoError('Conflict', 'x', { details: 2n ** 80n }))).toMatchObject({
      details: `${2n ** 80n}n`,
    });
  });

  it('of an unknown class are internal', () => {
    for (const name of ['Nonsense', 'constructor'])
      expect(errorFrom({ class: name, message: 'x' }, 'test')).toMatchObject({ code: 'DYN_INTERNAL' });
  });
});
