import { DynamoError } from '../errors.js';

const VARIABLE = 'DYN_TCP_MAX_MESSAGE_SIZE';
const DEFAULT_BYTES = 32 * 1024 * 1024;
/** What the transport puts around a payload: addresses, ids, metadata. */
const ENVELOPE_BYTES = 16 * 1024;

/** What Dynamo takes in one frame over QUIC, whatever the variable says. */
const QUIC_BYTES = 32 * 1024 * 1024;

let fixed = DEFAULT_BYTES - ENVELOPE_BYTES;

/** The most that a packed message may have, and who says so. */
export interface SizeLimit {
  readonly bytes: number;
  readonly layer: string;
  readonly variable?: string;
}

/** What the crates hold to, which they read once in a process. */
export function fixMaxMessageBytes(bytes: number): void {
  fixed = bytes - ENVELOPE_BYTES;
}

/** The largest request or response item in bytes, as the transport's own limit allows. */
export function maxMessageBytes(): number {
  return fixed;
}

const transportLimit = (): SizeLimit => ({ bytes: fixed, layer: `the transport's (${VARIABLE})`, variable: VARIABLE });

/** The limit of an item of a response. */
export function itemLimit(responsePlane: 'tcp' | 'quic', own?: number): SizeLimit {
  if (own !== undefined) return { bytes: own, layer: 'options.maxItemBytes' };
  const quic = QUIC_BYTES - ENVELOPE_BYTES;
  return responsePlane === 'quic' && quic < fixed ? { bytes: quic, layer: 'that of responses over QUIC' } : transportLimit();
}

/** Throws before anything is sent where a packed message is over a limit. */
export function checkSize(operation: string, what: string, actual: number, limit: SizeLimit = transportLimit()): void {
  const { bytes, layer, variable } = limit;
  if (actual <= bytes) return;
  throw new DynamoError('PayloadTooLarge', `${operation}: ${what} has ${actual} bytes packed, the limit is ${bytes}, ${layer}`, {
    reason: 'request.payload_too_large',
    operation,
    details: { type: 'size_limit', limit: bytes, actual, ...(variable === undefined ? {} : { variable }) },
  });
}
