import { runInNewContext } from 'node:vm';
import { Packr, Unpackr } from 'msgpackr';
import { describe, expect, it } from 'vitest';

import { pack, packArgs, packBorrowed, packItem, packValue, unpack } from '../../../lib/addon/codec.js';
import { DynamoError } from '../../../lib/errors.js';
import { detached } from '../../helpers/addon/detached.js';
import { processorMs } from '../../helpers/processor-time.js';
import { randomNumbers } from '../../helpers/random.js';

const bytesOf = (value: unknown): number[] => [...pack(value)];

function cyclic(): object {
  const value: { self?: object } = {};
  value.self = value;
  return value;
}

function nested(levels: number): unknown {
  let value: unknown = 1;
  for (let level = 0; level < levels; level++) value = [value];
  return value;
}

/** A map or an array with a header of 32 bits. */
function container(kind: 0xdb | 0xdd | 0xdf, count: number, entries: Uint8Array): Buffer {
  const header = Buffer.alloc(5);
  header[0] = kind;
  header.writeUInt32BE(count, 1);
  return Buffer.concat([header, entries]);
}

const repeated = (count: number, ...bytes: number[]): Buffer => Buffer.alloc(count * bytes.length, Buffer.from(bytes));

describe('the codec', () => {
  it.each([
    [2n ** 64n - 1n],
    [-(2n ** 63n)],
    [2 ** 53 - 1],
    [-(2 ** 53) + 1],
    [2 ** 32],
    [Number.NaN],
    [Number.NEGATIVE_INFINITY],
    [-0.5],
    ['žluť'],
    ['x'.repeat(31)],
    ['é'.repeat(16)],
    ['é'.repeat(200)],
    ['x'.repeat(70_000)],
    ['𝄞'.repeat(40_000)],
    [null],
    [[1, [2]]],
    [{ a: { b: [] } }],
    [Object.fromEntries(Array.from({ length: 70 }, (_, index) => [`key ${index}`, index]))],
    [Array.from({ length: 70_000 }, (_, index) => index - 35_000)],
    [JSON.parse('{"__proto__": {"admin": true}}')],
  ])('returns an equal value for %s', (value) => {
    expect(unpack(pack(value))).toEqual(value);
  });

  it('keeps a key __proto__ as a field, and sets no prototype', () => {
    const value = unpack(pack(JSON.parse('{"__proto__": {"admin": true}}'))) as { admin?: boolean };
    expect(value.admin).toBeUndefined();
    expect(Object.keys(value)).toEqual(['__proto__']);
  });

  it('writes integers beyond 2^53 as integers', () => {
    expect(pack(2n ** 63n)[0]).toBe(0xcf);
    expect(unpack(pack(5n))).toBe(5);
  });

  it('writes integers of options as integers of any size, and fractions as floats', () => {
    for (const whole of [0, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1, -(2 ** 31), -(2 ** 31) - 1, -(2 ** 53) + 1]) {
      expect(packArgs(whole)[0], String(whole)).not.toBe(0xcb);
      expect(unpack(packArgs({ deep: [whole] }))).toEqual({ deep: [whole] });
    }
    for (const other of [0.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY]) expect(packArgs(other)[0]).toBe(0xcb);
    expect(unpack(packArgs(new Map([[2 ** 33, 'x']])))).toEqual({ [2 ** 33]: 'x' });
  });

  it('writes undefined as nil', () => {
    expect(bytesOf(undefined)).toEqual([0xc0]);
    expect(bytesOf([undefined, ...new Array(1), 1])).toEqual([0x93, 0xc0, 0xc0, 1]);
  });

  it('writes -0 as the integer 0, as JSON does', () => {
    expect(bytesOf(-0)).toEqual([0]);
    expect(bytesOf([-0])).toEqual([0x91, 0]);
  });

  it.each([
    ['a Uint8Array', new Uint8Array([1])],
    ['a Buffer', Buffer.from([1])],
    ['a Uint8ClampedArray', new Uint8ClampedArray([1])],
    ['an ArrayBuffer', new Uint8Array([1]).buffer],
    ['a DataView', new DataView(new Uint8Array([0, 1]).buffer, 1)],
    ['a Uint8Array over shared memory', new Uint8Array(new SharedArrayBuffer(1)).fill(1)],
    ['a Uint8Array of another realm', runInNewContext('new Uint8Array([1])')],
  ])('writes %s as bytes', (_, value) => {
    expect(bytesOf(value)).toEqual([0xc4, 1, 1]);
  });

  const views = Object.getOwnPropertyNames(globalThis).filter(
    (name) => /^(Int|Uint|Float|Big).*Array$/.test(name) && !/^Uint8/.test(name),
  );

  it.each(views)('writes a %s as an array of numbers', (name) => {
    const View = (globalThis as unknown as Record<string, new (length: number) => ArrayLike<number | bigint>>)[name]!;
    expect(bytesOf(new View(2))).toEqual([0x92, 0, 0]);
    expect(bytesOf(runInNewContext(`new ${name}(2)`))).toEqual([0x92, 0, 0]);
  });

  it('writes Set as an array, Map as a map, a boxed value as itself, and a record of another realm as a record', () => {
    expect(unpack(pack(new Set(['a', 'b'])))).toEqual(['a', 'b']);
    expect(unpack(pack(new Map([['a', 1]])))).toEqual({ a: 1 });
    expect(unpack(pack([Object(1), Object('x')]))).toEqual([1, 'x']);
    expect(unpack(pack(runInNewContext('({ a: [1], when: new Date(0), m: new Map([["k", 1]]) })')))).toEqual({
      a: [1],
      when: '1970-01-01T00:00:00.000Z',
      m: { k: 1 },
    });
  });

  it('writes what toJSON returns, as JSON does', () => {
    class Account {
      readonly secret = 'hidden';
      toJSON(): object {
        return { name: 'visible \ud800' };
      }
    }
    expect(unpack(pack({ account: new Account(), when: new Date(0) }))).toEqual({
      account: { name: 'visible \ufffd' },
      when: '1970-01-01T00:00:00.000Z',
    });
    expect(unpack(pack({ toJSON: (key: string) => `as ${key}` }))).toBe('as ');
    expect(unpack(pack({ field: { toJSON: (key: string) => `as ${key}` } }))).toEqual({ field: 'as field' });
  });

  it('replaces lone surrogates in strings and keys with U+FFFD', () => {
    for (const length of [0, 40]) {
      const text = 'x'.repeat(length);
      expect(unpack(pack({ [`${text}\ud800`]: `${text}\udfff` }))).toEqual({ [`${text}\ufffd`]: `${text}\ufffd` });
    }
  });

  it.each([
    ['a value that refers to itself', cyclic(), 'it refers to itself, or is nested deeper than 512 levels'],
    ['513 levels', nested(513), 'it refers to itself, or is nested deeper than 512 levels'],
    ['a symbol', { at: [Symbol('x')] }, 'at[0]: a symbol cannot be sent'],
    ['a function', { 'not a name': () => {} }, '["not a name"]: a function cannot be sent'],
    ['a bigint of 70 bits', { deep: [2n ** 70n] }, 'deep[0]: a bigint beyond 64 bits cannot be sent'],
    ['a SharedArrayBuffer', { memory: new SharedArrayBuffer(1) }, 'memory: a SharedArrayBuffer cannot be sent'],
    ['an Error', { error: new Error('x') }, 'error: an Error cannot be sent'],
    ['a RegExp', [/x/], '[0]: a RegExp cannot be sent'],
    ['a Promise', { late: Promise.resolve(1) }, 'late: a Promise cannot be sent; await it first'],
    ['a WeakMap', { weak: new WeakMap() }, 'weak: a weak collection cannot be sent'],
    ['a generator', { items: (function* () {})() }, 'items: a generator cannot be sent; collect its items first'],
    ['a detached ArrayBuffer', { at: [detached((memory) => memory)] }, 'at[0]: '],
    ['a detached Uint8Array', { at: detached((memory) => new Uint8Array(memory)) }, 'at: '],
    ['detached numbers', { at: detached((memory) => new Float64Array(memory)) }, 'at: '],
    ['a detached DataView', { at: detached((memory) => new DataView(memory)) }, 'at: '],
    ['a Proxy of a wrong length', { at: new Proxy([], { get: () => -1 }) }, 'an array of length -1 cannot be sent'],
    ['a Map with an object as key', { map: new Map([[{}, 1]]) }, 'a key of a Map must be a string or a number'],
    [
      'a getter that throws',
      {
        get now() {
          throw new Error('not now');
        },
      },
      'now: not now',
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
      'now: Symbol(now)',
    ],
  ])('rejects %s with DYN_INVALID_REQUEST, which names the field', (_, value, why) => {
    const thrown = (pack: () => unknown): DynamoError => {
      try {
        pack();
      } catch (error) {
        return error as DynamoError;
      }
      throw new Error('it was packed');
    };
    const refused = thrown(() => packValue('client.unary', 'the request', value));
    expect(refused).toBeInstanceOf(DynamoError);
    expect(refused.code).toBe('DYN_INVALID_REQUEST');
    expect(refused.retryable).toBe(false);
    expect(refused.message).toContain('client.unary: the request cannot be sent: ');
    expect(refused.message).toContain(why);
    expect(thrown(() => packItem('endpoint.serve', 'an item', value)).code).toBe('DYN_INTERNAL');
    expect(unpack(pack({ still: 'works' }))).toEqual({ still: 'works' });
  });

  it('packs what a getter or toJSON packs in between into memory of its own', () => {
    let inner: Uint8Array | undefined;
    const value = {
      before: 'b'.repeat(100),
      get during() {
        inner = packBorrowed({ inner: 'i'.repeat(20_000) });
        return { toJSON: () => unpack(pack(['deeper'])) };
      },
      after: 'a'.repeat(100),
    };
    for (const packer of [pack, packBorrowed, packArgs]) {
      expect(unpack(packer(value))).toEqual({
        before: 'b'.repeat(100),
        during: ['deeper'],
        after: 'a'.repeat(100),
      });
    }
    expect(unpack(inner as Uint8Array)).toEqual({ inner: 'i'.repeat(20_000) });
  });

  it('writes the bytes and elements that an object has, whatever its fields say', () => {
    pack('another value '.repeat(100));
    class Liar extends Uint8Array {
      override get byteLength(): never {
        return 200 as never;
      }
    }
    const field = <T extends object>(name: string, value: T): T => Object.defineProperty(value, name, { value: 200 });
    const memory = Uint8Array.of(1, 2, 3, 4).buffer;
    for (const bytes of [
      Liar.of(1, 2, 3, 4),
      field('byteLength', Uint8Array.of(1, 2, 3, 4)),
      field('length', Uint8Array.of(1, 2, 3, 4)),
      field('length', Uint8ClampedArray.of(1, 2, 3, 4)),
      field('byteLength', new DataView(memory)),
      field('byteOffset', new DataView(memory)),
      field('byteLength', memory),
    ])
      expect(unpack(pack({ bytes }))).toEqual({ bytes: Buffer.of(1, 2, 3, 4) });
    expect(unpack(pack([field('length', Float64Array.of(0.5)), field('size', new Set([7])), 8]))).toEqual([
      [0.5],
      [7],
      8,
    ]);
  });

  it('reads an element once more at most, also one that is another value each time', () => {
    let reads = 0;
    const items = Object.defineProperty([0], 0, { get: () => (reads++ % 2 === 0 ? 1 : 'text') });
    expect(unpack(pack(items))).toEqual([1]);
    expect(reads).toBeLessThanOrEqual(2);
  });

  it('returns bytes that outlive their buffer', () => {
    const packed = pack({ bytes: new Uint8Array([7]) });
    const { bytes } = unpack(packed) as { bytes: Uint8Array };
    packed.fill(0);
    expect(bytes[0]).toBe(7);
    const kept = pack('first');
    pack('second');
    expect(unpack(kept)).toBe('first');
  });
});

