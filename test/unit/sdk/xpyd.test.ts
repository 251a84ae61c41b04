import { formatXPyD, parseXPyD } from 'dynamo-node/sdk';
import { describe, expect, it } from 'vitest';

describe('the short form of a disaggregated deployment', () => {
  it.each([
    ['3P2D', { prefill: 3, decode: 2 }],
    ['0p10d', { prefill: 0, decode: 10 }],
    ['999999P1D', { prefill: 999_999, decode: 1 }],
  ])('reads %s', (text, counts) => {
    expect(parseXPyD(text)).toEqual(counts);
    expect(formatXPyD(counts)).toBe(text.toUpperCase());
  });

  it.each(['', '3P', 'P2D', '-1P2D', '3P2D ', '1.5P2D', '3P2D1', '1000000P1D'])('rejects %j with TypeError', (text) => {
    expect(() => parseXPyD(text)).toThrow(`xPyD: expected a text like '3P2D', got ${JSON.stringify(text)}`);
  });
});
