import type { KvCache } from './cache.js';
import type { LlamaConfig } from './config.js';

/** The keys and values of one rank's heads, in blocks of the engine's pool. A block gets memory at its first use. */
export class RankMemory {
  readonly #blocks = new Map<number, Float32Array>();
  readonly #layers: number;
  readonly #sideSize: number;
  /** Floats in a row: the rank's KV heads x headDim. */
  readonly rowSize: number;

  constructor(
    { layers, kvHeads, headDim }: LlamaConfig,
    readonly blockSize: number,
  ) {
    this.#layers = layers;
    this.rowSize = kvHeads * headDim;
    this.#sideSize = blockSize * this.rowSize;
  }

  /** The floats of a block: [layer][K and V][token][head][dimension]. */
  block(id: number): Float32Array {
    let block = this.#blocks.get(id);
    if (block === undefined) this.#blocks.set(id, (block = new Float32Array(2 * this.#layers * this.#sideSize)));
    return block;
  }

  /** The keys (`side` 0) or values (1) of a block in one layer. */
  side(id: number, layer: number, side: 0 | 1): Float32Array {
    const start = (2 * layer + side) * this.#sideSize;
    return this.block(id).subarray(start, start + this.#sideSize);
  }
}

/** The cache of one sequence during one forward pass of a rank. */
export class RankCache implements KvCache {
  readonly blockSize: number;
  readonly capacity: number;
  /** The rows that were appended: keys and values of each layer, in order. */
  readonly rows: Float32Array[] = [];
  #length: number;

  /** @param table the blocks of the sequence, @param length the tokens whose rows are stored */
  constructor(
    private readonly memory: RankMemory,
    private readonly table: Uint32Array,
    length: number,
  ) {
    this.blockSize = memory.blockSize;
    this.capacity = table.length * memory.blockSize;
    this.#length = length;
  }

  get length(): number {
    return this.#length;
  }

  append(layer: number, keys: Float32Array, values: Float32Array): void {
    for (const [side, rows] of [keys, values].entries()) {
      this.#store(layer, side as 0 | 1, rows);
      this.rows.push(rows.slice());
    }
  }

  #store(layer: number, side: 0 | 1, rows: Float32Array): void {
    const { rowSize, blockSize } = this.memory;
    const tokens = rows.length / rowSize;
    for (let row = 0; row < tokens; ) {
      const position = this.#length + row;
      const offset = position % blockSize;
      const count = Math.min(blockSize - offset, tokens - row);
      const block = this.memory.side(this.#id(Math.floor(position / blockSize)), layer, side);
      block.set(rows.subarray(row * rowSize, (row + count) * rowSize), offset * rowSize);
      row += count;
    }
  }

  advance(tokens: number): void {
    this.#length += tokens;
  }

  keys(layer: number, block: number): Float32Array {
    return this.memory.side(this.#id(block), layer, 0);
  }

  values(layer: number, block: number): Float32Array {
    return this.memory.side(this.#id(block), layer, 1);
  }

  #id(block: number): number {
    const id = this.table[block];
    if (id === undefined)
      throw new RangeError(`RankCache block: expected one of the ${this.table.length} of the sequence, got ${block}`);
    return id;
  }
}
