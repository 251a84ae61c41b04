import { type ClosedError, DynamoError, type ErrorClass, type ErrorCode, type RequestCancelled } from 'dynamo-node';
import { describe, expectTypeOf, it } from 'vitest';

describe('an error', () => {
  it('has a class and a code of closed sets, and a flag to act on', () => {
    const error = new DynamoError('Unavailable', 'no worker', { reason: 'router.no_instances', details: { tried: 3 } });
    expectTypeOf(error).toExtend<Error>();
    expectTypeOf(error.class).toEqualTypeOf<ErrorClass>();
    expectTypeOf(error.code).toEqualTypeOf<ErrorCode>();
    expectTypeOf(error.retryable).toBeBoolean();
    expectTypeOf(error.details).toBeUnknown();
    expectTypeOf<'DYN_UNAVAILABLE'>().toExtend<ErrorCode>();
    expectTypeOf<'DYN_CLOSED'>().toExtend<ErrorCode>();
    // @ts-expect-error: no such class
    void new DynamoError('Broken', 'no worker');
    // @ts-expect-error: no such option
    void new DynamoError('Unavailable', 'no worker', { retryable: true });
    // @ts-expect-error: no such code
    expectTypeOf(error.code === 'DYN_BROKEN').toBeBoolean();
  });

  it('is recognized by `is`, also from another copy of the package', () => {
    const caught = null as unknown;
    // @ts-expect-error: what was caught may be anything
    void caught.code;
    if (DynamoError.is(caught)) expectTypeOf(caught.code).toEqualTypeOf<ErrorCode>();
    expectTypeOf<ClosedError>().toExtend<DynamoError>();
  });

  it('of an aborted request has its kind', () => {
    expectTypeOf<RequestCancelled['kind']>().toEqualTypeOf<'stopped' | 'killed' | 'shutdown'>();
  });
});
