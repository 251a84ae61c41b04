import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ReplayOptions, type ReplayReport, replayTrace } from 'dynamo-node';
import { type Arrival, arrivals, type Prompts } from './arrivals.js';

/** Of a search for the knee: from this rate on, so much more each time. */
const FIRST_RATE = 4;
const STEP = 1.1;
const TRACE_SECONDS = 40;

export interface Simulated {
  readonly blockSize: number;
  readonly blocksOfAWorker: number;
  readonly workers: number;
  readonly prompts: Prompts;
}

/** The crates' simulator with the same arrivals, workers and timing, in virtual time: no frontend, no network. */
export class Simulator {
  constructor(
    private readonly folder: string,
    private readonly of: Simulated,
  ) {}

  #trace(plan: readonly Arrival[]): string {
    const { blockSize, prompts } = this.of;
    const [prefix, suffix] = [prompts.prefixTokens / blockSize, prompts.suffixTokens / blockSize];
    const lines = plan.map(({ at, group }, index) => {
      const shared = Array.from({ length: prefix }, (_, block) => group * prefix + block);
      const own = Array.from({ length: suffix }, (_, block) => prompts.groups * prefix + index * suffix + block);
      const { prefixTokens, suffixTokens, answerTokens } = prompts;
      return JSON.stringify({
        timestamp: at * 1000,
        input_length: prefixTokens + suffixTokens,
        output_length: answerTokens,
        hash_ids: [...shared, ...own],
      });
    });
    const path = join(this.folder, 'trace.jsonl');
    writeFileSync(path, `${lines.join('\n')}\n`);
    return path;
  }

  async run(plan: readonly Arrival[], router: Pick<ReplayOptions, 'mode' | 'config'>): Promise<ReplayReport> {
    const { blockSize, blocksOfAWorker, workers } = this.of;
    const engine = { engine: { backend: 'vllm', block_size: blockSize, num_gpu_blocks: blocksOfAWorker } };
    const trace = this.#trace(plan);
    try {
      return await replayTrace({
        trace,
        traceBlockSize: blockSize,
        pool: { kind: 'aggregated', workers, engine },
        ...router,
      });
    } finally {
      rmSync(trace);
    }
  }

  /** The greatest rate at which round-robin's mean time to the first token is at most `times` that of hardly any load. */
  async knee(seed: number, times: number): Promise<number> {
    const mean = async (rate: number): Promise<number> =>
      (await this.run(arrivals(seed, rate, TRACE_SECONDS, this.of.prompts.groups), { mode: 'round_robin' }))
        .mean_ttft_ms;
    const idle = await mean(1);
    let rate = FIRST_RATE;
    while ((await mean(rate * STEP)) <= times * idle) rate *= STEP;
    return rate;
  }
}
