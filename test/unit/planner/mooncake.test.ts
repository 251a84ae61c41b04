import { formatMooncake, parseMooncake, synthesizeTrace } from 'dynamo-node/planner';
import { describe, expect, it } from 'vitest';
import { resampled } from '../../../lib/planner/core/simulate/resample.js';

const line = (timestamp: number, more: object = {}): string =>
  JSON.stringify({ timestamp, input_length: 1000, output_length: 10, hash_ids: [1, 2], ...more });

describe('parseMooncake', () => {
  it('returns requests in the order of their arrival, from 0', () => {
    const text = `${line(5000)}\n\n${line(3000, { input_length: 7, output_length: 0 })}\n`;
    expect(parseMooncake('t', text)).toEqual([
      { atMs: 0, inputTokens: 7, outputTokens: 1 },
      { atMs: 2000, inputTokens: 1000, outputTokens: 10 },
    ]);
    expect(parseMooncake('t', text, { speedup: 4 }).map(({ atMs }) => atMs)).toEqual([0, 500]);
  });

  it('counts the blocks of a prefix that earlier prompts had as cached', () => {
    const ids = [
      [1, 2],
      [1, 3],
      [1, 3],
      [9, 3],
    ];
    const text = ids.map((hash_ids, index) => line(index, { hash_ids })).join('\n');
    const cached = parseMooncake('t', text, { hasPrefixCache: true }).map(({ cachedTokens = 0 }) => cachedTokens);
    expect(cached).toEqual([0, 512, 1000, 0]);
  });

  it('reads what formatMooncake writes', () => {
    const options = { seed: 1, durationMs: 20_000, rate: 5, inputTokens: 700, outputTokens: 20 };
    const trace = synthesizeTrace({ shape: 'flat', ...options });
    const read = parseMooncake('t', formatMooncake(trace), { hasPrefixCache: true });
    expect(read.map(({ inputTokens, outputTokens }) => [inputTokens, outputTokens])).toEqual(
      trace.map(({ inputTokens, outputTokens }) => [inputTokens, outputTokens]),
    );
    expect(read.every(({ cachedTokens }) => cachedTokens === undefined)).toBe(true);
  });

  it.each([
    ['text that is no JSON', 'hello', 't:1: expected a JSON object, got "hello"'],
    ['an array', '[1]', 't:1: expected an object'],
    ['a timestamp that is no number', line('x' as never), 't:1 timestamp: expected a number'],
    ['an empty prompt', line(1, { input_length: 0 }), 't:1 input_length: expected an integer from 1'],
    ['a negative answer', `${line(1)}\n${line(1, { output_length: -1 })}`, 't:2 output_length: expected an integer'],
    ['hash ids that are no array', line(1, { hash_ids: 4 }), 't:1 hash_ids: expected an array, got 4'],
    ['no requests', '\n', 't: expected at least one request, got none'],
  ])('rejects %s', (_, text, message) => {
    expect(() => parseMooncake('t', text)).toThrow(message);
  });
});

describe('a resampled trace', () => {
  const options = { seed: 1, durationMs: 300_000, rate: 10, inputTokens: 700, outputTokens: 20 };
  const trace = synthesizeTrace({ shape: 'spike', ...options });

  it('is the same for the same seed, in order, and has the load of the trace in each part', () => {
    const again = resampled(trace, 7);
    expect(resampled(trace, 7)).toEqual(again);
    expect(resampled(trace, 8)).not.toEqual(again);
    const times = again.map(({ atMs }) => atMs);
    expect(times).toEqual([...times].sort((a, b) => a - b));
    const within = (requests: readonly { readonly atMs: number }[], from: number, to: number): number =>
      requests.filter(({ atMs }) => atMs >= from && atMs < to).length;
    for (const [from, to] of [
      [0, 120_000],
      [120_000, 180_000],
      [180_000, 300_000],
    ] as const) {
      const expected = within(trace, from, to);
      // Five deviations of a Poisson distribution.
      expect(Math.abs(within(again, from, to) - expected)).toBeLessThan(5 * Math.sqrt(expected));
    }
  });
});
