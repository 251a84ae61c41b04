import { type HeadLayout, headRuns, joinHeads, rankLayout, splitHeads } from 'dynamo-node/disagg';
import { describe, expect, it } from 'vitest';

/** Two layers of two tokens with two heads of two bytes: `[layer][K and V][token][head][dimension]`. */
const layout: HeadLayout = { layers: 2, blockSize: 2, heads: 2, headDim: 2, elementType: 'int8' };
const whole = Uint8Array.from({ length: 32 }, (_, at) => at);

const bytesOf = (seed: number, length: number) => Uint8Array.from({ length }, (_, at) => (at * 31 + seed) & 255);

describe('splitHeads', () => {
  it('returns the heads of each rank, token by token', () => {
    expect(splitHeads(whole, layout, 2)).toEqual([
      Uint8Array.of(0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29),
      Uint8Array.of(2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31),
    ]);
  });

  it('returns a copy of the block for one rank', () => {
    const [only] = splitHeads(whole, layout, 1);
    expect(only).toEqual(whole);
    expect(only?.buffer).not.toBe(whole.buffer);
  });
});

describe('joinHeads', () => {
  it.each<[HeadLayout, number]>([
    [{ ...layout, elementType: 'float32' }, 2],
    [{ layers: 3, blockSize: 5, heads: 8, headDim: 4, elementType: 'float16' }, 4],
    [{ layers: 1, blockSize: 16, heads: 6, headDim: 3, elementType: 'bfloat16', outer: 1 }, 3],
    [{ layers: 2, blockSize: 1, heads: 4, headDim: 1, elementType: 'int8' }, 4],
  ])('returns the bytes that were split: %j over %i ranks', (shape, ranks) => {
    const { layers, outer = 2, blockSize, heads, headDim, elementType } = shape;
    const width = { float32: 4, float16: 2, bfloat16: 2, float8: 1, int8: 1 }[elementType];
    const block = bytesOf(ranks, layers * outer * blockSize * heads * headDim * width);
    const parts = splitHeads(block, shape, ranks);
    expect(parts.map(({ byteLength }) => byteLength)).toEqual(Array(ranks).fill(block.byteLength / ranks));
    expect(joinHeads(parts, shape)).toEqual(block);
    // Half as many ranks have the heads of two neighbours.
    if (ranks % 2 === 0) {
      const pair = joinHeads(parts.slice(0, 2), rankLayout(shape, ranks / 2));
      expect(pair).toEqual(splitHeads(block, shape, ranks / 2)[0]);
    }
  });
});

describe('headRuns', () => {
  it('returns the byte ranges of a rank, for transfers that read heads out of whole blocks', () => {
    const runs = headRuns(layout, 2, 1);
    expect(runs).toHaveLength(8);
    expect(runs.slice(0, 3)).toEqual([
      { wholeOffset: 2, partOffset: 0, bytes: 2 },
      { wholeOffset: 6, partOffset: 2, bytes: 2 },
      { wholeOffset: 10, partOffset: 4, bytes: 2 },
    ]);
    expect(headRuns(layout, 1, 0)).toEqual([{ wholeOffset: 0, partOffset: 0, bytes: 32 }]);
  });
});

describe('a layout of heads', () => {
  it.each<[() => unknown, string]>([
    [() => splitHeads(whole, layout, 3), 'splitHeads ranks: expected an integer from 1 to 2, got 3'],
    [() => rankLayout({ ...layout, heads: 6 }, 4), 'rankLayout ranks: expected a divisor of 6 KV heads, got 4'],
    [() => splitHeads(whole.subarray(1), layout, 2), 'splitHeads block: expected 32 bytes, got 31'],
    [() => joinHeads([whole, whole], layout), 'joinHeads parts[0]: expected 16 bytes, got 32'],
    [() => joinHeads([], layout), 'joinHeads ranks: expected an integer from 1 to 2, got 0'],
    [() => headRuns(layout, 2, 2), 'headRuns rank: expected an integer from 0 to 1, got 2'],
  ])('rejects what does not fit with RangeError (%#)', (call, message) => {
    expect(call).toThrow(RangeError);
    expect(call).toThrow(message);
  });

  it('rejects other bytes with TypeError', () => {
    expect(() => splitHeads([] as never, layout, 2)).toThrow('splitHeads block: expected an object of Uint8Array');
  });
});
