import { describe, expect, it } from 'vitest';
import { spansOf, type TraceFacts } from '../../../lib/dashboard/trace-spans.js';

const SENT = 1_700_000_000_000;

const facts = (fields: Partial<TraceFacts> = {}): TraceFacts => ({
  sentAtMs: SENT,
  firstTokenMs: 100,
  totalMs: 400,
  timing: undefined,
  chosen: {},
  recalled: [],
  idOf: (id) => `id ${id}`,
  ...fields,
});

const timing = {
  request_received_ms: SENT + 2,
  prefill_wait_time_ms: 5,
  prefill_time_ms: 90,
  ttft_ms: 95,
  total_time_ms: 390,
  router_queue_depth: 1,
  kv_hit_rate: 0.25,
  kv_transfer_estimated_latency_ms: 20,
};

const short = ({ spans }: ReturnType<typeof spansOf>): unknown[] =>
  spans.map(({ name, startMs, endMs, source, instance }) => [name, startMs, endMs, source, instance]);

describe('spansOf', () => {
  it('has only what this process saw if the frontend says nothing', () => {
    const found = spansOf(facts());
    expect(short(found)).toEqual([
      ['request', 0, 400, 'client', undefined],
      ['decode', 100, 400, 'client', undefined],
    ]);
    expect(found.notes).toHaveLength(3);
  });

  it('shows the parts of one worker from the timing of the frontend', () => {
    const found = spansOf(facts({ timing, chosen: { prefill: '7', decode: '7' } }));
    expect(short(found)).toEqual([
      ['request', 0, 400, 'client', undefined],
      ['queue', 2, 7, 'frontend', undefined],
      ['prefill', 7, 97, 'frontend', 'id 7'],
      ['decode', 97, 392, 'frontend', 'id 7'],
    ]);
    expect(found.spans[1]?.detail).toBe(
      'preprocessing and routing; requests that waited in the router: 1; ' +
        'the router expected 25% of the prompt in the cache; it chose id 7',
    );
    expect(found.spans.slice(1).every(({ isEstimate }) => isEstimate)).toBe(true);
  });

  it('shows the transfer between two workers as an upper bound', () => {
    const found = spansOf(facts({ timing, chosen: { prefill: '7', decode: '8' } }));
    expect(short(found)[3]).toEqual(['transfer', 97, 117, 'frontend', 'id 8']);
    expect(found.spans[3]?.detail).toContain('upper bound');
  });

  it('prefers what workers measured, and shows the transfer and the wait for its offer', () => {
    const recalled = [
      {
        requestId: 'r',
        service: 'Decode',
        number: 1,
        arrivedAtMs: SENT + 60,
        firstTokenAtMs: SENT + 110,
        endedAtMs: SENT + 395,
        tokens: 32,
        transfer: {
          endedAtMs: SENT + 100,
          durationMs: 8,
          waitMs: 12,
          bytes: 4096,
          blocks: 2,
          from: '5',
          transport: 'NIXL',
        },
      },
      {
        requestId: 'r',
        service: 'Prefill',
        number: 0,
        arrivedAtMs: SENT + 8,
        firstTokenAtMs: SENT + 55,
        endedAtMs: SENT + 56,
        tokens: 1,
      },
    ];
    const found = spansOf(facts({ timing, chosen: { prefill: '5', decode: '6' }, recalled }));
    expect(short(found)).toEqual([
      ['request', 0, 400, 'client', undefined],
      ['queue', 2, 7, 'frontend', undefined],
      ['prefill', 8, 55, 'worker', 'Prefill#0'],
      ['wait', 80, 92, 'worker', 'Decode#1'],
      ['transfer', 92, 100, 'worker', 'Decode#1'],
      ['decode', 110, 395, 'worker', 'Decode#1'],
    ]);
    expect(found.notes).toEqual([]);
  });

  it('keeps every span within the request although clocks differ', () => {
    const late = { ...timing, request_received_ms: SENT + 5000, prefill_time_ms: 9000 };
    const { spans } = spansOf(facts({ timing: late, chosen: { decode: '7' } }));
    for (const { startMs, endMs } of spans) {
      expect(startMs).toBeGreaterThanOrEqual(0);
      expect(endMs).toBeGreaterThanOrEqual(startMs);
      expect(endMs).toBeLessThanOrEqual(400);
    }
  });
});
