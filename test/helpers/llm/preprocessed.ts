import { pack } from '../../../lib/addon/codec.js';

/** A request as the native side packs it for an engine: the number of token ids, the ids, and the rest. */
export function packedRequest(ids: readonly number[], rest: object = {}): Uint8Array {
  return Buffer.concat([new Uint8Array(Uint32Array.of(ids.length, ...ids).buffer), pack({ ...rest, token_ids: [] })]);
}
