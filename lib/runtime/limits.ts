import { tooDeepForJson } from '../addon/codec.js';
import { DynamoError } from '../errors.js';

const VARIABLE = 'DYN_TCP_MAX_MESSAGE_SIZE';
const DEFAULT_BYTES = 32 * 1024 * 1024;
/** The transport's own part of a message: addresses, ids, metadata. */
const ENVELOPE_BYTES = 16 * 1024;
/** Dynamo's limit for one frame over QUIC. The variable does not change it. */
const QUIC_BYTES = 32 * 1024 * 1024;

/** The maximum size of a packed message, and the layer that sets it. */
export interface SizeLimit {
  readonly bytes: number;
  readonly layer: string;
  readonly variable?: string;
}

const transportLimit = (bytes: number): SizeLimit => ({
  bytes: bytes - ENVELOPE_BYTES,
  layer: `the transport's (${VARIABLE})`,
  variable: VARIABLE,
});

const QUIC_LIMIT: SizeLimit = { bytes: QUIC_BYTES - ENVELOPE_BYTES, layer: 'that of responses over QUIC' };

let fixed = transportLimit(DEFAULT_BYTES);

/** Sets the crates' limit, which they read once in a process. */
export function fixMaxMessageBytes(bytes: number): void {
  fixed = transportLimit(bytes);
}

/** The maximum size of a request or response item in bytes, by the transport's own limit. */
export function maxMessageBytes(): number {
  return fixed.bytes;
}

/** The limit of an item of a response. `own` is the limit of the endpoint. */
export function itemLimit(responsePlane: 'tcp' | 'quic', own?: number): SizeLimit {
  if (own !== undefined) return { bytes: own, layer: 'options.maxItemBytes' };
  return responsePlane === 'quic' && QUIC_LIMIT.bytes < fixed.bytes ? QUIC_LIMIT : fixed;
}

/** Throws if a packed message exceeds a limit, before it is sent. */
export function checkSize(operation: string, what: string, actual: number, limit: SizeLimit = fixed): void {
  const { bytes, layer, variable } = limit;
  if (actual <= bytes) return;
  throw new DynamoError(
    'PayloadTooLarge',
    `${operation}: ${what} has ${actual} bytes packed, the limit is ${bytes}, ${layer}`,
    {
      reason: 'request.payload_too_large',
      operation,
      details: { type: 'size_limit', limit: bytes, actual, ...(variable === undefined ? {} : { variable }) },
    },
  );
}

/** Throws if the request that was packed last is too deep for JSON, and an instance may get it as JSON. */
export function checkDepth(operation: string, what: string, mayUseJson: () => boolean): void {
  const problem = tooDeepForJson();
  if (problem === undefined || !mayUseJson()) return;
  const message = `${operation}: ${what} cannot be sent: ${problem}`;
  throw new DynamoError('InvalidRequest', message, { reason: 'request.invalid', operation });
}
