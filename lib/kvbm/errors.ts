import { unpack } from '../addon/codec.js';
import { invokeSync } from '../addon/invoke.js';
import type { Bytes, Handle, Nothing, Payload, Sync } from '../addon/native.js';
import { ClosedError, DynamoError, errorFrom, type Failure } from '../errors.js';

/** There are not as many blocks as were asked for: the others are held. */
export class BlocksExhaustedError extends DynamoError {
  override readonly name: string = 'BlocksExhaustedError';

  constructor(
    readonly requested: number,
    readonly available: number,
    operation: string,
  ) {
    super('CapacityExhausted', `${operation}: expected ${requested} blocks, got ${available} that can be had`, {
      reason: 'kvbm.exhausted',
      operation,
    });
  }
}

/** Blocks were used in a state that does not allow it: staged twice, registered twice, given on, or lent to a copy. */
export class BlockStateError extends DynamoError {
  override readonly name: string = 'BlockStateError';

  constructor(message: string, operation: string) {
    super('Conflict', message, { reason: 'kvbm.block_state', operation });
  }
}

/** Blocks of managers whose layouts differ were to be copied. */
export class BlockLayoutError extends DynamoError {
  override readonly name: string = 'BlockLayoutError';

  constructor(message: string, operation: string) {
    super('InvalidRequest', message, { reason: 'kvbm.layout', operation });
  }
}

/** A block's bytes are not those that were stored in it. */
export class BlockChecksumError extends DynamoError {
  override readonly name: string = 'BlockChecksumError';

  constructor(message: string, operation: string) {
    super('Internal', message, { reason: 'kvbm.checksum', operation });
  }
}

const KINDS: Record<string, new (message: string, operation: string) => DynamoError> = {
  'kvbm.block_state': BlockStateError,
  'kvbm.layout': BlockLayoutError,
  'kvbm.checksum': BlockChecksumError,
};

/** The error of this area's own kind, where there is one. */
export function blockError(error: unknown): unknown {
  if (!(error instanceof DynamoError) || error instanceof ClosedError) return error;
  const Kind = KINDS[error.reason];
  return Kind === undefined ? error : new Kind(error.message, error.operation ?? '');
}

/** The error for what a function threw that is called past `invokeSync`. */
export function failureOf(error: unknown, operation: string): unknown {
  const { failure } = error as { failure?: Bytes };
  return failure === undefined ? error : blockError(errorFrom(unpack(failure) as Failure, operation));
}

/** `invokeSync` with this area's errors. */
export function call<Result>(
  fn: Sync<Result>,
  operation: string,
  handle: Handle,
  a?: number,
  b?: number,
  payload?: Payload | Nothing,
  args?: Bytes | Nothing,
  other?: Handle | Nothing,
): Result {
  try {
    return invokeSync(fn, operation, { handle, args, payload, a, b, other });
  } catch (error) {
    throw blockError(error);
  }
}
