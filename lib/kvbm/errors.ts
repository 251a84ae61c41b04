import { unpack } from '../addon/codec.js';
import { invokeSync } from '../addon/invoke.js';
import type { Bytes, CallParts, Exactly, Sync } from '../addon/native.js';
import { ClosedError, DynamoError, errorFrom, type Failure } from '../errors.js';
import { defined } from '../options.js';

/** Fewer blocks are available than were requested: the others are in use. */
export class BlocksExhaustedError extends DynamoError {
  override readonly name: string = 'BlocksExhaustedError';

  constructor(
    readonly requested: number,
    readonly available: number,
    operation: string,
  ) {
    super('CapacityExhausted', `${operation}: expected ${requested} blocks, got ${available} available`, {
      reason: 'kvbm.exhausted',
      operation,
    });
  }
}

/**
 * The state of the blocks does not allow the call: they were staged, registered or moved before, or a copy uses them.
 */
export class BlockStateError extends DynamoError {
  override readonly name: string = 'BlockStateError';

  constructor(message: string, operation: string) {
    super('Conflict', message, { reason: 'kvbm.block_state', operation });
  }
}

/** The layouts of two managers differ, so blocks cannot be copied between them. */
export class BlockLayoutError extends DynamoError {
  override readonly name: string = 'BlockLayoutError';

  constructor(message: string, operation: string) {
    super('InvalidRequest', message, { reason: 'kvbm.layout', operation });
  }
}

/** A block's bytes differ from those that were stored in it. */
export class BlockChecksumError extends DynamoError {
  override readonly name: string = 'BlockChecksumError';

  constructor(message: string, operation: string) {
    super('Internal', message, { reason: 'kvbm.checksum', operation });
  }
}

/**
 * The file of a disk tier failed. `reason` is `kvbm.file_not_found` (its folder is missing), `kvbm.file_exists`,
 * `kvbm.file_denied`, `kvbm.file_full` (the disk or the quota), `kvbm.file_truncated`, or `kvbm.io` for another error.
 */
export class BlockFileError extends DynamoError {
  override readonly name: string = 'BlockFileError';
}

const KINDS: Record<string, new (message: string, operation: string) => DynamoError> = {
  'kvbm.block_state': BlockStateError,
  'kvbm.layout': BlockLayoutError,
  'kvbm.checksum': BlockChecksumError,
};

/** The error as this area's own class, if there is one for its reason. */
export function blockError(error: unknown): unknown {
  if (!(error instanceof DynamoError) || error instanceof ClosedError) return error;
  const Kind = KINDS[error.reason];
  const { reason, operation } = error;
  if (reason === 'kvbm.io' || reason.startsWith('kvbm.file_'))
    return new BlockFileError(error.class, error.message, defined({ reason, operation }));
  return Kind === undefined ? error : new Kind(error.message, error.operation ?? '');
}

/** For promises: rejects with `blockError`. */
export function rethrow(error: unknown): never {
  throw blockError(error);
}

/** The error of a native function that is called without `invokeSync`. */
export function failureOf(error: unknown, operation: string): unknown {
  const { failure } = error as { failure?: Bytes };
  return failure === undefined ? error : blockError(errorFrom(unpack(failure) as Failure, operation));
}

/** `invokeSync` that throws this area's error classes. */
export function call<Result, Parts>(
  fn: Sync<Result, Parts>,
  operation: string,
  parts: Exactly<NoInfer<Parts>>,
): Result {
  try {
    return invokeSync(fn as unknown as Sync<Result, CallParts>, operation, parts);
  } catch (error) {
    throw blockError(error);
  }
}
