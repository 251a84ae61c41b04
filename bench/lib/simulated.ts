import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ReplayOptions, type ReplayReport, replayTrace } from 'dynamo-node';
import { type Arrival, arrivals, type Prompts } from './arrivals.js';

/** The search for the knee begins at this rate, in requests per second. */
const FIRST_RATE = 4;
/** Factor between two rates of the search. */
const STEP = 1.1;
const TRACE_SECONDS = 40;

export interface Simulated {
  readonly blockSize: number;
  readonly blocksPerWorker: number;
  readonly workers: number;
  readonly prompts: Prompts;
}

/** The crates' simulator with the same arrivals, workers and timing. Time is virtual; no frontend or network runs. */
export class Simulator {
  constructor(
    private readonly folder: string,
    private readonly deployment: Simulated,
  ) {}

  #trace(plan: readonly Arrival[]): string {
    const { blockSize, prompts } = this.deployment;
    const [prefix, suffix] = [prompts.prefixTokens / blockSize, prompts.suffixTokens / blockSize];
    const lines = plan.map(({ at, group }, index) => {
      const shared = Array.from({ length: prefix }, (_, block) => group * prefix + block);
      const unique = Array.from({ length: suffix }, (_, block) => prompts.groups * prefix + index * suffix + block);
      const { prefixTokens, suffixTokens, answerTokens } = prompts;
      return JSON.stringify({
        timestamp: at * 1000,
        input_length: prefixTokens + suffixTokens,
        output_length: answerTokens,
        hash_ids: [...shared, ...unique],
      });
    });
    const path = join(this.folder, 'trace.jsonl');
    writeFileSync(path, `${lines.join('\n')}\n`);
    return path;
  }

  async run(plan: readonly Arrival[], router: Pick<ReplayOptions, 'mode' | 'config'>): Promise<ReplayReport> {
    const { blockSize, blocksPerWorker, workers } = this.deployment;
    const engine = { engine: { backend: 'vllm', block_size: blockSize, num_gpu_blocks: blocksPerWorker } };
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

  /** Returns the highest rate at which round-robin's mean time to first token is `times` that of an idle system. */
  async knee(seed: number, times: number): Promise<number> {
    const mean = async (rate: number): Promise<number> =>
      (await this.run(arrivals(seed, rate, TRACE_SECONDS, this.deployment.prompts.groups), { mode: 'round_robin' }))
        .mean_ttft_ms;
    const idle = await mean(1);
    let rate = FIRST_RATE;
    while ((await mean(rate * STEP)) <= times * idle) rate *= STEP;
    return rate;
  }
}
