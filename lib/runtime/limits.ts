import { DynamoError } from '../errors.js';

const VARIABLE = 'DYN_TCP_MAX_MESSAGE_SIZE';
const DEFAULT_BYTES = 32 * 1024 * 1024;
/** What the transport puts around a payload: addresses, ids, metadata. */
const ENVELOPE_BYTES = 16 * 1024;

let fixed: number | undefined;

/** What a runtime was made with. The crates read theirs once, from the environment, and refuse another. */
export function fixMaxMessageBytes(bytes: number | undefined): void {
  const set = bytes ?? Number.parseInt(process.env[VARIABLE] ?? '', 10);
  fixed ??= (Number.isSafeInteger(set) && set > 0 ? set : DEFAULT_BYTES) - ENVELOPE_BYTES;
}

/** The largest request or response item in bytes, as the transport's own limit allows. */
export function maxMessageBytes(): number {
  if (fixed === undefined) fixMaxMessageBytes(undefined);
  return fixed as number;
}

/** Throws before anything is sent where a packed message is over a limit. */
export function checkSize(operation: string, what: string, bytes: number, limit: number = maxMessageBytes()): void {
  if (bytes <= limit) return;
  const layer = limit === maxMessageBytes() ? `the TCP transport's (${VARIABLE})` : 'options.maxItemBytes';
  throw new DynamoError('PayloadTooLarge', `${operation}: ${what} has ${bytes} bytes packed, the limit is ${limit}, ${layer}`, {
    reason: 'request.payload_too_large',
    operation,
    details: { type: 'size_limit', limit, actual: bytes, variable: VARIABLE },
  });
}
