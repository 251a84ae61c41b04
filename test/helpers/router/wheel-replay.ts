import { replayTrace } from 'dynamo-node';
import { expect, onTestFinished } from 'vitest';

import { pythonPeer } from '../child.js';
import { temporaryFolder } from '../runtime/runtime.js';
import { mooncakeTrace } from './mooncake.js';

/** The engine of each simulated worker. */
export const engine = {
  engine: { backend: 'vllm', block_size: 64, num_gpu_blocks: 16384, max_num_seqs: 256, max_num_batched_tokens: 8192 },
};
export type Summary = Record<string, number | null>;

/** Dynamo's Python wheel, which replays the trace. */
export function wheel(): { run(options: object): Promise<Summary> } {
  const python = pythonPeer('router.py', ['replay', mooncakeTrace()], temporaryFolder(), { DYN_LOG: 'off' });
  onTestFinished(() => python.stop());
  return {
    run: async (options) => {
      python.send({ trace_block_size: 512, ...options });
      return (await python.event('report', {}, 60_000))['summary'] as Summary;
    },
  };
}

/** The report without the duration of the simulation. */
export const simulated = (report: object): Summary =>
  Object.fromEntries(
    Object.entries(report).filter(
      ([name, value]) => typeof value !== 'object' && !/wall_time|^processed_.*_per_s$/.test(name),
    ),
  ) as Summary;

/**
 * Compares the means of runs in KV mode. Equal workers are drawn at random: a run's mean TTFT has a standard deviation
 * of 2.1% on either side, the difference of the means of 48 runs one of 0.43%.
 */
export async function expectKvOfTheWheel(runs: number, tolerance: number): Promise<void> {
  const trace = mooncakeTrace();
  const pool = { kind: 'aggregated', workers: 4, engine } as const;
  const python = wheel();
  const [ours, theirs]: [Summary[], Summary[]] = [[], []];
  for (let run = 0; run < runs; run++) {
    ours.push(simulated(await replayTrace({ trace, pool, mode: 'kv' })));
    theirs.push(await python.run({ extra_engine_args: engine, num_workers: 4, router_mode: 'kv_router' }));
  }
  const mean = (of: Summary[], field: string): number =>
    of.reduce((sum, run) => sum + (run[field] as number), 0) / of.length;
  for (const field of ['mean_ttft_ms', 'prefix_cache_reused_ratio', 'mean_itl_ms']) {
    const [one, other] = [mean(ours, field), mean(theirs, field)];
    expect(Math.abs(one / other - 1), `${field}: ${one} against ${other}`).toBeLessThan(tolerance);
  }
  const plain = await replayTrace({ trace, pool, mode: 'round_robin' });
  expect(mean(ours, 'mean_ttft_ms')).toBeLessThan(0.9 * plain.mean_ttft_ms);
}
