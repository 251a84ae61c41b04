import { pack } from '../addon/codec.js';
import { arg, invokeSync, native } from '../addon/invoke.js';
import { checkArray, checkInteger, MAX_BLOCK_TOKENS } from '../check.js';
import { boolean, custom, type OptionRows, type OptionTable, optionTable, text } from '../options.js';
import { asBytes, hashWords, tokenWords, words } from '../words.js';

/** An image, a video or a sound in a block. */
export interface MultimodalObject {
  readonly hash: bigint;
  /** Ranges `[start, end)` of its placeholder tokens, counted from the block's first token. */
  readonly offsets: readonly (readonly [number, number])[];
}

/** What distinguishes blocks with equal tokens. Source: `dynamo-kv-router` `protocols.rs` (`BlockHashOptions`). */
export interface HashOptions {
  /** Name of the LoRA adapter. @default none */
  readonly loraName?: string;
  /** Separates the cache of one tenant from that of another. @default none */
  readonly cacheSalt?: string;
  /** Hash each block with the first token of the next. @default false */
  readonly eagle?: boolean;
  /** For each block its media, or null. @default none */
  readonly multimodal?: readonly (readonly MultimodalObject[] | null)[];
}

export const HASH_ROWS: OptionRows<HashOptions> = {
  loraName: text.about('Name of the LoRA adapter.'),
  cacheSalt: text.about('Separates the cache of one tenant from that of another.'),
  eagle: boolean.about('Hash each block with the first token of the next.'),
  multimodal: custom('an array of lists of media, or null', checkMultimodal),
};

const HASH_OPTIONS: OptionTable<HashOptions> = optionTable<HashOptions>(HASH_ROWS);

function checkMultimodal(path: string, blocks: unknown): void {
  checkArray(path, blocks, 'lists of media, or null');
  blocks.forEach((objects, index) => {
    if (objects !== null) checkArray(`${path}[${index}]`, objects, 'media');
  });
}

/** The crates' `BlockExtraInfo`, with the crates' field names. */
export function multimodalArgs(blocks: HashOptions['multimodal']): unknown {
  return blocks?.map((objects) =>
    objects === null ? null : { mm_objects: objects.map(({ hash, offsets }) => ({ mm_hash: hash, offsets })) },
  );
}

/**
 * Returns the hash of each whole block of tokens, as every router and worker of Dynamo computes it. Tokens after the
 * last whole block are ignored. The hash does not depend on earlier blocks: see `computeSequenceHashes`.
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
  checkInteger(`${path} blockSize`, blockSize, 1, MAX_BLOCK_TOKENS);
  const payload = asBytes(tokenWords(`${path} tokens`, tokens));
  return words(
    invokeSync(native.hashBlocks, path, {
      args: hashArgs(`${path} options`, options),
      payload,
      a: arg('blockSize', blockSize),
    }),
  );
}

function hashArgs(path: string, options: HashOptions | undefined): Uint8Array | undefined {
  if (options === undefined) return undefined;
  HASH_OPTIONS.check(path, options);
  const { loraName, cacheSalt, eagle, multimodal } = options;
  return pack({ loraName, cacheSalt, eagle, multimodal: multimodalArgs(multimodal) });
}

/**
 * Returns the rolling hash of a sequence up to each of its blocks. It identifies a block together with its prefix. This
 * package's engines name blocks by it.
 */
export function computeSequenceHashes(blockHashes: BigUint64Array | readonly bigint[]): BigUint64Array {
  const path = 'computeSequenceHashes';
  return words(
    invokeSync(native.hashSequences, path, { payload: asBytes(hashWords(`${path} blockHashes`, blockHashes)) }),
  );
}
