import type { LLMEngineOutput } from '../llm/protocol.js';
import type { Histogram, Metrics } from '../runtime/metrics.js';
import { SECONDS } from './metrics.js';

/** How long the phases of one request took at a worker, from its arrival there. */
export interface PhaseReport {
  /** Until the first token; undefined if there was none. */
  readonly ttftMs: number | undefined;
  /** From the first token to the last one. */
  readonly decodeMs: number;
  /** The mean time between two tokens; undefined for less than two tokens. */
  readonly interTokenMs: number | undefined;
  readonly tokens: number;
}

/**
 * Measures the phases of a worker's requests, and counts them in its metrics `time_to_first_token_seconds`,
 * `inter_token_latency_seconds` and `decode_seconds`. The first two have the names of the frontend's metrics.
 *
 * @example
 * import type { GenerateContext, LLMEngine, PreprocessedRequest } from 'dynamo-node';
 * import { RequestPhases } from 'dynamo-node/disagg';
 *
 * const phases = new RequestPhases();
 * export const timed = (engine: LLMEngine, request: PreprocessedRequest, context: GenerateContext) =>
 *   phases.measure(engine.generate(request, context), ({ ttftMs }) => console.log(ttftMs));
 */
export class RequestPhases {
  readonly #first: Histogram | undefined;
  readonly #between: Histogram | undefined;
  readonly #decode: Histogram | undefined;

  /** @param metrics the metrics of the worker's endpoint; undefined for reports only */
  constructor(metrics?: Metrics) {
    const histogram = (name: string, help: string): Histogram | undefined =>
      metrics?.histogram({ name, help, buckets: SECONDS });
    this.#first = histogram('time_to_first_token_seconds', 'Time from the arrival of a request to its first token.');
    this.#between = histogram('inter_token_latency_seconds', 'Time between two tokens of a request.');
    this.#decode = histogram('decode_seconds', 'Time from the first token of a request to its last one.');
  }

  /** Passes the items of one answer on. Calls `onEnd` when the answer has ended, whether it is complete or not. */
  async *measure(
    items: AsyncIterable<LLMEngineOutput>,
    onEnd: (report: PhaseReport) => void = () => {},
  ): AsyncGenerator<LLMEngineOutput> {
    const since = performance.now();
    let [first, last, tokens] = [0, 0, 0];
    try {
      for await (const item of items) {
        const { length } = item.token_ids;
        if (length > 0) {
          const now = performance.now();
          if (tokens === 0) {
            first = now;
            this.#first?.observe((now - since) / 1000);
          } else {
            this.#between?.observe((now - last) / 1000 / length);
          }
          last = now;
          tokens += length;
        }
        yield item;
      }
    } finally {
      if (tokens > 0) this.#decode?.observe((last - first) / 1000);
      onEnd({
        ttftMs: tokens === 0 ? undefined : first - since,
        decodeMs: last - first,
        interTokenMs: tokens < 2 ? undefined : (last - first) / (tokens - 1),
        tokens,
      });
    }
  }
}
