import { metricsFrom } from '../deploy/local/worker-metrics.js';
import { CounterGains } from './counters.js';
import type { InstanceFigures } from './inputs.js';
import { samplesOf } from './metric-lines.js';
import { metricsAt } from './metrics-source.js';
import type { SourceStates } from './source-states.js';

/** Metrics of vLLM, which its worker adds to those of Dynamo. */
const QUERIES = 'vllm:prefix_cache_queries_total';
const HITS = 'vllm:prefix_cache_hits_total';
const USAGE = 'vllm:kv_cache_usage_perc';
const VLLM = new Set([QUERIES, HITS, USAGE]);

const WORKER_ID = /\bworker_id="(\d+)"/;

/** Reads the status servers of workers, which `DYN_SYSTEM_PORT` starts, in Python too. */
export class StatusSource {
  readonly #gains = new CounterGains();

  constructor(private readonly states: SourceStates) {}

  /** By the instance id, or by the URL if the metrics do not name it. */
  async read(urls: readonly string[]): Promise<ReadonlyMap<string, InstanceFigures>> {
    const texts = await Promise.all(
      urls.map(async (url) => [url, await this.states.of(`status of ${url}`, () => metricsAt(url))] as const),
    );
    this.#gains.begin(performance.now());
    return new Map(
      texts.flatMap(([url, text]) =>
        text === undefined ? [] : [[WORKER_ID.exec(text)?.[1] ?? url, this.#figuresOf(url, text)] as const],
      ),
    );
  }

  #figuresOf(url: string, text: string): InstanceFigures {
    const metrics = metricsFrom(text);
    const vllm = new Map(samplesOf(text, (name) => VLLM.has(name)).map(({ name, value }) => [name, value]));
    this.#gains.add(`${url} requests`, metrics.requests);
    this.#gains.add(`${url} queries`, vllm.get(QUERIES) ?? 0);
    this.#gains.add(`${url} hits`, vllm.get(HITS) ?? 0);
    const [queries, hits] = [this.#gains.gain(`${url} queries`), this.#gains.gain(`${url} hits`)];
    const hitRate = queries !== undefined && queries > 0 ? (hits ?? 0) / queries : undefined;
    const usage = metrics.kvUsage ?? vllm.get(USAGE);
    const { kvTotalBlocks: total } = metrics;
    return {
      flow: { requestsPerSecond: this.#gains.rate(`${url} requests`), running: metrics.requestsInFlight },
      kv: {
        usage,
        hitRate: metrics.kvHitRate ?? hitRate,
        ...(total > 0 && usage !== undefined ? { totalBlocks: total, usedBlocks: Math.round(total * usage) } : {}),
      },
    };
  }
}
