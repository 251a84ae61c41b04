import { describe, expect, it } from 'vitest';

import {
  anything,
  boolean,
  type Check,
  callback,
  custom,
  defined,
  flagOf,
  instanceId,
  integer,
  listOf,
  milliseconds,
  nested,
  number,
  type OptionTable,
  oneOf,
  optionTable,
  signal,
  stringMap,
  text,
  variants,
} from '../../lib/options.js';

interface Example {
  readonly blockSize: number;
  readonly kind?: 'radix' | 'positional';
  readonly maxQueued?: number;
  readonly labels?: readonly string[];
  readonly watermarks?: { readonly low: number };
  readonly score?: () => number;
}

const table: OptionTable<Example> = optionTable<Example>({
  blockSize: integer(1).env('BLOCK_SIZE', 'PAGE_SIZE').about('Tokens in a block.').required(),
  kind: oneOf('radix', 'positional').env('KIND'),
  maxQueued: integer(0),
  labels: listOf(text, 'labels'),
  watermarks: nested(optionTable<{ readonly low: number }>({ low: number(0, 1).required() })),
  score: callback<() => number>(),
});

const checkTable = (options: unknown) => () => table.check('f options', options);

describe('an option table', () => {
  it.each([
    [{ blockSize: 16 }],
    [{ blockSize: 16, kind: undefined, labels: [] }],
    [{ blockSize: 16, kind: 'radix', maxQueued: 0, labels: ['a'], watermarks: { low: 0.5 }, score: () => 1 }],
  ])('accepts %j', (options) => {
    expect(checkTable(options)).not.toThrow();
  });

  it.each([
    [null, TypeError, 'f options: expected an object, got null'],
    [[], TypeError, 'f options: expected an object, got an empty array'],
    [{}, TypeError, 'f options.blockSize: expected an integer, got undefined'],
    [{ blockSize: undefined }, TypeError, 'f options.blockSize: expected an integer, got undefined'],
    [{ blockSize: 0 }, RangeError, 'f options.blockSize: expected an integer from 1 to 9007199254740991, got 0'],
    [{ blockSize: 1, kind: 'x' }, TypeError, 'f options.kind: expected one of radix, positional, got "x"'],
    [{ blockSize: 1, labels: 'a' }, TypeError, 'f options.labels: expected an array of labels, got "a"'],
    [{ blockSize: 1, labels: ['a', 2] }, TypeError, 'f options.labels[1]: expected a string, got 2'],
    [{ blockSize: 1, watermarks: 1 }, TypeError, 'f options.watermarks: expected an object, got 1'],
    [{ blockSize: 1, watermarks: {} }, TypeError, 'f options.watermarks.low: expected a number, got undefined'],
    [
      { blockSize: 1, watermarks: { low: 2 } },
      RangeError,
      'f options.watermarks.low: expected a number from 0 to 1, got 2',
    ],
    [{ blockSize: 1, score: 1 }, TypeError, 'f options.score: expected a function, got 1'],
  ])('rejects %j', (options, Class, message) => {
    expect(checkTable(options)).toThrow(new Class(message));
  });

  it.each(['blocksize', 'constructor', 'toString'])('rejects the unknown option %s', (name) => {
    expect(checkTable({ blockSize: 1, [name]: 1 })).toThrow(
      `f options.${name}: unknown option; known are blockSize, kind, maxQueued, labels, watermarks, score`,
    );
  });

  it('returns the flags of the options that can be written as text', () => {
    expect(table.flags().map(({ flag, name }) => [flag, name])).toEqual([
      ['--block-size', 'blockSize'],
      ['--kind', 'kind'],
      ['--max-queued', 'maxQueued'],
      ['--labels', 'labels'],
    ]);
  });

  it('returns every environment variable of the present options', () => {
    expect(table.variables({ blockSize: 16, kind: undefined, maxQueued: 1 })).toEqual({
      BLOCK_SIZE: '16',
      PAGE_SIZE: '16',
    });
  });

  it('returns the row of an option', () => {
    expect(table.row('blockSize')).toMatchObject({
      kind: 'integer',
      expected: 'an integer of at least 1',
      variables: ['BLOCK_SIZE', 'PAGE_SIZE'],
      summary: 'Tokens in a block.',
      isRequired: true,
    });
  });
});

describe('an option', () => {
  const own = custom<string>('a path', () => {}, 'text');

  it.each([
    ['integer', integer(0, 9), 10, 'x: expected an integer from 0 to 9, got 10'],
    ['number', number(0, 1), '0', 'x: expected a number, got "0"'],
    ['milliseconds', milliseconds(1), 2 ** 31, 'x: expected an integer from 1 to 2147483647, got 2147483648'],
    ['text', text, 1, 'x: expected a string, got 1'],
    ['boolean', boolean, 'yes', 'x: expected a boolean, got "yes"'],
    ['list', listOf(integer(0)), 1, 'x: expected an array of values, each an integer of at least 0, got 1'],
    ['string map', stringMap, { a: 1 }, 'x.a: expected a string, got 1'],
    ['instance id', instanceId, 1, 'x: expected an instance id (a bigint), got 1'],
    ['signal', signal, {}, 'x: expected an AbortSignal, got an object'],
  ] satisfies [string, { readonly check: Check }, unknown, string][])(
    'rejects a wrong %s',
    (_, option, value, message) => {
      expect(() => option.check('x', value)).toThrow(message);
    },
  );

  it.each([
    ['a custom check', own],
    ['any value', anything],
  ])('accepts what %s accepts', (_, option) => {
    expect(() => option.check('x', Symbol('x'))).not.toThrow();
  });
});

describe('variants', () => {
  type Storage = { readonly kind: 'memory' } | { readonly kind: 'disk'; readonly path: string };
  const option = variants<Storage>({
    memory: optionTable<{ readonly kind: 'memory' }>({ kind: oneOf('memory').required() }),
    disk: optionTable<{ readonly kind: 'disk'; readonly path: string }>({
      kind: oneOf('disk').required(),
      path: text.required(),
    }),
  });

  it.each([[{ kind: 'memory' }], [{ kind: 'disk', path: '/tmp' }]])('accept %j', (value) => {
    expect(() => option.check('x', value)).not.toThrow();
  });

  it.each([
    [1, 'x: expected an object, got 1'],
    [{}, 'x.kind: expected one of memory, disk, got undefined'],
    [{ kind: 'tape' }, 'x.kind: expected one of memory, disk, got "tape"'],
    [{ kind: 'memory', path: '/tmp' }, 'x.path: unknown option; known are kind'],
    [{ kind: 'disk' }, 'x.path: expected a string, got undefined'],
  ])('reject %j', (value, message) => {
    expect(() => option.check('x', value)).toThrow(message);
  });
});

describe('flagOf', () => {
  it.each([
    ['port', '--port'],
    ['maxQueued', '--max-queued'],
    ['http2Port', '--http2-port'],
  ])('turns %s into %s', (name, flag) => {
    expect(flagOf(name)).toBe(flag);
  });
});

describe('defined', () => {
  it('returns the options without the undefined ones', () => {
    expect(defined({ a: 1, b: undefined, c: null })).toEqual({ a: 1, c: null });
  });
});
