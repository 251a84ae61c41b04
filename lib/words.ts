import { checkU64, MAX_U32, wrongType } from './check.js';
import { badArgument } from './errors.js';

/** Arrays of integers for the native side, which reads them as little-endian words. */

const little = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1;
if (!little) throw new Error('dynamo-node runs on little-endian machines only');

export function asBytes(view: ArrayBufferView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

/** The bytes, copied if their offset does not fit 8-byte words. */
function aligned(bytes: Uint8Array | undefined): Uint8Array {
  if (bytes === undefined) return new Uint8Array(0);
  return bytes.byteOffset % 8 === 0 ? bytes : new Uint8Array(bytes);
}

export function words(bytes: Uint8Array | undefined): BigUint64Array {
  const { buffer, byteOffset, byteLength } = aligned(bytes);
  return new BigUint64Array(buffer, byteOffset, byteLength / 8);
}

export function floats(bytes: Uint8Array): Float64Array {
  const { buffer, byteOffset, byteLength } = aligned(bytes);
  return new Float64Array(buffer, byteOffset, byteLength / 8);
}

export function word32s(bytes: Uint8Array): Uint32Array {
  const { buffer, byteOffset, byteLength } = aligned(bytes);
  return new Uint32Array(buffer, byteOffset, byteLength / 4);
}

/** Token ids as 32-bit words; a `Uint32Array` is not copied. */
export function tokenWords(path: string, tokens: Uint32Array | readonly number[]): Uint32Array {
  if (tokens instanceof Uint32Array) return tokens;
  if (!Array.isArray(tokens)) wrongType(path, 'a Uint32Array or an array of token ids', tokens);
  const wrong = tokens.findIndex((id) => !Number.isInteger(id) || id < 0 || id > MAX_U32);
  if (wrong !== -1) {
    const id: unknown = tokens[wrong];
    if (typeof id !== 'number') wrongType(`${path}[${wrong}]`, 'an integer', id);
    throw badArgument(new RangeError(`${path}[${wrong}]: expected an integer from 0 to 2^32-1, got ${id}`));
  }
  return Uint32Array.from(tokens);
}

/** Hashes as 64-bit words; a `BigUint64Array` is not copied. */
export function hashWords(path: string, hashes: BigUint64Array | readonly bigint[]): BigUint64Array {
  if (hashes instanceof BigUint64Array) return hashes;
  if (!Array.isArray(hashes) || hashes.some((hash) => typeof hash !== 'bigint')) {
    wrongType(path, 'a BigUint64Array or an array of bigints', hashes);
  }
  // A larger number would lose its upper digits.
  hashes.forEach((hash, index) => checkU64(`${path}[${index}]`, hash));
  return BigUint64Array.from(hashes);
}