describe('bytes from a peer', () => {
  it.each([
    ['no bytes', [], 'it is cut off'],
    ['a cut string', [0xa5, 0x61], 'it is cut off'],
    ['a cut number', [0xcd, 1], 'it is cut off'],
    ['a count without items', [0xdd, 255, 255, 255, 255], 'it is cut off'],
    ['bytes after the value', [1, 2], '1 bytes follow the value'],
    ['a byte that means nothing', [0xc1], 'it has the byte 0xc1'],
    ['a key that is a list', [0x81, 0x90, 1], 'a key of a map is not a string'],
    ...[0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xc7, 0xc8, 0xc9].map((byte): [string, number[], string] => [
      `the extension 0x${byte.toString(16)}`,
      [0x81, 0xa1, 0x61, byte, ...new Array(20).fill(0)],
      'it has a MessagePack extension',
    ]),
  ])('are rejected with DYN_INVALID_REQUEST for %s', (_, bytes, why) => {
    expect(() => unpack(Uint8Array.from(bytes))).toThrow(
      expect.objectContaining({ code: 'DYN_INVALID_REQUEST', message: expect.stringContaining(why) }),
    );
  });

  it('are rejected beyond 512 levels, and read up to that', () => {
    const deep = (levels: number) => Uint8Array.from([...new Array(levels).fill(0x91), 1]);
    expect(unpack(deep(512))).toEqual(nested(512));
    expect(() => unpack(deep(513))).toThrow('it is nested deeper than 512 levels');
    expect(() => unpack(deep(5_000_000))).toThrow('it is nested deeper than 512 levels');
  });

  const floats = (count: number): Buffer => repeated(count, 0xcb, 0x3f, 0xf1, 0, 0, 0, 0, 0, 1);

  it('are read up to 2,400,000 floats in one array, and rejected beyond', () => {
    for (const first of [0, 0.5, 2 ** 31]) {
      const read = unpack(container(0xdd, 2_400_001, Buffer.concat([pack(first), floats(2_400_000)]))) as number[];
      expect([read.length, read[0], read.at(-1)]).toEqual([2_400_001, first, 1.0625000000000002]);
    }
    expect(() => unpack(container(0xdd, 2_500_000, floats(2_500_000)))).toThrow('too many values');
  });

  it.each([
    ['floats after null', () => container(0xdd, 1_300_001, Buffer.concat([Buffer.of(0xc0), floats(1_300_000)]))],
    ['floats before null', () => container(0xdd, 1_300_001, Buffer.concat([floats(1_300_000), Buffer.of(0xc0)]))],
    ['integers of 64 bits', () => container(0xdd, 1_300_000, repeated(1_300_000, 0xcf, 0, 0, 0, 1, 0, 0, 0, 0))],
    ['byte arrays', () => container(0xdd, 200_000, repeated(200_000, 0xc4, 1, 7))],
  ])('are rejected if V8 would need many objects for them: %s', (_, make) => {
    expect(() => unpack(make())).toThrow('too many values');
  });

  it('are the text that Node.js reads, also where it is large or not valid UTF-8', () => {
    const parts = ['ascii only. ', 'é', '日本語', '😀', '\0', '\ufeff'].map((text) => Buffer.from(text));
    const faulty = [0x80, 0xff, 0xc3, 0xe3, 0x81, 0xf0].map((byte) => Buffer.of(byte));
    for (const size of [1, 10, 20_000])
      for (const some of [parts.slice(0, 1), parts.slice(0, 2), parts, [...parts, ...faulty]]) {
        const bytes = Buffer.concat(Array.from({ length: size }, (_, at) => some[(at * 7) % some.length] as Buffer));
        const all = Buffer.concat([bytes, some.at(-1) as Buffer]);
        expect(unpack(container(0xdb, all.length, all)) === all.toString()).toBe(true);
      }
  });

  it('are read alike where arrays of numbers hold other values', () => {
    const others = [null, 'text', 2n ** 60n, [0.5], { key: 0.5 }, true, Buffer.of(1)];
    const numbers = [0.5, 1, -1, 200, -200, 70_000, -70_000, 2 ** 31, 2 ** 40, -(2 ** 40), Number.NaN, 1e300];
    for (const other of others) {
      for (let at = 0; at <= numbers.length; at++) {
        const value = [...numbers.slice(0, at), other, ...numbers.slice(at)];
        expect(unpack(pack(value))).toEqual(value);
        expect(unpack(pack([0.25, ...value]))).toEqual([0.25, ...value]);
      }
    }
  });

  const MAX_DELAY_MS = 100;
  /** Other work of a busy machine takes caches and cycles from this thread. */
  const BUSY_FACTOR = 3;

  it.each([
    ['many small integers', () => container(0xdd, 30_000_000, repeated(30_000_000, 1))],
    [
      'lists of integers',
      () => container(0xdd, 30_000, repeated(30_000, 0xdc, 0x03, 0xe8, ...new Array(1000).fill(1))),
    ],
    ['floats', () => container(0xdd, 3_000_000, floats(3_000_000))],
    ['floats after an integer', () => container(0xdd, 3_000_001, Buffer.concat([Buffer.of(1), floats(3_000_000)]))],
    ['floats before null', () => container(0xdd, 3_000_001, Buffer.concat([floats(3_000_000), Buffer.of(0xc0)]))],
    ['integers beyond 31 bits', () => container(0xdd, 5_900_000, repeated(5_900_000, 0xce, 255, 255, 255, 255))],
    [
      'byte arrays of 100 bytes',
      () => container(0xdd, 285_000, repeated(285_000, 0xc4, 100, ...new Array(100).fill(1))),
    ],
    ['texts beyond ASCII', () => container(0xdd, 450_000, repeated(450_000, 0xd9, 70, ...Buffer.from('é'.repeat(35))))],
    [
      'texts that are not UTF-8',
      () => container(0xdd, 450_000, repeated(450_000, 0xd9, 70, ...new Array(70).fill(0xff))),
    ],
    [
      'long texts beyond ASCII',
      () => container(0xdd, 31_000, repeated(31_000, 0xda, 3, 232, ...Buffer.from('é'.repeat(500)))),
    ],
    [
      'long texts that are not UTF-8',
      () => container(0xdd, 31_000, repeated(31_000, 0xda, 3, 232, ...new Array(1000).fill(0xff))),
    ],
    ['one text beyond ASCII', () => container(0xdb, 31 << 20, Buffer.from('é'.repeat(31 << 19)))],
    ['one text that is not UTF-8', () => container(0xdb, 31 << 20, Buffer.alloc(31 << 20, 0xff))],
    ['empty maps', () => container(0xdd, 30_000_000, repeated(30_000_000, 0x80))],
    ['empty lists', () => container(0xdd, 5_000_000, repeated(5_000_000, 0x90))],
    ['short strings', () => container(0xdd, 5_000_000, repeated(5_000_000, 0xa4, 97, 98, 99, 100))],
    ['byte arrays', () => container(0xdd, 5_000_000, repeated(5_000_000, 0xc4, 1, 7))],
    ['large integers', () => container(0xdd, 3_000_000, repeated(3_000_000, 0xcf, ...new Array(8).fill(255)))],
    [
      'a map of new keys',
      () =>
        container(
          0xdf,
          1_000_000,
          Buffer.concat(
            Array.from({ length: 1_000_000 }, (_, index) =>
              Buffer.from(`\xa8${String(index).padStart(8, 'k')}\x01`, 'latin1'),
            ),
          ),
        ),
    ],
  ])('take a bounded time and memory however large: %s', (_, make) => {
    const bytes = make();
    expect(bytes.byteLength).toBeLessThanOrEqual(32 * 1024 * 1024);
    const memory = process.memoryUsage().heapUsed;
    let value: unknown;
    const milliseconds = (): number =>
      processorMs(() => {
        try {
          value = unpack(bytes);
        } catch (error) {
          expect((error as DynamoError).code).toBe('DYN_INVALID_REQUEST');
        }
      });
    // A core that other processes share is slower, so the fastest of a few tries counts.
    const limit = MAX_DELAY_MS * BUSY_FACTOR;
    let fastest = milliseconds();
    for (let more = 2; more > 0 && fastest >= limit; more--) fastest = Math.min(fastest, milliseconds());
    expect(fastest).toBeLessThan(limit);
    expect(process.memoryUsage().heapUsed - memory).toBeLessThan(256 * 1024 * 1024);
    expect(['undefined', 'object', 'string']).toContain(typeof value);
  });

  it.each([70, 511, 512, 1000, 70_000])('are read with U+FFFD for what is not UTF-8, up to 12 MB: %i', (size) => {
    const text = Buffer.concat([Buffer.from('aé日😀'), Buffer.of(0xff, 0xc3)]);
    const bytes = Buffer.concat([text, Buffer.alloc(size - text.length, 'x')]);
    expect(unpack(container(0xdb, size, bytes))).toBe(`aé日😀\ufffd\ufffd${'x'.repeat(size - text.length)}`);
    const count = Math.ceil(13e6 / size);
    const head = Buffer.from([0xdb, 0, 0, 0, 0]);
    head.writeUInt32BE(size, 1);
    const all = Buffer.concat(new Array<Buffer>(count).fill(Buffer.concat([head, bytes])));
    expect(() => unpack(container(0xdd, count, all))).toThrow('too many values');
  });

  it('never crash the reader: 100,000 random messages are read or rejected', () => {
    const random = randomNumbers(7);
    const outcomes = new Set<string>();
    for (let round = 0; round < 100_000; round++) {
      const bytes = Uint8Array.from({ length: Math.floor(random() * 24) }, () => Math.floor(random() * 256));
      try {
        unpack(bytes);
        outcomes.add('read');
      } catch (error) {
        outcomes.add((error as DynamoError).code);
      }
    }
    expect([...outcomes].sort()).toEqual(['DYN_INVALID_REQUEST', 'read']);
  });
});

