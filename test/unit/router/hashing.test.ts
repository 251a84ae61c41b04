import { computeBlockHashes, computeSequenceHashes } from 'dynamo-node';
import { describe, expect, it } from 'vitest';

const tokens = Uint32Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12);

// The three hashes come from the tests of `dynamo-tokens` `lib.rs`. Those with options come from the Python wheel.
describe('block hashes', () => {
  it('are equal to the golden values of the crates', () => {
    expect([...computeBlockHashes(tokens, 4)]).toEqual([
      14643705804678351452n,
      16777012769546811212n,
      483935686894639516n,
    ]);
  });

  it('cover whole blocks only, of arrays and typed arrays', () => {
    expect(computeBlockHashes([1, 2, 3, 4, 5], 4)).toEqual(BigUint64Array.of(14643705804678351452n));
    expect(computeBlockHashes([1, 2, 3], 4)).toHaveLength(0);
    expect(computeBlockHashes(tokens.subarray(4), 4)).toEqual(
      BigUint64Array.of(16777012769546811212n, 483935686894639516n),
    );
  });

  it('differ by adapter, tenant, media and eagle', () => {
    expect(computeBlockHashes([1, 2, 3, 4], 4, { loraName: 'a', cacheSalt: 'b' })[0]).toBe(14812319159299607501n);
    expect([...computeBlockHashes([1, 2, 3, 4, 5, 6, 7, 8, 9], 4, { eagle: true })]).toEqual([
      1914873892905420881n,
      1929047464662796003n,
    ]);
    expect(computeBlockHashes([1, 2, 3, 4], 4, { multimodal: [[{ hash: 5n, offsets: [[0, 2]] }]] })[0]).toBe(
      15706877295117281372n,
    );
  });

  it('roll into sequence hashes that differ by prefix', () => {
    const local = computeBlockHashes(tokens, 4);
    const rolled = computeSequenceHashes(local);
    expect(rolled[0]).toBe(local[0]);
    const other = computeSequenceHashes(computeBlockHashes([9, 9, 9, 9, ...tokens.subarray(4)], 4));
    expect(new Set([...rolled, ...other]).size).toBe(6);
    expect([...computeSequenceHashes([...local])]).toEqual([...rolled]);
  });

  it('reject invalid tokens, sizes and hashes, and name the argument', () => {
    expect(() => computeBlockHashes([1, -1], 4)).toThrow(
      /computeBlockHashes tokens\[1\]: expected an integer from 0 to 2\^32-1, got -1/,
    );
    expect(() => computeBlockHashes('x' as never, 4)).toThrow(TypeError);
    expect(() => computeBlockHashes([1], 0)).toThrow(/computeBlockHashes blockSize/);
    expect(() => computeBlockHashes([1], 4, { lora: 'x' } as never)).toThrow(/options\.lora: unknown option/);
    expect(() => computeSequenceHashes([1] as never)).toThrow(TypeError);
  });
});
