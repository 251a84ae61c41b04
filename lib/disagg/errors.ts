import { DynamoError, type ErrorClass } from '../errors.js';

const CLASSES = {
  'disagg.handoff': 'BackendProtocol',
  'disagg.version': 'BackendProtocol',
  'disagg.model': 'BackendProtocol',
  'disagg.layout': 'BackendProtocol',
  'disagg.library': 'BackendProtocol',
  'disagg.prompt': 'BackendProtocol',
  'disagg.blocks': 'BackendProtocol',
  'disagg.prefill_failed': 'Unavailable',
  'disagg.lease_lost': 'Unavailable',
  'disagg.peer_lost': 'Unavailable',
  'disagg.timeout': 'DeadlineExceeded',
  'disagg.capacity': 'CapacityExhausted',
} as const satisfies Record<string, ErrorClass>;

/**
 * Why a handoff failed. `handoff`: the content is not valid. `version`, `model`, `layout`, `library`, `prompt` and
 * `blocks`: both workers are in order but do not fit together, or the content was changed on the way.
 * `prefill_failed`: the prefill ended without blocks. `lease_lost`: the prefill worker no longer has the blocks.
 * `peer_lost`: it does not answer. `timeout`: the limit has passed. `capacity`: it has no space for another offer.
 *
 * @useDeclaredType
 */
export type HandoffReason = keyof typeof CLASSES;

/** Whether a value that a peer has sent is a reason. */
export const isHandoffReason = (value: unknown): value is HandoffReason =>
  typeof value === 'string' && Object.hasOwn(CLASSES, value);

/**
 * A request's KV blocks did not get from the prefill worker to the decode worker. `reason` is a {@link HandoffReason}.
 * The last five are retryable: a new prefill, maybe on another worker, can succeed.
 */
export class HandoffError extends DynamoError {
  override readonly name: string = 'HandoffError';
  declare readonly reason: HandoffReason;

  constructor(reason: HandoffReason, message: string, operation: string, cause?: unknown) {
    super(CLASSES[reason], `${operation}: ${message}`, {
      reason,
      operation,
      ...(cause === undefined ? {} : { cause }),
    });
  }
}

/** A failure of a call of another worker, as an error of the handoff. */
export function handoffError(operation: string, what: string, cause: unknown): HandoffError {
  if (cause instanceof HandoffError) return cause;
  const why = cause instanceof Error ? cause.message : String(cause);
  const message = `${what}: ${why}`;
  if (!DynamoError.is(cause)) return new HandoffError('disagg.peer_lost', message, operation, cause);
  const isRefusal = cause.class === 'InvalidRequest' || cause.class === 'BackendProtocol';
  return new HandoffError(isRefusal ? 'disagg.handoff' : 'disagg.peer_lost', message, operation, cause);
}