describe('the codec beside a public one', () => {
  const others = { useRecords: false, mapsAsObjects: true, variableMapSize: true, int64AsType: 'auto' as 'number' };
  const packr = new Packr({ ...others, encodeUndefinedAsNil: true, copyBuffers: true });
  const unpackr = new Unpackr(others);

  function randomValue(random: () => number, depth: number): unknown {
    const pick = Math.floor(random() * (depth > 4 ? 8 : 10));
    const size = Math.floor(random() ** 3 * 40);
    const magnitude = 2 ** Math.floor(random() * 54);
    switch (pick) {
      case 0:
        return Math.floor(random() * magnitude);
      case 1:
        return -Math.floor(random() * magnitude);
      case 2:
        return random() * magnitude;
      case 3:
        return BigInt(Math.floor(random() * 2 ** 53)) * 2048n;
      case 4:
        return [null, true, false, undefined][Math.floor(random() * 4)];
      case 5:
        return String.fromCharCode(...Array.from({ length: size }, () => 32 + Math.floor(random() * 90)));
      case 6:
        return String.fromCodePoint(...Array.from({ length: size }, () => 0xa0 + Math.floor(random() * 0xd000)));
      case 7:
        return Buffer.from(Array.from({ length: size }, () => Math.floor(random() * 256)));
      case 8:
        return Array.from({ length: size }, () => randomValue(random, depth + 1));
      default:
        return Object.fromEntries(
          Array.from({ length: size }, (_, index) => [
            `k${index}${'é'.repeat(index % 3)}`,
            randomValue(random, depth + 1),
          ]),
        );
    }
  }

  it('writes and reads 5,000 random values alike', () => {
    const random = randomNumbers(11);
    for (let round = 0; round < 5000; round++) {
      const value = randomValue(random, 0);
      const theirs = packr.pack(value);
      const ours = pack(value);
      expect(unpackr.unpack(ours), `round ${round}`).toEqual(unpackr.unpack(theirs));
      expect(unpack(theirs), `round ${round}`).toEqual(unpack(ours));
    }
  });
});
