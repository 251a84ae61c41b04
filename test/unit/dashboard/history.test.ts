import { describe, expect, it } from 'vitest';
import { CounterGains, quantileOf } from '../../../lib/dashboard/counters.js';
import { History } from '../../../lib/dashboard/history.js';
import { type HistoryPoint, SERIES } from '../../../lib/dashboard/view.js';

const pointAt = (time: number, running: number): HistoryPoint => ({
  time,
  values: { ...(Object.fromEntries(SERIES.map((name) => [name, null])) as HistoryPoint['values']), running },
});

describe('History', () => {
  it('returns the points in order before it is full', () => {
    const history = new History(3, 1000);
    history.add(pointAt(1, 10));
    history.add(pointAt(2, 20));
    expect(history.view()).toMatchObject({
      intervalMs: 1000,
      capacity: 3,
      times: [1, 2],
      series: { running: [10, 20] },
    });
  });

  it('replaces the oldest points when it is full', () => {
    const history = new History(3, 1000);
    for (let time = 1; time <= 7; time++) history.add(pointAt(time, time * 10));
    expect(history.view().times).toEqual([5, 6, 7]);
    expect(history.view().series.running).toEqual([50, 60, 70]);
    expect(history.view().series.queued).toEqual([null, null, null]);
  });

  it('ignores points of a clock that was set back a little, and begins again after a long jump', () => {
    const history = new History(10, 1000);
    history.add(pointAt(100, 1));
    history.add(pointAt(99, 2));
    history.add(pointAt(100, 3));
    expect(history.view().times).toEqual([100]);
    history.add(pointAt(50, 4));
    history.add(pointAt(51, 5));
    expect(history.view().times).toEqual([50, 51]);
  });
});

describe('CounterGains', () => {
  it('returns gains and rates from the second reading on', () => {
    const gains = new CounterGains();
    gains.begin(0);
    gains.add('a', 5);
    expect(gains.gain('a')).toBeUndefined();
    gains.begin(2000);
    gains.add('a', 5);
    gains.add('a', 10);
    gains.add('new', 3);
    expect(gains.gain('a')).toBe(10);
    expect(gains.rate('a')).toBe(5);
    expect(gains.gain('new')).toBeUndefined();
  });

  it('counts from 0 when a counter has begun again', () => {
    const gains = new CounterGains();
    gains.begin(0);
    gains.add('a', 100);
    gains.begin(1000);
    gains.add('a', 7);
    expect(gains.rate('a')).toBe(7);
  });

  it('returns no rate without time between two readings', () => {
    const gains = new CounterGains();
    gains.begin(5);
    gains.add('a', 1);
    gains.begin(5);
    gains.add('a', 2);
    expect(gains.rate('a')).toBeUndefined();
  });
});

describe('quantileOf', () => {
  const buckets = [
    [0.1, 10],
    [0.2, 30],
    [0.4, 30],
    [Number.POSITIVE_INFINITY, 40],
  ] as const;

  it('interpolates in the bucket of the rank', () => {
    expect(quantileOf(buckets, 0.5)).toBeCloseTo(0.15);
    expect(quantileOf(buckets, 0.1)).toBeCloseTo(0.04);
  });

  it('returns the highest bound for what is above all bounds', () => {
    expect(quantileOf(buckets, 0.95)).toBe(0.4);
  });

  it('returns undefined without counts', () => {
    expect(quantileOf([], 0.5)).toBeUndefined();
    expect(quantileOf([[1, 0]], 0.5)).toBeUndefined();
  });
});
