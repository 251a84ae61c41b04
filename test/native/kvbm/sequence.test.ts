import { computeBlockHashes, LineageHashes, type MultimodalRun, TokenSequence } from 'dynamo-node';
import { describe, expect, it } from 'vitest';

/** From the tests of `dynamo-tokens`, and for the first the wheel's `compute_block_hash_for_seq`. */
const GOLDEN = [14643705804678351452n, 16777012769546811212n, 483935686894639516n];

const counted = (count: number): Uint32Array => Uint32Array.from({ length: count }, (_, index) => index + 1);

describe('TokenSequence', () => {
  it('hashes full blocks as the crates do', () => {
    using sequence = new TokenSequence(counted(14), { blockSize: 4 });
    expect([sequence.length, sequence.blockCount]).toEqual([14, 3]);
    expect([...sequence.blockHashes()]).toEqual(GOLDEN);
    expect(sequence.sequenceHashes()[0]).toBe(GOLDEN[0]);
    expect(sequence.saltHash()).toBe(1337n);
  });

  it('names blocks by position, sequence hash and parent', () => {
    using sequence = new TokenSequence(counted(12), { blockSize: 4 });
    const hashes = sequence.sequenceHashes();
    const names = [...sequence.lineageHashes()];
    expect(names.map((name) => (name >> 118n) & 0xffn)).toEqual([0n, 1n, 2n]);
    expect(names.map((name) => (name >> 54n) & (2n ** 64n - 1n))).toEqual([...hashes]);
    expect(names.map((name) => name & (2n ** 54n - 1n))).toEqual(
      [0n, ...hashes.slice(0, 2)].map((hash) => hash & (2n ** 54n - 1n)),
    );
  });

  it.each([1, 3, 4, 16])(
    'returns the same hashes for tokens from the constructor, append and extend, with blocks of %i',
    (blockSize) => {
      const tokens = counted(67);
      using whole = new TokenSequence(tokens, { blockSize });
      using grown = new TokenSequence([], { blockSize });
      const completed: number[] = [];
      for (const token of tokens) {
        const block = grown.append(token);
        if (block !== undefined) completed.push(block);
      }
      using mixed = new TokenSequence(tokens.subarray(0, 5), { blockSize });
      mixed.append(tokens[5] as number);
      expect(mixed.extend(tokens.subarray(6, 30))).toEqual({
        start: Math.floor(6 / blockSize),
        end: Math.floor(30 / blockSize),
      });
      for (const token of tokens.subarray(30, 40)) mixed.append(token);
      mixed.extend([...tokens.subarray(40)]);
      for (const sequence of [grown, mixed]) {
        expect(sequence.length).toBe(67);
        expect(sequence.lineageHashes().bytes).toEqual(whole.lineageHashes().bytes);
        expect(sequence.tokens()).toEqual(tokens);
      }
      expect(completed).toEqual(Array.from({ length: whole.blockCount }, (_, index) => index));
    },
  );

  it('separates salts and adapters, and treats empty ones as absent', () => {
    const hashOf = (options: { salt?: string; loraName?: string }): bigint => {
      using sequence = new TokenSequence([1, 2, 3, 4], { blockSize: 4, ...options });
      return sequence.blockHashes()[0] as bigint;
    };
    expect(hashOf({ salt: '', loraName: '' })).toBe(GOLDEN[0]);
    const all = [
      hashOf({}),
      hashOf({ salt: 'a' }),
      hashOf({ loraName: 'a' }),
      hashOf({ salt: 'a', loraName: 'a' }),
      hashOf({ salt: 'b' }),
    ];
    expect(new Set(all).size).toBe(5);
  });

  it('hashes a multimodal run by its object, not by its placeholder tokens', () => {
    const withObject = (hash: bigint, placeholder: number): bigint[] => {
      const tokens = [1, 2, 3, 4, 5, placeholder, placeholder, 8, 9, 10, 11, 12];
      using sequence = new TokenSequence(tokens, { blockSize: 4, multimodal: [{ hash, offset: 5, length: 2 }] });
      return [...sequence.sequenceHashes()];
    };
    const [first, ...rest] = withObject(7n, 0);
    expect(first).toBe(GOLDEN[0]);
    expect(withObject(7n, 99)).toEqual([first, ...rest]);
    expect(withObject(2n ** 64n - 1n, 0)[1]).not.toBe(rest[0]);
    using later = new TokenSequence([1, 2, 3, 4], { blockSize: 4 });
    later.extend([5, 0, 0, 8, 9, 10, 11, 12], { multimodal: [{ hash: 7n, offset: 1, length: 2 }] });
    expect([...later.sequenceHashes()]).toEqual([first, ...rest]);
    using copy = later.clone();
    expect([...copy.sequenceHashes()]).toEqual([first, ...rest]);
    expect(() => later.truncate(3)).toThrow(expect.objectContaining({ code: 'DYN_NOT_IMPLEMENTED' }));
  });

  it("returns the router's hashes, except for blocks with media", () => {
    const tokens = [...counted(12)];
    const hashesOf = (multimodal: MultimodalRun[]): bigint[] => {
      using sequence = new TokenSequence(tokens, { blockSize: 4, multimodal });
      return [...sequence.blockHashes()];
    };
    expect(hashesOf([])).toEqual([...computeBlockHashes(tokens, 4)]);
    const ours = hashesOf([{ hash: 7n, offset: 5, length: 2 }]);
    const routers = [...computeBlockHashes(tokens, 4, { multimodal: [null, [{ hash: 7n, offsets: [[1, 3]] }], null] })];
    expect([ours[0], ours[2]]).toEqual([routers[0], routers[2]]);
    expect(ours[1]).not.toBe(routers[1]);
  });

  it('can be truncated and cloned', () => {
    using sequence = new TokenSequence(counted(20), { blockSize: 4, salt: 'x' });
    using copy = sequence.clone();
    for (const length of [18, 16, 9, 3, 0]) {
      sequence.truncate(length);
      using fresh = new TokenSequence(counted(length), { blockSize: 4, salt: 'x' });
      expect(sequence.lineageHashes().bytes).toEqual(fresh.lineageHashes().bytes);
      expect(sequence.tokens()).toEqual(counted(length));
    }
    expect(copy.length).toBe(20);
    expect(copy.tokens(2, 5)).toEqual(Uint32Array.of(3, 4, 5));
  });

  it('accepts the largest token ids, and a view at any offset of its buffer', () => {
    const buffer = new ArrayBuffer(36);
    const tokens = new Uint32Array(buffer, 4, 4).fill(2 ** 32 - 1);
    using viewed = new TokenSequence(tokens, { blockSize: 4 });
    using listed = new TokenSequence([...tokens], { blockSize: 4 });
    expect(viewed.blockHashes()).toEqual(listed.blockHashes());
  });

  it('rejects invalid tokens, runs and options with their path', () => {
    const make = (tokens: unknown, options: object) => () =>
      new TokenSequence(tokens as number[], { blockSize: 4, ...options });
    expect(make([1, -1], {})).toThrow(/TokenSequence tokens\[1\]: expected an integer from 0/);
    expect(make([1.5], {})).toThrow(RangeError);
    expect(make(['1'], {})).toThrow(TypeError);
    expect(make('abc', {})).toThrow(/expected a Uint32Array or an array/);
    expect(make([], { blockSize: 0 })).toThrow(RangeError);
    expect(make([], { salt: 1 })).toThrow(/options.salt: expected a string/);
    expect(make([], { salted: 'x' })).toThrow(/unknown option/);
    expect(make([1, 2], { multimodal: [{ hash: 1, offset: 0, length: 1 }] })).toThrow(
      /multimodal\[0\].hash: expected a bigint/,
    );
    expect(make([1, 2], { multimodal: [{ hash: 1n, offset: 0, length: 3 }] })).toThrow(/exceeds tokens length/);
    expect(
      make([1, 2], {
        multimodal: [
          { hash: 1n, offset: 0, length: 2 },
          { hash: 1n, offset: 1, length: 1 },
        ],
      }),
    ).toThrow(/overlap/);
    using sequence = new TokenSequence(counted(9), { blockSize: 4 });
    expect(() => sequence.append(-1)).toThrow(RangeError);
    expect(() => sequence.append(2 ** 32)).toThrow(RangeError);
    expect(() => sequence.truncate(10)).toThrow(RangeError);
    expect(() => sequence.blockHashes(1, 2)).toThrow(RangeError);
    expect(() => sequence.tokens(4, 3)).toThrow(RangeError);
    expect(sequence.length).toBe(9);
  });

  it('rejects more blocks than a range can describe, and keeps its tokens', () => {
    const tooMany = new Uint32Array(2 ** 24 + 1);
    expect(() => new TokenSequence(tooMany, { blockSize: 1 })).toThrow(
      new TypeError('TokenSequence tokens: expected at most 16777216 blocks of 1, got 16777217 tokens'),
    );
    using sequence = new TokenSequence(counted(2), { blockSize: 1 });
    expect(() => sequence.extend(tooMany.subarray(2))).toThrow(
      new TypeError('sequence.extend tokens: expected at most 16777216 blocks of 1, got 16777217 tokens'),
    );
    expect([sequence.length, sequence.blockCount, sequence.tokens()]).toEqual([2, 2, counted(2)]);
  });

  it('throws ClosedError after dispose, which is idempotent', () => {
    const sequence = new TokenSequence(counted(8), { blockSize: 4 });
    sequence.dispose();
    sequence[Symbol.dispose]();
    for (const use of [
      () => sequence.append(1),
      () => sequence.extend([1]),
      () => sequence.blockHashes(),
      () => sequence.clone(),
    ]) {
      expect(use).toThrow(expect.objectContaining({ code: 'DYN_CLOSED' }));
    }
  });
});

describe('LineageHashes', () => {
  it('has 16 bytes a name, big-endian', () => {
    using sequence = new TokenSequence(counted(12), { blockSize: 4 });
    const names = sequence.lineageHashes();
    expect(names.bytes.byteLength).toBe(48);
    expect(BigInt(`0x${Buffer.from(names.bytes.subarray(16, 32)).toString('hex')}`)).toBe(names.at(1));
    expect(LineageHashes.from(names).bytes).toEqual(Uint8Array.from(names.bytes));
    expect([...names.slice(1)]).toEqual([names.at(1), names.at(2)]);
    expect(() => new LineageHashes(new Uint8Array(17))).toThrow(RangeError);
    expect(() => names.at(3)).toThrow(RangeError);
    expect(() => LineageHashes.from([2n ** 128n])).toThrow(RangeError);
    expect(() => LineageHashes.from([1 as unknown as bigint])).toThrow(TypeError);
  });
});
