import { DynamoError, type DynamoErrorOptions, type ErrorClass } from '../errors.js';

/**
 * Why a call of `dynamo-node/vllm` failed.
 *
 * - `vllm.unreachable`: the side channel does not answer in time, or the connection ended
 * - `vllm.protocol`: the other end sent something that is not of the protocol
 * - `vllm.engine`: another engine answers at the address
 * - `vllm.layout`: the sizes or the order of the blocks do not fit
 * - `vllm.params`: parameters of a transfer are incomplete or inconsistent
 * - `vllm.unsupported`: the other end uses a feature that this package does not
 * - `vllm.expired`: the lease has ended
 */
export type VllmReason =
  | 'vllm.unreachable'
  | 'vllm.protocol'
  | 'vllm.engine'
  | 'vllm.layout'
  | 'vllm.params'
  | 'vllm.unsupported'
  | 'vllm.expired';

const CLASSES: Readonly<Record<VllmReason, ErrorClass>> = {
  'vllm.unreachable': 'Unavailable',
  'vllm.protocol': 'BackendProtocol',
  'vllm.engine': 'Conflict',
  'vllm.layout': 'BackendProtocol',
  'vllm.params': 'InvalidRequest',
  'vllm.unsupported': 'NotImplemented',
  'vllm.expired': 'NotFound',
};

/** An error of `dynamo-node/vllm`. Its `reason` is a {@link VllmReason}. */
export class VllmError extends DynamoError {
  override readonly name: string = 'VllmError';
  declare readonly reason: VllmReason;

  constructor(reason: VllmReason, message: string, options: Omit<DynamoErrorOptions, 'reason'> = {}) {
    super(CLASSES[reason], message, { ...options, reason });
  }
}
