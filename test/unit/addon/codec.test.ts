import { Packr, pack as packOfOthers } from 'msgpackr';
import { describe, expect, it } from 'vitest';

import { pack, packArgs, packItem, packValue, unpack } from '../../../lib/addon/codec.js';

describe('the codec', () => {
  it.each([
    [2n ** 64n - 1n],
    [-(2n ** 63n)],
    [2 ** 53 - 1],
    [Number.NaN],
    [-0.5],
    ['žluť'],
    [null],
    [[1, [2]]],
    [{ a: { b: [] } }],
  ])('keeps %s', (value) => expect(unpack(pack(value))).toEqual(value));

  it('writes integers beyond 2^53 as integers', () => {
    expect(pack(2n ** 63n)[0]).toBe(0xcf);
    expect(unpack(pack(5n))).toBe(5);
  });

  it('writes the whole numbers of options as integers, however large, and fractions as they are', () => {
    for (const whole of [0, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1, -(2 ** 31), -(2 ** 31) - 1, -(2 ** 53) + 1]) {
      expect(packArgs(whole)[0], String(whole)).not.toBe(0xcb);
      expect(unpack(packArgs({ deep: [whole] }))).toEqual({ deep: [whole] });
    }
    for (const other of [0.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY]) expect(packArgs(other)[0]).toBe(0xcb);
    const options = {
      list: [1, 2.5, 2 ** 40],
      map: new Map([[2 ** 33, 'x']]),
      bytes: new Uint8Array([1]),
      text: 'x',
      none: undefined,
    };
    expect(unpack(packArgs(options))).toEqual({
      list: [1, 2.5, 2 ** 40],
      map: { [2 ** 33]: 'x' },
      bytes: Buffer.from([1]),
      text: 'x',
      none: null,
    });
    expect(options.list[2]).toBe(2 ** 40);
    expect(() => packValue('x', 'options', cyclic(), packArgs)).toThrow(
      'x: options cannot be written as MessagePack: it refers to itself, or is nested too deep',
    );
  });

  it('writes undefined as nil, and bytes as bytes', () => {
    expect([...pack(undefined)]).toEqual([0xc0]);
    expect([...pack(new Uint8Array([1]))]).toEqual([0xc4, 1, 1]);
    expect([...pack(Buffer.from([1]))]).toEqual([0xc4, 1, 1]);
  });

  it('writes token ids as an array of integers', () => {
    expect([...pack(new Uint32Array([1, 2]))]).toEqual([0x92, 1, 2]);
  });

  it('leaves the codec as it is for the others of the process', () => {
    const numbers = new Uint32Array([1, 2]);
    const before = [0xc4, 8, 1, 0, 0, 0, 2, 0, 0, 0];
    pack({ numbers });
    expect([...packOfOthers(numbers)].slice(0, 2)).toEqual(before.slice(0, 2));
    const typed = new Packr({ moreTypes: true });
    expect(typed.unpack(typed.pack(numbers))).toEqual(numbers);
    expect(() => pack(cyclic())).toThrow();
    expect([...packOfOthers(numbers)].slice(0, 2)).toEqual(before.slice(0, 2));
  });

  const cyclic = (): object => {
    const value: { self?: object } = {};
    return (value.self = value);
  };

  it.each([
    ['a value that refers to itself', cyclic(), 'it refers to itself, or is nested too deep'],
    ['a symbol', Symbol('x'), 'Unknown type: symbol'],
    ['a bigint of 70 bits', { deep: [2n ** 70n] }, 'it has a bigint beyond 64 bits'],
    [
      'a getter that throws',
      {
        get now() {
          throw new Error('not now');
        },
      },
      'not now',
    ],
    [
      'a proxy that throws',
      new Proxy(
        {},
        {
          ownKeys: () => {
            throw new Error('a trap');
          },
        },
      ),
      'a trap',
    ],
    [
      'a getter that throws a symbol',
      {
        get now() {
          throw Symbol('now');
        },
      },
      'Symbol(now)',
    ],
  ])('names what it cannot write: %s', (_, value, why) => {
    expect(() => packValue('client.unary', 'the request', value)).toThrow(
      new TypeError(`client.unary: the request cannot be written as MessagePack: ${why}`),
    );
    expect(() => packItem('endpoint.serve', 'an item', value)).toThrow(
      expect.objectContaining({ code: 'DYN_INTERNAL' }),
    );
    expect(unpack(pack({ still: 'works' }))).toEqual({ still: 'works' });
  });

  it('gives bytes that outlive the buffer they came in', () => {
    const packed = pack({ bytes: new Uint8Array([7]) });
    const { bytes } = unpack(packed) as { bytes: Uint8Array };
    packed.fill(0);
    expect(bytes[0]).toBe(7);
  });
});
