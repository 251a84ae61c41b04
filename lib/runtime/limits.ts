import { DynamoError } from '../errors.js';

const VARIABLE = 'DYN_TCP_MAX_MESSAGE_SIZE';
const DEFAULT_BYTES = 32 * 1024 * 1024;
/** What the transport puts around a payload: addresses, ids, metadata. */
const ENVELOPE_BYTES = 16 * 1024;

let fixed: number | undefined;

/** The largest request or response item in bytes, as the transport's own limit allows. Read once, as the crates do. */
export function maxMessageBytes(): number {
  if (fixed === undefined) {
    const value = Number.parseInt(process.env[VARIABLE] ?? '', 10);
    fixed = (Number.isSafeInteger(value) && value > 0 ? value : DEFAULT_BYTES) - ENVELOPE_BYTES;
  }
  return fixed;
}

/** Throws before anything is sent where a packed message is over a limit. */
export function checkSize(operation: string, what: string, bytes: number, limit: number = maxMessageBytes()): void {
  if (bytes <= limit) return;
  const layer = limit === maxMessageBytes() ? `the TCP transport's (${VARIABLE})` : 'options.maxItemBytes';
  throw new DynamoError('PayloadTooLarge', `${operation}: ${what} has ${bytes} bytes packed, the limit is ${limit}, ${layer}`, {
    reason: 'request.payload_too_large',
    operation,
    details: { bytes, limit, variable: VARIABLE },
  });
}
