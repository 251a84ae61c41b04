import { deflateRawSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { readNpz } from '../../../lib/planner/npz.js';
import { parseProfile } from '../../../lib/planner/profile.js';
import { npzOf } from '../../helpers/planner/npz.js';

describe('readNpz', () => {
  it.each([false, true])('returns the numbers of all arrays, compressed: %s', (isCompressed) => {
    const file = npzOf(
      {
        a: { type: '<f8', values: [1.5, -2] },
        b: { type: '<i8', values: [7, 2 ** 40] },
        c: { type: '<f4', values: [] },
      },
      isCompressed,
    );
    expect(readNpz('f', file)).toEqual({
      a: Float64Array.of(1.5, -2),
      b: Float64Array.of(7, 2 ** 40),
      c: Float64Array.of(),
    });
  });

  it.each([
    ['an empty file', Buffer.alloc(0), 'f: expected a'],
    ['text', Buffer.from('no zip file at all, but long enough'), 'f: expected a zip file'],
    ['a file that was cut', npzOf({ a: { type: '<f8', values: [1] } }).subarray(40), 'f'],
    ['objects', npzOf({ a: { type: '|O', values: [] } }), "f a: expected numbers of type <f8, <f4, <i8, <i4, got '|O'"],
    [
      'fewer numbers than the shape says',
      npzOf({ a: { type: '<f8', values: [1], count: 3 } }),
      'f a: expected 3 numbers',
    ],
    [
      'an entry that is no array',
      npzOf({ a: { type: '<f8', values: [], content: Buffer.from('x') } }),
      'f a: expected an array',
    ],
    [
      'data that is not what was compressed',
      npzOf({ a: { type: '<f8', values: [1], packed: deflateRawSync(Buffer.alloc(5)) } }, true),
      'f a: expected',
    ],
  ])('rejects %s', (_, file, message) => {
    expect(() => readNpz('f', file)).toThrow(message);
    expect(() => readNpz('f', file)).toThrow(TypeError);
  });
});

describe('parseProfile', () => {
  it('returns passes of prefill: a prompt alone', () => {
    const file = npzOf({
      prefill_isl: { type: '<i8', values: [100, 1000] },
      prefill_ttft: { type: '<f8', values: [20, 35.5] },
      prefill_thpt_per_gpu: { type: '<f8', values: [1, 1] },
    });
    expect(parseProfile('f', file)).toEqual({
      passes: [
        { prefillTokens: 100, decodeRequests: 0, kvTokens: 0, wallMs: 20 },
        { prefillTokens: 1000, decodeRequests: 0, kvTokens: 0, wallMs: 35.5 },
      ],
    });
  });

  it('returns passes of decode: as many requests as fill the part of the KV cache', () => {
    const file = npzOf({
      x_kv_usage: { type: '<f8', values: [0.1, 0.00001] },
      y_context_length: { type: '<f8', values: [500, 500] },
      z_itl: { type: '<f8', values: [9, 4] },
      max_kv_tokens: { type: '<i8', values: [100_000] },
    });
    expect(parseProfile('f', file)).toEqual({
      passes: [
        { prefillTokens: 0, decodeRequests: 20, kvTokens: 10_000, wallMs: 9 },
        { prefillTokens: 0, decodeRequests: 1, kvTokens: 1, wallMs: 4 },
      ],
      kvTokens: 100_000,
    });
  });

  it('rejects what is no file', () => {
    expect(() => parseProfile('f', 'text' as never)).toThrow('f: expected the bytes of a file, got "text"');
  });

  it.each([
    [
      'other arrays',
      { a: [1] },
      'f: expected prefill_isl, prefill_ttft, or x_kv_usage, y_context_length, z_itl, max_kv_tokens, got a',
    ],
    ['times that cannot be', { prefill_isl: [1], prefill_ttft: [-1] }, 'f: expected measured times, got none'],
  ])('rejects %s', (_, arrays, message) => {
    const typed = Object.entries(arrays).map(([name, values]) => [name, { type: '<f8', values }]);
    expect(() => parseProfile('f', npzOf(Object.fromEntries(typed)))).toThrow(message);
  });
});
