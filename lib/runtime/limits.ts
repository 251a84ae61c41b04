import { DynamoError } from '../errors.js';

const VARIABLE = 'DYN_TCP_MAX_MESSAGE_SIZE';
const DEFAULT_BYTES = 32 * 1024 * 1024;
/** What the transport puts around a payload: addresses, ids, metadata. */
const ENVELOPE_BYTES = 16 * 1024;

let fixed = DEFAULT_BYTES - ENVELOPE_BYTES;

/** What the crates hold to, which they read once in a process. */
export function fixMaxMessageBytes(bytes: number): void {
  fixed = bytes - ENVELOPE_BYTES;
}

/** The largest request or response item in bytes, as the transport's own limit allows. */
export function maxMessageBytes(): number {
  return fixed;
}

/** Throws before anything is sent where a packed message is over a limit. */
export function checkSize(operation: string, what: string, bytes: number, limit: number = fixed): void {
  if (bytes <= limit) return;
  const isOwn = limit !== fixed;
  const layer = isOwn ? 'options.maxItemBytes' : `the transport's (${VARIABLE})`;
  throw new DynamoError('PayloadTooLarge', `${operation}: ${what} has ${bytes} bytes packed, the limit is ${limit}, ${layer}`, {
    reason: 'request.payload_too_large',
    operation,
    details: { type: 'size_limit', limit, actual: bytes, ...(isOwn ? {} : { variable: VARIABLE }) },
  });
}
