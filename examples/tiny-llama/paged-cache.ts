import { BlockManager, type BlockManagerOptions, PagedSequence, type Tokens } from 'dynamo-node';
import type { KvCache } from './cache.js';
import type { LlamaConfig } from './config.js';

/** The keys and values of one sequence, in blocks that sequences with the same prefix share. */
export class PagedKvCache implements KvCache, Disposable {
  readonly capacity: number;
  readonly blockSize: number;
  readonly #paged: PagedSequence;
  readonly #rowSize: number;
  readonly #layers: number;
  #length: number;
  /** Indexed by page, then by layer, keys before values. */
  #pages: Float32Array[][] = [];

  constructor(paged: PagedSequence, { layers, kvHeads, headDim, maxPositions }: LlamaConfig) {
    this.#paged = paged;
    this.#layers = layers;
    this.#rowSize = kvHeads * headDim;
    this.#length = paged.computedTokens;
    this.blockSize = paged.manager.blockSize;
    this.capacity = maxPositions;
  }

  get length(): number {
    return this.#length;
  }

  /** The tokens and their pages. */
  get sequence(): PagedSequence {
    return this.#paged;
  }

  /** Learns which rows the sequence has, after something else has filled its pages. */
  refresh(): void {
    this.#length = this.#paged.computedTokens;
    this.#pages = [];
  }

  /** Tokens of the prompt whose rows were already cached. */
  get cachedTokens(): number {
    return this.#paged.cachedTokens;
  }

  /** The blocks with its rows, in order of the tokens. */
  get blockIds(): Uint32Array {
    return this.#paged.blockTable();
  }

  begin(tokenIds: ArrayLike<number>): void {
    const unknown = this.#length + tokenIds.length - this.#paged.length;
    if (unknown > 0 && !this.#paged.append(Array.from(tokenIds).slice(-unknown))) {
      throw new RangeError(`KvCache.begin: expected pages for ${unknown} more tokens, got none`);
    }
  }

  append(layer: number, keys: Float32Array, values: Float32Array): void {
    const [rowSize, { blockSize }] = [this.#rowSize, this];
    const tokens = keys.length / rowSize;
    if (!Number.isInteger(tokens) || values.length !== keys.length || this.#length + tokens > this.#paged.length) {
      throw new RangeError(
        `KvCache.append: expected whole rows of ${rowSize} floats, for tokens passed to begin, ` +
          `got ${keys.length} and ${values.length}`,
      );
    }
    for (let row = 0; row < tokens; ) {
      const position = this.#length + row;
      const [block, offset] = [Math.floor(position / blockSize), position % blockSize];
      const count = Math.min(blockSize - offset, tokens - row);
      const [from, to] = [row * rowSize, (row + count) * rowSize];
      this.keys(layer, block).set(keys.subarray(from, to), offset * rowSize);
      this.values(layer, block).set(values.subarray(from, to), offset * rowSize);
      row += count;
    }
  }

  advance(tokens: number): void {
    const committed = this.#paged.committedPages;
    this.#length += tokens;
    this.#paged.commit(this.#length);
    // A commit may replace pages by other blocks, and detaches the views of all later pages.
    if (this.#paged.committedPages > committed) this.#pages.length = Math.min(this.#pages.length, committed);
  }

  keys(layer: number, block: number): Float32Array {
    return this.#rows(block)[2 * layer] as Float32Array;
  }

  values(layer: number, block: number): Float32Array {
    return this.#rows(block)[2 * layer + 1] as Float32Array;
  }

  #rows(block: number): Float32Array[] {
    const known = this.#pages[block];
    if (known !== undefined) return known;
    const { buffer, byteOffset } = this.#paged.page(block);
    const size = this.blockSize * this.#rowSize;
    const rows = Array.from(
      { length: 2 * this.#layers },
      (_, index) => new Float32Array(buffer, byteOffset + index * size * 4, size),
    );
    this.#pages[block] = rows;
    return rows;
  }

  dispose(): void {
    this.#pages = [];
    this.#paged.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** The size of a pool. */
export interface KvPoolOptions {
  readonly blockCount: number;
  /** Tokens in a block. */
  readonly blockSize: number;
}

/**
 * The blocks of all sequences of a model. A sequence reserves all pages that it may need before it starts, or waits.
 */
export class KvPool implements Disposable {
  readonly manager: BlockManager;
  readonly #config: LlamaConfig;
  #turn: Promise<void> = Promise.resolve();
  #released: (() => void)[] = [];

  constructor(config: LlamaConfig, options: KvPoolOptions) {
    const { layers, kvHeads, headDim } = config;
    const layout = { layers, heads: kvHeads, headDim, elementType: 'float32' } as const;
    const settings: BlockManagerOptions = {
      ...options,
      tier: 'device',
      layout,
      storage: { kind: 'memory' },
      duplicates: 'reject',
      events: true,
    };
    this.manager = new BlockManager(settings);
    this.#config = config;
  }

  /**
   * Creates the caches for `count` answers to a prompt, each with a capacity of `tokens` in total. Waits for free
   * blocks.
   *
   * @throws RangeError if they exceed the capacity of the pool
   */
  async open(prompt: Tokens, tokens: number, count: number, signal?: AbortSignal): Promise<PagedKvCache[]> {
    const { blockCount, blockSize } = this.manager;
    if (Math.ceil(tokens / blockSize) * count > blockCount) {
      throw new RangeError(
        `the KV cache has ${blockCount} blocks of ${blockSize} tokens: ${count} answers of ${tokens} tokens do not fit`,
      );
    }
    const before = this.#turn;
    let done = (): void => {};
    this.#turn = new Promise((resolve) => (done = resolve));
    await before;
    try {
      for (;;) {
        signal?.throwIfAborted();
        const caches = this.#tryOpen(prompt, tokens, count);
        if (caches !== undefined) return caches;
        await this.#release(signal);
      }
    } finally {
      done();
    }
  }

  #tryOpen(prompt: Tokens, tokens: number, count: number): PagedKvCache[] | undefined {
    const sequences: PagedSequence[] = [];
    while (sequences.length < count) {
      const paged = PagedSequence.create(this.manager, prompt);
      if (paged !== null) sequences.push(paged);
      if (paged === null || !paged.reserve(Math.max(0, tokens - prompt.length))) {
        for (const one of sequences) one.dispose();
        return undefined;
      }
    }
    return sequences.map((paged) => new PagedKvCache(paged, this.#config));
  }

  #release(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      this.#released.push(resolve);
      signal?.addEventListener('abort', () => resolve(), { once: true });
    });
  }

  /** Returns the blocks of a sequence. Full blocks stay cached until their capacity is needed. */
  close(cache: PagedKvCache): void {
    cache.dispose();
    for (const resolve of this.#released.splice(0)) resolve();
  }

  dispose(): void {
    this.manager.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
