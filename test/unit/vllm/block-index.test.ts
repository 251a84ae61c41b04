import { TokenSequence } from 'dynamo-node';
import type { VllmKvEvent } from 'dynamo-node/vllm';
import { describe, expect, it } from 'vitest';
import { BlockIndex } from '../../../lib/vllm/block-index.js';
import { blockName } from '../../../lib/vllm/block-names.js';

const SIZE = 4;
const tokensOf = (length: number, seed = 0): Uint32Array => Uint32Array.from({ length }, (_, index) => seed + index);

const stored = (
  hashes: readonly bigint[],
  tokens: Uint32Array,
  parentHash?: bigint,
  extraKeys: readonly unknown[] = [],
): VllmKvEvent => ({
  kind: 'stored',
  blockHashes: hashes,
  parentHash,
  tokens: [...tokens],
  blockSize: SIZE,
  extraKeys,
});

describe('blockName', () => {
  it.each([2, 255, 256, 300, 65536])('returns the names of a TokenSequence up to block %i', (count) => {
    using sequence = new TokenSequence(tokensOf((count + 1) * 2), { blockSize: 2 });
    const hashes = sequence.sequenceHashes();
    const names = sequence.lineageHashes();
    for (const position of [0, 1, count - 1, count])
      expect(blockName(hashes[position] as bigint, hashes[position - 1], position)).toBe(names.at(position));
  });
});

describe('BlockIndex', () => {
  it("finds the blocks of vLLM's events by their tokens, with its hashes in their names", () => {
    const index = new BlockIndex(SIZE);
    const tokens = tokensOf(12);
    expect(index.apply(stored([11n, 12n], tokens.subarray(0, 8)))).toBe(true);
    expect(index.apply(stored([13n], tokens.subarray(8), 12n))).toBe(true);
    const found = index.find(tokensOf(15));
    expect(found.map(({ name }) => name)).toEqual([
      blockName(11n, undefined, 0),
      blockName(12n, 11n, 1),
      blockName(13n, 12n, 2),
    ]);
    expect(found.every(({ isVllms }) => isVllms)).toBe(true);
    expect(index.find(tokensOf(15, 1))).toEqual([]);
    expect(index.size).toBe(3);
  });

  it('does not place blocks of an unknown parent, or of another size', () => {
    const index = new BlockIndex(SIZE);
    expect(index.apply(stored([2n], tokensOf(4), 1n))).toBe(false);
    expect(index.apply({ ...stored([2n], tokensOf(4)), blockSize: 2 } as VllmKvEvent)).toBe(false);
    expect(index.apply({ kind: 'removed', blockHashes: [1n] })).toBe(true);
    expect(index.apply({ kind: 'cleared' })).toBe(true);
    expect(index.size).toBe(0);
  });

  it('separates salts in the first block, and adapters in each', () => {
    const index = new BlockIndex(SIZE);
    const tokens = tokensOf(8);
    index.apply(stored([1n, 2n], tokens));
    index.apply(stored([3n, 4n], tokens, undefined, [['pepper'], null]));
    index.apply(stored([5n, 6n], tokens, undefined, [['lora', 'pepper'], ['lora']]));
    const namesOf = (identity: object): bigint[] => index.find(tokens, identity).map(({ name }) => name);
    expect(namesOf({})).toEqual([blockName(1n, undefined, 0), blockName(2n, 1n, 1)]);
    expect(namesOf({ salt: 'pepper' })).toEqual([blockName(3n, undefined, 0), blockName(4n, 3n, 1)]);
    expect(namesOf({ salt: 'pepper', loraName: 'lora' })).toEqual([blockName(5n, undefined, 0), blockName(6n, 5n, 1)]);
    expect(namesOf({ loraName: 'lora' })).toEqual([]);
  });

  it('gives blocks without an event hashes of its own, the same in every process', () => {
    const [one, two] = [new BlockIndex(SIZE), new BlockIndex(SIZE)];
    const blocks = one.define(tokensOf(10));
    expect(blocks.map(({ isVllms, tokens }) => [isVllms, tokens.length])).toEqual([
      [false, 4],
      [false, 4],
      [false, 2],
    ]);
    expect(two.define(tokensOf(10)).map(({ name }) => name)).toEqual(blocks.map(({ name }) => name));
    expect(one.define(tokensOf(10))).toEqual(blocks);
    expect(one.find(tokensOf(10))).toEqual(blocks.slice(0, 2));
  });

  it('keeps the name of a block whose event arrives later, and places its children', () => {
    const index = new BlockIndex(SIZE);
    const [block] = index.define(tokensOf(4));
    expect(index.apply(stored([21n], tokensOf(4)))).toBe(true);
    expect(index.apply(stored([22n], tokensOf(8).subarray(4), 21n))).toBe(true);
    const found = index.find(tokensOf(8));
    expect(found[0]).toMatchObject({ name: block?.name, isVllms: true });
    expect(found).toHaveLength(2);
  });

  it('finds the end of a prompt in a partly filled block and at the beginning of a full one', () => {
    const index = new BlockIndex(SIZE);
    index.define(tokensOf(6));
    index.define(tokensOf(8));
    const full = index.find(tokensOf(6));
    expect(index.findTail(tokensOf(6), full).map(({ tokens }) => tokens.length)).toEqual([2, 4]);
    expect(index.findTail(tokensOf(7), full).map(({ tokens }) => tokens.length)).toEqual([4]);
    expect(index.findTail(Uint32Array.of(0, 1, 2, 3, 9), full)).toEqual([]);
    expect(index.findTail(tokensOf(3), []).map(({ tokens }) => tokens.length)).toEqual([4]);
    expect(index.findTail(tokensOf(3), [], { salt: 'a' })).toEqual([]);
  });

  it('forgets blocks that are not stored, from the leaves on, and their hashes', () => {
    const index = new BlockIndex(SIZE);
    index.apply(stored([1n, 2n, 3n], tokensOf(12)));
    index.apply(stored([4n], tokensOf(4, 100)));
    const isStored = (blocks: readonly { name: bigint }[]): number[] =>
      blocks.map(({ name }) => (name === blockName(1n, undefined, 0) ? 1 : 0));
    index.prune(4, isStored);
    expect(index.size).toBe(4);
    index.prune(0, isStored);
    expect(index.find(tokensOf(12))).toHaveLength(1);
    expect(index.size).toBe(1);
    expect(index.apply(stored([3n], tokensOf(4, 8), 2n))).toBe(false);
  });
});
