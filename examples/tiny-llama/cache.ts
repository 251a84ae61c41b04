/**
 * The keys and values of the tokens that a sequence has already passed through the model.
 *
 * The tokens are stored in blocks of `blockSize`, as in a paged cache, so that an implementation can place each block
 * anywhere. A row contains the keys (or values) of one token in one layer: kvHeads x headDim floats.
 */
export interface KvCache {
  /** The number of tokens whose rows are stored in every layer. */
  readonly length: number;
  /** The maximum number of tokens. */
  readonly capacity: number;
  /** Tokens in a block. */
  readonly blockSize: number;
  /** Announces the tokens whose rows follow. Only a cache that identifies blocks by their tokens needs it. */
  begin?(tokenIds: ArrayLike<number>): void;
  /**
   * Stores the rows of the tokens after `length` in one layer. They can be read immediately. `length` includes them
   * after {@link KvCache.advance}.
   *
   * @param keys whole rows, [tokens][kvHeads][headDim]
   * @param values as many floats as `keys`
   * @throws RangeError if they do not fit
   */
  append(layer: number, keys: Float32Array, values: Float32Array): void;
  /** Adds `tokens` to `length`. Every layer must have their rows. */
  advance(tokens: number): void;
  /** The keys of one block in one layer, [blockSize][kvHeads][headDim]. Rows that were never stored are undefined. */
  keys(layer: number, block: number): Float32Array;
  /** The values of one block in one layer, with the layout of {@link KvCache.keys}. */
  values(layer: number, block: number): Float32Array;
}

/** The sizes of a {@link LocalKvCache}. */
export interface LocalKvCacheOptions {
  readonly layers: number;
  /** Floats in a row: kvHeads x headDim. */
  readonly rowSize: number;
  /** The maximum number of tokens. */
  readonly capacity: number;
  /** Tokens in a block. Default 64. */
  readonly blockSize?: number;
}

/** A cache in the memory of this process. It allocates blocks as the sequence grows. */
export class LocalKvCache implements KvCache {
  readonly capacity: number;
  readonly blockSize: number;
  readonly #rowSize: number;
  readonly #keys: Float32Array[][];
  readonly #values: Float32Array[][];
  #length = 0;

  /** @throws RangeError if a size is not a positive integer */
  constructor(options: LocalKvCacheOptions) {
    const { layers, rowSize, capacity, blockSize = 64 } = options;
    for (const [name, size] of Object.entries({ layers, rowSize, capacity, blockSize })) {
      if (!Number.isSafeInteger(size) || size < 1) {
        throw new RangeError(`LocalKvCache options.${name}: expected a positive integer, got ${size}`);
      }
    }
    this.capacity = capacity;
    this.blockSize = blockSize;
    this.#rowSize = rowSize;
    this.#keys = Array.from({ length: layers }, () => []);
    this.#values = Array.from({ length: layers }, () => []);
  }

  get length(): number {
    return this.#length;
  }

  append(layer: number, keys: Float32Array, values: Float32Array): void {
    const tokens = keys.length / this.#rowSize;
    if (!Number.isInteger(tokens) || values.length !== keys.length) {
      throw new RangeError(
        `KvCache.append: expected whole rows of ${this.#rowSize} floats, as many keys as values, ` +
          `got ${keys.length} and ${values.length}`,
      );
    }
    if (this.#length + tokens > this.capacity) {
      throw new RangeError(
        `KvCache.append: expected at most ${this.capacity - this.#length} more tokens, got ${tokens}`,
      );
    }
    this.#store(this.#layer(this.#keys, layer), keys, tokens);
    this.#store(this.#layer(this.#values, layer), values, tokens);
  }

  advance(tokens: number): void {
    if (!Number.isSafeInteger(tokens) || tokens < 0 || this.#length + tokens > this.capacity) {
      throw new RangeError(`KvCache.advance: expected 0 to ${this.capacity - this.#length} tokens, got ${tokens}`);
    }
    this.#length += tokens;
  }

  keys(layer: number, block: number): Float32Array {
    return this.#block(this.#layer(this.#keys, layer), block);
  }

  values(layer: number, block: number): Float32Array {
    return this.#block(this.#layer(this.#values, layer), block);
  }

  #layer(side: Float32Array[][], layer: number): Float32Array[] {
    const blocks = side[layer];
    if (!blocks) throw new RangeError(`KvCache layer: expected 0 to ${side.length - 1}, got ${layer}`);
    return blocks;
  }

  #block(blocks: Float32Array[], block: number): Float32Array {
    const data = blocks[block];
    if (!data) throw new RangeError(`KvCache block: expected one of the ${blocks.length} stored, got ${block}`);
    return data;
  }

  #store(blocks: Float32Array[], rows: Float32Array, tokens: number): void {
    const rowSize = this.#rowSize;
    for (let row = 0; row < tokens; ) {
      const position = this.#length + row;
      const block = Math.floor(position / this.blockSize);
      const offset = position % this.blockSize;
      const count = Math.min(this.blockSize - offset, tokens - row);
      while (blocks.length <= block) blocks.push(new Float32Array(this.blockSize * rowSize));
      this.#block(blocks, block).set(rows.subarray(row * rowSize, (row + count) * rowSize), offset * rowSize);
      row += count;
    }
  }
}
