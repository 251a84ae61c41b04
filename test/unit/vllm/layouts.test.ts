import {
  elementsOf,
  kernelBlocks,
  layoutOf,
  packBlock,
  unpackBlock,
  VLLM_LAYOUTS,
  type VllmBlockLayout,
} from 'dynamo-node/vllm';
import { describe, expect, it } from 'vitest';

const shape = { heads: 2, headDim: 3, blockSize: 4 };
const ROW = shape.heads * shape.headDim;

const cpu = layoutOf('CPU_ATTN', 'LBHNC') as VllmBlockLayout;
const flash = layoutOf('FLASH_ATTN', 'LBHNC') as VllmBlockLayout;

/** Rows whose elements say what they are: 1000 for a value, then token, head and dimension. */
function rowsOf(tokens: number): { keys: Float32Array; values: Float32Array } {
  const element = (index: number): number =>
    Math.floor(index / ROW) * 100 + Math.floor((index % ROW) / shape.headDim) * 10 + (index % shape.headDim);
  const keys = Float32Array.from({ length: tokens * ROW }, (_, index) => element(index));
  return { keys, values: keys.map((value) => 1000 + value) };
}

describe('block layouts', () => {
  it('of CPU_ATTN have the transposed keys of a head before its values', () => {
    const block = new Float32Array(elementsOf(cpu, shape));
    packBlock(cpu, shape, block, rowsOf(4));
    // Head 0: K by dimension, then V by token; head 1 the same.
    expect([...block]).toEqual([
      ...[0, 100, 200, 300, 1, 101, 201, 301, 2, 102, 202, 302],
      ...[1000, 1001, 1002, 1100, 1101, 1102, 1200, 1201, 1202, 1300, 1301, 1302],
      ...[10, 110, 210, 310, 11, 111, 211, 311, 12, 112, 212, 312],
      ...[1010, 1011, 1012, 1110, 1111, 1112, 1210, 1211, 1212, 1310, 1311, 1312],
    ]);
  });

  it('of FLASH_ATTN have K and V of a token side by side', () => {
    const block = new Float32Array(elementsOf(flash, shape));
    packBlock(flash, shape, block, rowsOf(4));
    expect([...block.subarray(0, 12)]).toEqual([0, 1, 2, 1000, 1001, 1002, 100, 101, 102, 1100, 1101, 1102]);
    expect([...block.subarray(24, 30)]).toEqual([10, 11, 12, 1010, 1011, 1012]);
  });

  it.each(VLLM_LAYOUTS.filter(({ values }) => values !== null))('return the rows that were packed: %o', (layout) => {
    for (const [first, tokens] of [
      [0, 4],
      [1, 2],
      [3, 1],
      [4, 0],
    ] as const) {
      const block = new Float32Array(elementsOf(layout, shape)).fill(-1);
      const rows = rowsOf(tokens);
      packBlock(layout, shape, block, rows, first);
      const found = { keys: new Float32Array(tokens * ROW), values: new Float32Array(tokens * ROW) };
      unpackBlock(layout, shape, block, found, first);
      expect(found).toEqual(rows);
      expect(block.filter((value) => value === -1)).toHaveLength(elementsOf(layout, shape) - 2 * tokens * ROW);
    }
  });

  it('move 16-bit floats as bits', () => {
    const block = new Uint16Array(elementsOf(cpu, shape));
    const rows = { keys: new Uint16Array(ROW).fill(0x7fc0), values: new Uint16Array(ROW).fill(0x8000) };
    packBlock(cpu, shape, block, rows);
    const found = { keys: new Uint16Array(ROW), values: new Uint16Array(ROW) };
    unpackBlock(cpu, shape, block, found);
    expect(found).toEqual(rows);
  });

  it('say which of them was seen, and have one row for each backend and order', () => {
    expect(VLLM_LAYOUTS.filter(({ seen }) => seen)).toEqual([cpu]);
    const names = VLLM_LAYOUTS.map(({ backend, cacheLayout }) => `${backend} ${cacheLayout}`);
    expect(new Set(names).size).toBe(names.length);
    expect(layoutOf('CPU_ATTN', 'BLHNC')).toBeUndefined();
  });

  it('reject blocks, rows and shapes of other sizes with RangeError', () => {
    const block = new Float32Array(elementsOf(cpu, shape));
    expect(() => packBlock(cpu, shape, block.subarray(1), rowsOf(1))).toThrow(/block: expected 48 elements, got 47/);
    expect(() => packBlock(cpu, shape, block, rowsOf(3), 2)).toThrow(/tokens: expected an integer from 0 to 2/);
    expect(() => packBlock(cpu, shape, block, { ...rowsOf(2), values: new Float32Array(1) })).toThrow(/rows.values/);
    expect(() => unpackBlock(cpu, shape, block, { keys: new Float32Array(5), values: new Float32Array(5) })).toThrow(
      RangeError,
    );
    expect(() => packBlock(cpu, { ...shape, heads: 0 }, block, rowsOf(1))).toThrow(/shape.heads/);
    const latent = VLLM_LAYOUTS.find(({ values }) => values === null) as VllmBlockLayout;
    expect(elementsOf(latent, shape)).toBe(24);
    expect(() => packBlock(latent, shape, new Float32Array(24), rowsOf(1))).toThrow(/have no separate values/);
  });
});

describe('kernelBlocks', () => {
  it('returns the kernel blocks of logical blocks in order', () => {
    expect(kernelBlocks([3, 5], 1)).toEqual([3, 5]);
    expect(kernelBlocks([3, 5], 4)).toEqual([12, 13, 14, 15, 20, 21, 22, 23]);
    expect(() => kernelBlocks([1], 0)).toThrow(RangeError);
  });
});
