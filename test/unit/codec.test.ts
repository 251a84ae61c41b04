import { describe, expect, it } from 'vitest';

import { pack, unpack } from '../../lib/addon/codec.js';

describe('the codec', () => {
  it.each([[2n ** 64n - 1n], [-(2n ** 63n)], [2 ** 53 - 1], [Number.NaN], [-0.5], ['žluť'], [null], [[1, [2]]], [{ a: { b: [] } }]])(
    'keeps %s',
    (value) => expect(unpack(pack(value))).toEqual(value),
  );

  it('writes integers beyond 2^53 as integers', () => {
    expect(pack(2n ** 63n)[0]).toBe(0xcf);
    expect(unpack(pack(5n))).toBe(5);
  });

  it('writes undefined as nil, and bytes as bytes', () => {
    expect([...pack(undefined)]).toEqual([0xc0]);
    expect([...pack(new Uint8Array([1]))]).toEqual([0xc4, 1, 1]);
    expect([...pack(Buffer.from([1]))]).toEqual([0xc4, 1, 1]);
  });

  it('writes token ids as an array of integers', () => {
    expect([...pack(new Uint32Array([1, 2]))]).toEqual([0x92, 1, 2]);
  });

  it('gives bytes that outlive the buffer they came in', () => {
    const packed = pack({ bytes: new Uint8Array([7]) });
    const { bytes } = unpack(packed) as { bytes: Uint8Array };
    packed.fill(0);
    expect(bytes[0]).toBe(7);
  });
});
