import { describe, expect, it } from 'vitest';

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

  it('of an unknown class are internal', () => {
    expect(errorFrom({ class: 'Nonsense', message: 'x' }, 'test')).toMatchObject({ code: 'DYN_INTERNAL' });
  });
});
