import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';

import { StatusLine, sampleOf, statusText } from '../../../lib/cli/status-line.js';
import type { RunState, WorkerStatus } from '../../../lib/deploy/local/run-folder.js';
import { metricsFrom } from '../../../lib/deploy/local/worker-metrics.js';

const worker = (number: number, fields: Partial<WorkerStatus> = {}): WorkerStatus => ({
  number,
  phase: 'ready',
  restarts: 0,
  log: '',
  ...fields,
});

const stateWith = (requests: number, outputTokens: number, firstTokens: number): RunState => ({
  schema: 'dynamo-node.run/v1',
  graph: 'chat',
  pid: 1,
  supervisor: { pid: 1, startTime: '' },
  file: '',
  startedAt: '',
  phase: 'ready',
  urls: [],
  services: [
    { name: 'Engine', desired: 2, workers: [worker(0), worker(1, { phase: 'backing-off', restarts: 2 })] },
    {
      name: 'Front',
      desired: 1,
      workers: [
        worker(0, {
          metrics: {
            ...metricsFrom(''),
            requests,
            requestsInFlight: 3,
            outputTokens,
            firstTokens,
            firstTokenSeconds: firstTokens * 0.25,
          },
        }),
      ],
    },
  ],
});

describe('statusText', () => {
  it('has the ready workers, the restarts, and the rates between two samples of the entry', () => {
    const [before, now] = [stateWith(10, 100, 10), stateWith(30, 500, 20)];
    expect(statusText(now, sampleOf(before, 1000), sampleOf(now, 3000))).toBe(
      'chat ready | Engine 1/2 | Front 1/1 | 2 restarts | 10 requests/s | 3 in flight | 200 tokens/s | TTFT 250 ms',
    );
  });

  it('leaves out tokens of a graph without a frontend', () => {
    const state = stateWith(0, 0, 0);
    expect(statusText(state, sampleOf(state, 0), sampleOf(state, 1000))).toBe(
      'chat ready | Engine 1/2 | Front 1/1 | 2 restarts | 0 requests/s | 3 in flight',
    );
  });
});

describe('StatusLine', () => {
  it('stays below other output, in the width of the terminal', () => {
    let seen = '';
    const out = new Writable({
      write(chunk: Buffer, _, done) {
        seen += chunk.toString();
        done();
      },
    });
    const line = new StatusLine(out, () => 6);
    line.output().write('first\n');
    line.show('123456789');
    line.output().write('second\n');
    line.show('');
    const shown = '\x1b[2m1234…\x1b[0m';
    expect(seen).toBe(`first\n\r\x1b[K${shown}\r\x1b[Ksecond\n${shown}\r\x1b[K`);
  });
});

describe('metricsFrom', () => {
  it('sums the samples of all endpoints', () => {
    const text = [
      'dynamo_component_requests_total{dynamo_endpoint="a"} 2',
      'dynamo_component_requests_total{dynamo_endpoint="b"} 3',
      'dynamo_component_requests_total_other 9',
      'dynamo_component_inflight_requests 1',
      'dynamo_frontend_output_tokens_total{model="m"} 40',
      'dynamo_frontend_time_to_first_token_seconds_sum{model="m"} 0.5',
      'dynamo_frontend_time_to_first_token_seconds_count{model="m"} 4',
    ].join('\n');
    expect(metricsFrom(text)).toEqual({
      requests: 5,
      requestsInFlight: 1,
      outputTokens: 40,
      firstTokenSeconds: 0.5,
      firstTokens: 4,
      kvTotalBlocks: 0,
      transfers: 0,
      transferFailures: 0,
      transferBytes: 0,
      transferSeconds: 0,
    });
  });

  it('sums the blocks of all ranks, and takes the mean of their shares', () => {
    const text = [
      'dynamo_component_total_blocks{dp_rank="0"} 100',
      'dynamo_component_total_blocks{dp_rank="1"} 100',
      'dynamo_component_gpu_cache_usage_percent{dp_rank="0"} 0.5',
      'dynamo_component_gpu_cache_usage_percent{dp_rank="1"} 0.25',
      'dynamo_component_kv_transfer_bytes_sum 4096',
      'dynamo_component_kv_transfer_failures_total{reason="disagg.timeout"} 2',
    ].join('\n');
    expect(metricsFrom(text)).toMatchObject({
      kvTotalBlocks: 200,
      kvUsage: 0.375,
      transferBytes: 4096,
      transferFailures: 2,
    });
    expect(metricsFrom(text)).not.toHaveProperty('kvHitRate');
  });
});
