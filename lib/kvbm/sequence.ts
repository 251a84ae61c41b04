import { pack } from '../addon/codec.js';
import { arg, invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { checkInteger, MAX_U32, wrongType } from '../check.js';
import { badArgument, ClosedError } from '../errors.js';
import { custom, integer, listOf, nested, type OptionTable, optionTable, text } from '../options.js';
import { tokenWords, word32s, words } from '../words.js';
import { blockRange, MAX_RANGE_BLOCKS } from './block-range.js';
import { call } from './errors.js';
import { LineageHashes } from './hashes.js';

/** A run of placeholder tokens, of an image for example. */
export interface MultimodalRun {
  /** Identifies the object. */
  readonly hash: bigint;
  /** Index of the run's first token in the tokens of the same call. */
  readonly offset: number;
  readonly length: number;
}

/** The properties that a block's name depends on besides the tokens. */
export interface TokenSequenceOptions {
  /** Tokens in a block; a manager's is a power of 2 up to 1024. */
  readonly blockSize: number;
  /** Separates the blocks from those of other salts, for example of other tenants. */
  readonly salt?: string;
  /** Separates the blocks from those of other adapters. */
  readonly loraName?: string;
  readonly multimodal?: readonly MultimodalRun[];
}

const RUN_OPTIONS: OptionTable<MultimodalRun> = optionTable<MultimodalRun>({
  hash: custom<bigint>('a bigint', (path, value) => {
    if (typeof value !== 'bigint') wrongType(path, 'a bigint', value);
  }).required(),
  offset: integer(0).required(),
  length: integer(1).required(),
});

/** The options that sequences and paged sequences have in common. */
export const SEQUENCE_ROWS = {
  salt: text,
  loraName: text,
  multimodal: listOf(nested(RUN_OPTIONS), 'runs'),
};

const SEQUENCE_OPTIONS: OptionTable<TokenSequenceOptions> = optionTable<TokenSequenceOptions>({
  blockSize: integer(1, 65536).required(),
  ...SEQUENCE_ROWS,
});

/** @inline */
interface ExtendOptions {
  readonly multimodal?: readonly MultimodalRun[];
}

const EXTEND_OPTIONS: OptionTable<ExtendOptions> = optionTable<ExtendOptions>({ multimodal: SEQUENCE_ROWS.multimodal });

/** Token ids of a request, each from 0 to 2^32-1. */
export type Tokens = Uint32Array | readonly number[];

function createHandle(
  tokens: Uint32Array,
  { salt, loraName, multimodal, blockSize }: TokenSequenceOptions,
): Handle<'sequence'> {
  const isPlain = salt === undefined && loraName === undefined && multimodal === undefined;
  const args = isPlain ? undefined : pack({ salt, loraName, multimodal: multimodal ?? [] });
  return invokeSync(native.sequenceCreate, 'TokenSequence', { payload: tokens, args, a: arg('blockSize', blockSize) });
}

/**
 * A request's tokens in blocks. Each full block is hashed with the router's salt, so a `KvRouter` finds blocks without
 * media by these hashes. A block with media is hashed by the position of its media here and by their content in a
 * router, so no router finds it. Source: `dynamo-tokens` `TokenBlockSequence`, `dynamo-kv-hashing`.
 *
 * @example
 * using sequence = new TokenSequence([1, 2, 3, 4, 5], { blockSize: 4 });
 * sequence.blockHashes(); // BigUint64Array [14643705804678351452n]
 */
export class TokenSequence implements Disposable {
  readonly blockSize: number;
  #handle: Handle<'sequence'> | undefined;
  #length: number;
  /** The last appended tokens, which the native side does not know yet. Allocated by the first `append`. */
  #pending: Uint32Array | undefined;
  #pendingCount = 0;

  /** @throws TypeError, RangeError */
  constructor(tokens: Tokens, options: TokenSequenceOptions);
  /** @internal */
  constructor(tokens: Tokens, options: TokenSequenceOptions, cloned: { handle: Handle<'sequence'>; length: number });
  constructor(tokens: Tokens, options: TokenSequenceOptions, cloned?: { handle: Handle<'sequence'>; length: number }) {
    SEQUENCE_OPTIONS.check('TokenSequence options', options);
    const all = tokenWords('TokenSequence tokens', tokens);
    this.blockSize = options.blockSize;
    this.#handle = cloned?.handle ?? createHandle(all, options);
    this.#length = cloned?.length ?? all.length;
  }

  /** Number of tokens, including those of the last, partial block. */
  get length(): number {
    return this.#length;
  }

  /** Number of full blocks. */
  get blockCount(): number {
    return Math.floor(this.#length / this.blockSize);
  }

  /** Appends one token. Returns the index of the block that it completes, if any. */
  append(token: number): number | undefined {
    if (this.#handle === undefined) this.handle('sequence.append');
    if (!Number.isInteger(token) || token < 0 || token > MAX_U32)
      checkInteger('sequence.append token', token, 0, MAX_U32);
    (this.#pending ??= new Uint32Array(this.blockSize))[this.#pendingCount++] = token;
    this.#length += 1;
    if (this.#length % this.blockSize === 0) {
      if (this.#length > MAX_RANGE_BLOCKS * this.blockSize) this.#rejectLast();
      this.#flush();
      return this.#length / this.blockSize - 1;
    }
    if (this.#pendingCount === this.blockSize) this.#flush();
    return undefined;
  }

  #rejectLast(): never {
    this.#length -= 1;
    this.#pendingCount -= 1;
    throw badArgument(
      new TypeError(
        `sequence.append token: expected at most ${MAX_RANGE_BLOCKS} blocks of ${this.blockSize}, got one more`,
      ),
    );
  }

  /** Appends tokens. Returns the range of blocks that they complete, `end` exclusive, if any. */
  extend(tokens: Tokens, options: ExtendOptions = {}): { start: number; end: number } | undefined {
    const operation = 'sequence.extend';
    EXTEND_OPTIONS.check(`${operation} options`, options);
    const { multimodal } = options;
    const added = tokenWords(`${operation} tokens`, tokens);
    const handle = this.handle(operation);
    const start = this.blockCount;
    const args = multimodal === undefined ? undefined : pack({ multimodal });
    call(native.sequenceExtend, operation, { handle, payload: added, args });
    this.#length += added.length;
    const end = this.blockCount;
    return end > start ? { start, end } : undefined;
  }

  /** Keeps the first `length` tokens. A sequence with multimodal runs cannot be truncated. */
  truncate(length: number): void {
    checkInteger('sequence.truncate length', length, 0, this.#length);
    call(native.sequenceTruncate, 'sequence.truncate', {
      handle: this.handle('sequence.truncate'),
      a: arg('tokenCount', length),
    });
    this.#length = length;
  }

  /** The tokens from `start` up to, but without, `end`. Appended multimodal placeholders read as 0. */
  tokens(start = 0, end = this.#length): Uint32Array {
    checkInteger('sequence.tokens start', start, 0, this.#length);
    checkInteger('sequence.tokens end', end, start, this.#length);
    const bytes = call(native.sequenceTokens, 'sequence.tokens', {
      handle: this.handle('sequence.tokens'),
      a: arg('start', start),
      b: arg('end', end),
    });
    return bytes === undefined ? new Uint32Array() : word32s(bytes);
  }

  /** Hash of each full block's own tokens: the router's `LocalBlockHash`. */
  blockHashes(first = 0, count?: number): BigUint64Array {
    return this.#hashes('sequence.blockHashes', first, count, 0);
  }

  /** Hash of the sequence up to and including each full block: the router's `ExternalSequenceBlockHash`. */
  sequenceHashes(first = 0, count?: number): BigUint64Array {
    return this.#hashes('sequence.sequenceHashes', first, count, 1);
  }

  /** The full blocks' names in a `BlockManager`. */
  lineageHashes(first = 0, count?: number): LineageHashes {
    const operation = 'sequence.lineageHashes';
    const length = this.#blocksFrom(operation, first, count);
    const handle = this.handle(operation);
    const bytes =
      length > 0
        ? call(native.sequenceHashes, operation, {
            handle,
            a: arg('blockRange', blockRange(first, length)),
            b: arg('hashKind', 2),
          })
        : undefined;
    return new LineageHashes(bytes ?? new Uint8Array());
  }

  /** @internal Identities of at least one full block: see `RegisteredBlocks.identities`. */
  identities(first: number, count: number): Uint8Array {
    const before = Math.min(first, 1);
    const parents = this.sequenceHashes(first - before, count - 1 + before);
    const pairs = new BigUint64Array(2 * count);
    for (const [index, hash] of this.blockHashes(first, count).entries())
      pairs.set([hash, parents[index - 1 + before] ?? 0n], 2 * index);
    return new Uint8Array(pairs.buffer);
  }

  /** The seed of the hashes, made from salt and adapter; 1337 without either. */
  saltHash(): bigint {
    const operation = 'sequence.saltHash';
    return words(
      call(native.sequenceHashes, operation, { handle: this.handle(operation), b: arg('hashKind', 3) }),
    )[0] as bigint;
  }

  /** An independent sequence with the same tokens, salt and runs. */
  clone(): TokenSequence {
    const handle = call(native.sequenceClone, 'sequence.clone', { handle: this.handle('sequence.clone') });
    return new TokenSequence([], { blockSize: this.blockSize }, { handle, length: this.#length });
  }

  #hashes(operation: string, first: number, count: number | undefined, kind: number): BigUint64Array {
    const length = this.#blocksFrom(operation, first, count);
    const hashes = new BigUint64Array(length);
    const handle = this.handle(operation);
    if (length > 0)
      call(native.sequenceHashes, operation, {
        handle,
        a: arg('blockRange', blockRange(first, length)),
        b: arg('hashKind', kind),
        payload: hashes,
      });
    return hashes;
  }

  /** Checks a range of blocks. Returns its length: without `count`, all blocks from `first` on. */
  #blocksFrom(operation: string, first: number, count: number | undefined): number {
    checkInteger(`${operation} first`, first, 0, this.blockCount);
    const max = this.blockCount - first;
    if (count === undefined) return max;
    checkInteger(`${operation} count`, count, 0, max);
    return count;
  }

  /** @internal The handle, after every appended token has reached the native side. @throws ClosedError */
  handle(operation: string): Handle<'sequence'> {
    if (this.#handle === undefined) throw new ClosedError('the token sequence', operation);
    if (this.#pendingCount > 0) this.#flush();
    return this.#handle;
  }

  #flush(): void {
    const appended = (this.#pending as Uint32Array).subarray(0, this.#pendingCount);
    this.#pendingCount = 0;
    const handle = this.#handle as Handle<'sequence'>;
    call(native.sequenceExtend, 'sequence.append', { handle, payload: appended });
  }

  /** Frees the tokens. Every later call fails with `ClosedError`. Idempotent. */
  dispose(): void {
    const handle = this.#handle;
    this.#handle = undefined;
    if (handle !== undefined) call(native.sequenceClose, 'sequence.dispose', { handle });
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
