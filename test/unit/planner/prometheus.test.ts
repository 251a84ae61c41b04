import { describe, expect, it } from 'vitest';
import { parseMetrics } from '../../../lib/planner/prometheus.js';
import { FrontendTraffic, joinedTraffic } from '../../../lib/planner/traffic.js';

describe('parseMetrics', () => {
  it('reads names, labels and values', () => {
    const text = [
      '# HELP a text',
      '# TYPE a counter',
      'a 1',
      'b{x="1",y="two words"} 2.5e3',
      'c{path="C:\\\\d\\n\\"q\\"",} 3 1700000000000',
      'd_bucket{le="+Inf"} +Inf',
      'e -Inf',
      'f NaN',
      '',
    ].join('\n');
    expect(parseMetrics(text)).toEqual([
      { name: 'a', labels: {}, value: 1 },
      { name: 'b', labels: { x: '1', y: 'two words' }, value: 2500 },
      { name: 'c', labels: { path: 'C:\\d\n"q"' }, value: 3 },
      { name: 'd_bucket', labels: { le: '+Inf' }, value: Number.POSITIVE_INFINITY },
      { name: 'e', labels: {}, value: Number.NEGATIVE_INFINITY },
      { name: 'f', labels: {}, value: Number.NaN },
    ]);
  });

  it.each(['', '{', 'a', 'a{', 'a{b="c} 1 2 3 4', '1a 2', 'a{b=c} 1 x', '\u0000'])('skips %j', (line) => {
    expect(parseMetrics(line)).toEqual([]);
  });

  it('reads only wanted names', () => {
    expect(parseMetrics('a 1\nb 2', (name) => name === 'b')).toEqual([{ name: 'b', labels: {}, value: 2 }]);
  });

  it('reads a line of a million braces in less than a second', () => {
    const begin = performance.now();
    expect(parseMetrics(`a{${'{'.repeat(1e6)}`)).toEqual([]);
    expect(performance.now() - begin).toBeLessThan(1000);
  });
});

/** Counters of a frontend. */
const text = (requests: number, model = 'm'): string =>
  Object.entries({
    requests_started_total: requests,
    input_sequence_tokens_sum: requests * 1000,
    input_sequence_tokens_count: requests,
    output_sequence_tokens_sum: requests * 50,
    output_sequence_tokens_count: requests,
    time_to_first_token_seconds_sum: requests * 0.25,
    time_to_first_token_seconds_count: requests,
    inter_token_latency_seconds_sum: requests * 0.5,
    inter_token_latency_seconds_count: requests * 50,
  })
    .map(([name, value]) => `dynamo_frontend_${name}{model="${model}"} ${value}`)
    .join('\n');

describe('FrontendTraffic', () => {
  it('returns what happened between two reads', () => {
    const traffic = new FrontendTraffic();
    expect(traffic.sample(text(10), 1000)).toBeUndefined();
    expect(traffic.sample(text(30), 6000)).toEqual({
      ...{ durationMs: 5000, requests: 20, inputTokens: 1000, outputTokens: 50, ttftMs: 250, itlMs: 10 },
    });
  });

  it('returns no means without requests', () => {
    const traffic = new FrontendTraffic();
    traffic.sample(text(10), 1000);
    expect(traffic.sample(text(10), 6000)).toEqual({ durationMs: 5000, requests: 0 });
  });

  it('counts from 0 after a restart of the frontend', () => {
    const traffic = new FrontendTraffic();
    traffic.sample(text(100), 1000);
    expect(traffic.sample(text(7), 6000)).toMatchObject({ requests: 7, inputTokens: 1000 });
  });

  it('covers the time of a read that failed', () => {
    const traffic = new FrontendTraffic();
    traffic.sample(text(10), 0);
    expect(traffic.sample(text(20), 15_000)).toMatchObject({ durationMs: 15_000, requests: 10 });
  });

  it('counts only its model', () => {
    const traffic = new FrontendTraffic('m');
    const both = (m: number, n: number): string => `${text(m)}\n${text(n, 'n')}`;
    traffic.sample(both(0, 0), 1000);
    expect(traffic.sample(both(3, 100), 6000)).toMatchObject({ requests: 3 });
  });
});

it('joinedTraffic adds requests and weighs means', () => {
  const joined = joinedTraffic([
    { durationMs: 5000, requests: 10, inputTokens: 100 },
    { durationMs: 5000, requests: 30, inputTokens: 500 },
  ]);
  expect(joined).toEqual({ durationMs: 5000, requests: 40, inputTokens: 400 });
  expect(joinedTraffic([])).toBeUndefined();
});
