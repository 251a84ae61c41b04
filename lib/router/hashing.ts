import { pack } from '../addon/codec.js';
import { invokeSync, native } from '../addon/invoke.js';
import { checkInteger, checkOptions, checkString } from '../check.js';
import { asBytes, hashWords, tokenWords, words } from '../words.js';

/** An image, a video or a sound in a block. */
export interface MultimodalObject {
  readonly hash: bigint;
  /** Its placeholders in the block, from and up to, counted from the block's first token. */
  readonly offsets: readonly (readonly [number, number])[];
}

/** What besides its tokens tells a block from another. Source: `dynamo-kv-router` `protocols.rs` (`BlockHashOptions`). */
export interface HashOptions {
  /** The LoRA adapter's name. @default none */
  readonly loraName?: string;
  /** Keeps the cache of one tenant from another's. @default none */
  readonly cacheSalt?: string;
  /** Hash each block with the first token of the next. @default false */
  readonly eagle?: boolean;
  /** Per block what media are in it, or null. @default none */
  readonly multimodal?: readonly (readonly MultimodalObject[] | null)[];
}

const KNOWN = ['loraName', 'cacheSalt', 'eagle', 'multimodal'];

/** `BlockExtraInfo`s in the crates' own field names. */
export function multimodalArgs(blocks: HashOptions['multimodal']): unknown {
  return blocks?.map((objects) =>
    objects === null ? null : { mm_objects: objects.map(({ hash, offsets }) => ({ mm_hash: hash, offsets })) },
  );
}

/**
 * The hash of each whole block of tokens, as every router and worker of Dynamo computes it; what is left over at the end has
 * none. It says nothing of what came before the block: see `computeSequenceHashes`.
 *
 * @example
 * const hashes = computeBlockHashes(Uint32Array.of(1, 2, 3, 4), 4); // [14643705804678351452n]
 */
export function computeBlockHashes(
  tokens: Uint32Array | readonly number[],
  blockSize: number,
  options?: HashOptions,
): BigUint64Array {
  const path = 'computeBlockHashes';
  checkInteger(`${path} blockSize`, blockSize, 1, 0xffff_ffff);
  const payload = asBytes(tokenWords(`${path} tokens`, tokens));
  return words(
    invokeSync(native.hashBlocks, path, { args: hashArgs(`${path} options`, options), payload, a: blockSize }),
  );
}

function hashArgs(path: string, options: HashOptions | undefined): Uint8Array | undefined {
  if (options === undefined) return undefined;
  checkOptions(path, options, KNOWN);
  const { loraName, cacheSalt, eagle, multimodal } = options;
  if (loraName !== undefined) checkString(`${path}.loraName`, loraName);
  if (cacheSalt !== undefined) checkString(`${path}.cacheSalt`, cacheSalt);
  return pack({ loraName, cacheSalt, eagle, multimodal: multimodalArgs(multimodal) });
}

/**
 * The rolling hash of a sequence up to each of its blocks: the name that engines of ours give a block, unique over all
 * prefixes.
 */
export function computeSequenceHashes(blockHashes: BigUint64Array | readonly bigint[]): BigUint64Array {
  const path = 'computeSequenceHashes';
  return words(
    invokeSync(native.hashSequences, path, { payload: asBytes(hashWords(`${path} blockHashes`, blockHashes)) }),
  );
}
