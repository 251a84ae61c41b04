import { pack } from '../addon/codec.js';
import { invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { checkInteger, checkObject, checkOptions, checkString, wrongType } from '../check.js';
import { ClosedError } from '../errors.js';
import { call } from './errors.js';
import { bigWords, LineageHashes } from './hashes.js';

/** A run of placeholder tokens of an image or the like. */
export interface MultimodalRun {
  /** Names the object. */
  readonly hash: bigint;
  /** Index of the run's first token among the tokens that it is given with. */
  readonly offset: number;
  readonly length: number;
}

/** What the names of a sequence's blocks depend on besides its tokens. */
export interface TokenSequenceOptions {
  /** Tokens in a block; a manager's is a power of 2 up to 1024. */
  readonly blockSize: number;
  /** Keeps the blocks apart from those of other salts. Requests of one tenant, say. */
  readonly salt?: string;
  /** Keeps the blocks apart from those of other adapters. */
  readonly loraName?: string;
  readonly multimodal?: readonly MultimodalRun[];
}

/** Token ids of a request; each from 0 to 2^32-1. */
export type Tokens = Uint32Array | readonly number[];

const MOST_TOKEN = 2 ** 32 - 1;
const RANGE = 2 ** 24;

/** Two numbers below 2^24 in one argument of a native function. */
export function pair(first: number, count: number): number {
  return first + count * RANGE;
}

/** Such numbers as bytes. */
export function packPair(first: number, count: number): Uint8Array {
  const range = new Uint8Array(8);
  new DataView(range.buffer).setBigUint64(0, BigInt(pair(first, count)), true);
  return range;
}

export function tokenWords(path: string, tokens: Tokens): Uint32Array {
  if (tokens instanceof Uint32Array) return tokens;
  if (!Array.isArray(tokens)) wrongType(path, 'a Uint32Array or an array of token ids', tokens);
  for (let index = 0; index < tokens.length; index++) checkInteger(`${path}[${index}]`, tokens[index], 0, MOST_TOKEN);
  return Uint32Array.from(tokens);
}

function checkRuns(path: string, runs: readonly MultimodalRun[]): void {
  if (!Array.isArray(runs)) wrongType(path, 'an array of runs', runs);
  for (const [index, run] of runs.entries()) {
    checkObject(`${path}[${index}]`, run, ['hash', 'offset', 'length']);
    if (typeof run.hash !== 'bigint')
      throw new TypeError(`${path}[${index}].hash: expected a bigint, got ${typeof run.hash}`);
    checkInteger(`${path}[${index}].offset`, run.offset, 0);
    checkInteger(`${path}[${index}].length`, run.length, 1);
  }
}

/**
 * A request's tokens in blocks, each full one hashed, salted as the router salts: the hashes of blocks without media are
 * those by which a `KvRouter` finds them. A block with media is named by where they lie, where a router names it by which
 * they are, so that no router finds it. Source: `dynamo-tokens` `TokenBlockSequence`, `dynamo-kv-hashing`.
 *
 * @example
 * using sequence = new TokenSequence([1, 2, 3, 4, 5], { blockSize: 4 });
 * sequence.blockHashes(); // BigUint64Array [14643705804678351452n]
 */
export class TokenSequence implements Disposable {
  readonly blockSize: number;
  #handle: Handle | undefined;
  #length = 0;
  /** The last tokens, of which the native side does not know yet; made when one is appended. */
  #pending: Uint32Array | undefined;
  #pendingCount = 0;

  /** @throws TypeError, RangeError */
  constructor(tokens: Tokens, options: TokenSequenceOptions, copied?: { handle: Handle; length: number }) {
    const path = 'TokenSequence options';
    checkOptions(path, options, ['blockSize', 'salt', 'loraName', 'multimodal']);
    const { blockSize, salt, loraName, multimodal } = options;
    checkInteger(`${path}.blockSize`, blockSize, 1, 65536);
    if (salt !== undefined) checkString(`${path}.salt`, salt);
    if (loraName !== undefined) checkString(`${path}.loraName`, loraName);
    if (multimodal !== undefined) checkRuns(`${path}.multimodal`, multimodal);
    const words = tokenWords('TokenSequence tokens', tokens);
    const plain = salt === undefined && loraName === undefined && multimodal === undefined;
    const args = plain ? undefined : pack({ salt, loraName, multimodal: multimodal ?? [] });
    this.blockSize = blockSize;
    this.#handle =
      copied?.handle ?? invokeSync(native.sequenceCreate, 'TokenSequence', { payload: words, args, a: blockSize });
    this.#length = copied?.length ?? words.length;
  }

  /** Tokens, those of the last, partial block included. */
  get length(): number {
    return this.#length;
  }

  /** Full blocks. */
  get blockCount(): number {
    return Math.floor(this.#length / this.blockSize);
  }

  /** Adds one token. Gives the index of the block that this completes, if it does. */
  append(token: number): number | undefined {
    if (this.#handle === undefined) this.handle('sequence.append');
    if (!Number.isInteger(token) || token < 0 || token > MOST_TOKEN)
      checkInteger('sequence.append token', token, 0, MOST_TOKEN);
    (this.#pending ??= new Uint32Array(this.blockSize))[this.#pendingCount++] = token;
    this.#length += 1;
    if (this.#length % this.blockSize === 0) {
      if (this.#length > RANGE * this.blockSize) this.#refuseLast();
      this.#flush();
      return this.#length / this.blockSize - 1;
    }
    if (this.#pendingCount === this.blockSize) this.#flush();
    return undefined;
  }

  #refuseLast(): never {
    this.#length -= 1;
    this.#pendingCount -= 1;
    throw new TypeError(`sequence.append token: expected at most ${RANGE} blocks of ${this.blockSize}, got one more`);
  }

  /** Adds tokens. Gives the range of blocks that this completes, `end` without, if it does. */
  extend(
    tokens: Tokens,
    options: { readonly multimodal?: readonly MultimodalRun[] } = {},
  ): { start: number; end: number } | undefined {
    checkOptions('sequence.extend options', options, ['multimodal']);
    const { multimodal } = options;
    if (multimodal !== undefined) checkRuns('sequence.extend options.multimodal', multimodal);
    const words = tokenWords('sequence.extend tokens', tokens);
    const handle = this.handle('sequence.extend');
    const start = this.blockCount;
    const args = multimodal === undefined ? undefined : pack({ multimodal });
    call(native.sequenceExtend, 'sequence.extend', handle, 0, 0, words, args);
    this.#length += words.length;
    const end = this.blockCount;
    return end > start ? { start, end } : undefined;
  }

  /** Keeps the first `length` tokens. A sequence with multimodal runs cannot be cut. */
  truncate(length: number): void {
    checkInteger('sequence.truncate length', length, 0, this.#length);
    call(native.sequenceTruncate, 'sequence.truncate', this.handle('sequence.truncate'), length);
    this.#length = length;
  }

  /** The tokens from `start` up to but without `end`; multimodal placeholders that were appended read as 0. */
  tokens(start = 0, end = this.#length): Uint32Array {
    checkInteger('sequence.tokens start', start, 0, this.#length);
    checkInteger('sequence.tokens end', end, start, this.#length);
    const bytes = call(native.sequenceTokens, 'sequence.tokens', this.handle('sequence.tokens'), start, end);
    return bytes === undefined
      ? new Uint32Array()
      : new Uint32Array(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.byteLength / 4);
  }

  /** Hash of each full block's tokens alone: the router's `LocalBlockHash`. */
  blockHashes(first = 0, count?: number): BigUint64Array {
    return this.#words('sequence.blockHashes', first, count, 0);
  }

  /** Hash of the sequence up to and with each full block: the router's `ExternalSequenceBlockHash`. */
  sequenceHashes(first = 0, count?: number): BigUint64Array {
    return this.#words('sequence.sequenceHashes', first, count, 1);
  }

  /** The full blocks' names in a `BlockManager`. */
  lineageHashes(first = 0, count?: number): LineageHashes {
    const operation = 'sequence.lineageHashes';
    const length = this.#checkRange(operation, first, count);
    const handle = this.handle(operation);
    const bytes = length > 0 ? call(native.sequenceHashes, operation, handle, pair(first, length), 2) : undefined;
    return new LineageHashes(bytes ?? new Uint8Array());
  }

  /** @internal What the names do not tell of full blocks, one at least: see `RegisteredBlocks.identities`. */
  identities(first: number, count: number): Uint8Array {
    const before = Math.min(first, 1);
    const parents = this.sequenceHashes(first - before, count - 1 + before);
    const words = new BigUint64Array(2 * count);
    for (const [index, hash] of this.blockHashes(first, count).entries())
      words.set([hash, parents[index - 1 + before] ?? 0n], 2 * index);
    return new Uint8Array(words.buffer);
  }

  /** What salt and adapter make of the hashes' seed; 1337 without either. */
  saltHash(): bigint {
    return bigWords(
      call(native.sequenceHashes, 'sequence.saltHash', this.handle('sequence.saltHash'), 0, 3),
    )[0] as bigint;
  }

  /** A sequence of its own with the same tokens, salt and runs. */
  clone(): TokenSequence {
    const handle = call(native.sequenceClone, 'sequence.clone', this.handle('sequence.clone'));
    return new TokenSequence([], { blockSize: this.blockSize }, { handle, length: this.#length });
  }

  #words(operation: string, first: number, count: number | undefined, kind: number): BigUint64Array {
    const length = this.#checkRange(operation, first, count);
    const words = new BigUint64Array(length);
    const handle = this.handle(operation);
    if (length > 0) call(native.sequenceHashes, operation, handle, pair(first, length), kind, words);
    return words;
  }

  /** How many blocks are meant: all from `first` on where that is left out. */
  #checkRange(operation: string, first: number, count: number | undefined): number {
    checkInteger(`${operation} first`, first, 0, this.blockCount);
    const most = this.blockCount - first;
    if (count === undefined) return most;
    checkInteger(`${operation} count`, count, 0, most);
    return count;
  }

  #flush(): void {
    const words = (this.#pending as Uint32Array).subarray(0, this.#pendingCount);
    this.#pendingCount = 0;
    call(native.sequenceExtend, 'sequence.append', this.#handle as Handle, 0, 0, words);
  }

  /** @internal */
  handle(operation: string): Handle {
    if (this.#handle === undefined) throw new ClosedError('the token sequence', operation);
    if (this.#pendingCount > 0) this.#flush();
    return this.#handle;
  }

  /** Forgets the tokens. Idempotent. */
  dispose(): void {
    const handle = this.#handle;
    this.#handle = undefined;
    if (handle !== undefined) call(native.sequenceClose, 'sequence.dispose', handle);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
