import { describe, expect, it } from 'vitest';
import { FrontendReader } from '../../../lib/dashboard/frontend-figures.js';

const URL_1 = 'http://127.0.0.1:8000';

const textOf = (requests: number, ttfts: readonly [number, number, number]): string => `# HELP something
dynamo_frontend_requests_started_total{model="m"} ${requests}
dynamo_frontend_active_requests{model="m"} 4
dynamo_frontend_output_tokens_total{model="m"} ${requests * 10}
dynamo_frontend_time_to_first_token_seconds_bucket{model="m",le="0.1"} ${ttfts[0]}
dynamo_frontend_time_to_first_token_seconds_bucket{model="m",le="0.5"} ${ttfts[1]}
dynamo_frontend_time_to_first_token_seconds_bucket{model="m",le="+Inf"} ${ttfts[1]}
dynamo_frontend_time_to_first_token_seconds_sum{model="m"} ${ttfts[2]}
dynamo_frontend_time_to_first_token_seconds_count{model="m"} ${ttfts[1]}
dynamo_frontend_input_sequence_tokens_sum{model="m"} ${requests * 100}
dynamo_frontend_input_sequence_tokens_count{model="m"} ${requests}
dynamo_frontend_cached_tokens_sum{model="m"} ${requests * 25}
dynamo_frontend_cached_tokens_count{model="m"} ${requests}
dynamo_frontend_model_total_kv_blocks{model="m"} 512
dynamo_frontend_worker_active_decode_blocks{dp_rank="0",worker_id="17",worker_type="decode"} 30
dynamo_frontend_worker_active_decode_blocks{dp_rank="1",worker_id="17",worker_type="decode"} 12
dynamo_frontend_worker_last_time_to_first_token_seconds{dp_rank="0",worker_id="17",worker_type="decode"} 0.25
other_metric{model="m"} 3
`;

describe('FrontendReader', () => {
  it('returns no traffic at the first reading, but the workers', () => {
    const { traffic, workers } = new FrontendReader().read(new Map([[URL_1, textOf(10, [1, 2, 0.5])]]), 0);
    expect(traffic).toBeUndefined();
    expect(workers.get('17')).toEqual({ workerType: 'decode', lastTtftMs: 250, kv: { usedBlocks: 42 } });
  });

  it('returns rates, gauges and latencies of the time between two readings', () => {
    const reader = new FrontendReader();
    reader.read(new Map([[URL_1, textOf(10, [1, 2, 0.5])]]), 0);
    const { traffic } = reader.read(new Map([[URL_1, textOf(20, [1, 12, 3.5])]]), 2000);
    expect(traffic?.flow).toMatchObject({ requestsPerSecond: 5, running: 4, outputTokensPerSecond: 50 });
    expect(traffic?.ttft?.meanMs).toBeCloseTo(300);
    expect(traffic?.ttft?.p50Ms).toBeCloseTo(300);
    expect(traffic?.itl).toBeUndefined();
    expect(traffic?.hitRate).toBeCloseTo(0.25);
    expect(traffic).toMatchObject({ models: ['m'], totalBlocks: { m: 512 } });
  });

  it('adds the frontends up, and does not count one twice that has started again', () => {
    const reader = new FrontendReader();
    const second = 'http://127.0.0.1:8001';
    reader.read(
      new Map([
        [URL_1, textOf(10, [0, 0, 0])],
        [second, textOf(100, [0, 0, 0])],
      ]),
      0,
    );
    const texts = new Map([
      [URL_1, textOf(14, [0, 0, 0])],
      [second, textOf(3, [0, 0, 0])],
    ]);
    const { traffic } = reader.read(texts, 1000);
    expect(traffic?.flow.requestsPerSecond).toBe(7);
    expect(traffic?.flow.running).toBe(8);
  });

  it('returns no traffic when no frontend answers', () => {
    const reader = new FrontendReader();
    reader.read(new Map([[URL_1, textOf(10, [0, 0, 0])]]), 0);
    expect(reader.read(new Map(), 1000).traffic).toBeUndefined();
  });

  it('skips values that are no numbers', () => {
    const reader = new FrontendReader();
    const text =
      'dynamo_frontend_worker_active_decode_blocks{worker_id="1"} NaN\ndynamo_frontend_active_requests +Inf\n';
    expect(reader.read(new Map([[URL_1, text]]), 0).workers.size).toBe(0);
  });
});
