import { CounterGains, quantileOf } from './counters.js';
import type { FrontendFigures, InstanceFigures } from './inputs.js';
import { eachWantedLine, labelIn, samplesOf, valueIn } from './metric-lines.js';
import type { LatencyView } from './view.js';

const PREFIX = 'dynamo_frontend_';
const TTFT = 'time_to_first_token_seconds';
const ITL = 'inter_token_latency_seconds';
const MS_PER_SECOND = 1000;

/** Source: `dynamo-runtime` `metrics/prometheus_names.rs`. */
const COUNTERS = [
  'requests_started_total',
  'output_tokens_total',
  'input_sequence_tokens_sum',
  'cached_tokens_sum',
  'cached_tokens_count',
  'input_sequence_tokens_count',
  ...[TTFT, ITL].flatMap((name) => [`${name}_sum`, `${name}_count`, `${name}_bucket`]),
] as const;
const GAUGES = ['active_requests', 'inflight_requests', 'router_queue_pending_requests'] as const;
const TOTAL_BLOCKS = 'model_total_kv_blocks';
const BLOCK_SIZE = 'model_kv_cache_block_size';
const LAST_TTFT = 'worker_last_time_to_first_token_seconds';
const LAST_ITL = 'worker_last_inter_token_latency_seconds';
const ACTIVE_BLOCKS = 'worker_active_decode_blocks';
const OF_WORKERS = [LAST_TTFT, LAST_ITL, ACTIVE_BLOCKS] as const;

const WANTED = new Set([...COUNTERS, ...GAUGES, TOTAL_BLOCKS, BLOCK_SIZE].map((name) => PREFIX + name));
const WANTED_OF_WORKERS = new Set<string>(OF_WORKERS.map((name) => PREFIX + name));

/** By the name of the model. */
type OfModels = Record<'totalBlocks' | 'blockSizes', Record<string, number>>;

type MutableFigures = { -readonly [Name in keyof InstanceFigures]: InstanceFigures[Name] };

/** What frontends say of the traffic and of their workers, from the text of their metrics. */
export class FrontendReader {
  readonly #gains = new CounterGains();
  #readings = 0;

  /**
   * Reads the texts of all frontends.
   *
   * @param texts by the URL of the frontend
   * @returns the figures of the workers by their instance id, and those of all together; they are absent the first time
   */
  read(
    texts: ReadonlyMap<string, string>,
    nowMs: number,
  ): { readonly traffic?: FrontendFigures; readonly workers: ReadonlyMap<string, InstanceFigures> } {
    this.#gains.begin(nowMs);
    const gauges = new Map<string, number>();
    const ofModels: OfModels = { totalBlocks: {}, blockSizes: {} };
    const models = new Set<string>();
    const workers = new Map<string, MutableFigures>();
    const bounds = new Map<string, Set<number>>([TTFT, ITL].map((name) => [name, new Set()]));
    for (const [url, text] of texts) {
      readWorkers(text, workers);
      for (const { name: full, labels, value } of samplesOf(text, (name) => WANTED.has(name))) {
        if (!Number.isFinite(value)) continue;
        const name = full.slice(PREFIX.length);
        const { model } = labels;
        if (model !== undefined && model !== '') models.add(model);
        if (name === TOTAL_BLOCKS || name === BLOCK_SIZE) {
          if (model !== undefined && value > 0)
            (name === BLOCK_SIZE ? ofModels.blockSizes : ofModels.totalBlocks)[model] = value;
        } else if ((GAUGES as readonly string[]).includes(name)) gauges.set(name, (gauges.get(name) ?? 0) + value);
        else this.#addCounter(url, name, labels['le'], value, bounds);
      }
    }
    if (this.#readings++ === 0 || texts.size === 0) return { workers };
    return { workers, traffic: this.#traffic([...texts.keys()], gauges, [...models], ofModels, bounds) };
  }

  #addCounter(
    url: string,
    name: string,
    le: string | undefined,
    value: number,
    bounds: ReadonlyMap<string, Set<number>>,
  ): void {
    const bound = le === undefined ? '' : le === '+Inf' ? 'Infinity' : String(Number(le));
    if (bound !== '') bounds.get(name.slice(0, -'_bucket'.length))?.add(Number(bound));
    this.#gains.add(`${url} ${name} ${bound}`, value);
  }

  #traffic(
    urls: readonly string[],
    gauges: ReadonlyMap<string, number>,
    models: readonly string[],
    ofModels: OfModels,
    bounds: ReadonlyMap<string, Set<number>>,
  ): FrontendFigures {
    const sum = (amountOf: (key: string) => number | undefined, name: string, bound = ''): number =>
      urls.reduce((total, url) => total + (amountOf(`${url} ${name} ${bound}`) ?? 0), 0);
    const gain = (name: string, bound?: string): number => sum((key) => this.#gains.gain(key), name, bound);
    const rate = (name: string): number => sum((key) => this.#gains.rate(key), name);
    const latency = (name: string): LatencyView | undefined => {
      const count = gain(`${name}_count`);
      if (count === 0) return undefined;
      const buckets = [...(bounds.get(name) ?? [])]
        .sort((a, b) => a - b)
        .map((bound) => [bound, gain(`${name}_bucket`, String(bound))] as const);
      const quantile = (share: number): number | undefined => {
        const seconds = quantileOf(buckets, share);
        return seconds === undefined ? undefined : seconds * MS_PER_SECOND;
      };
      return { meanMs: (gain(`${name}_sum`) / count) * MS_PER_SECOND, p50Ms: quantile(0.5), p95Ms: quantile(0.95) };
    };
    const inputs = gain('input_sequence_tokens_sum') / gain('input_sequence_tokens_count');
    const cached = gain('cached_tokens_sum') / gain('cached_tokens_count');
    return {
      flow: {
        requestsPerSecond: rate('requests_started_total'),
        running: gauges.get('active_requests') ?? gauges.get('inflight_requests'),
        queued: gauges.get('router_queue_pending_requests'),
        inputTokensPerSecond: rate('input_sequence_tokens_sum'),
        outputTokensPerSecond: rate('output_tokens_total'),
      },
      ttft: latency(TTFT),
      itl: latency(ITL),
      hitRate: inputs > 0 && Number.isFinite(cached) ? Math.min(1, cached / inputs) : undefined,
      models,
      ...ofModels,
    };
  }
}

/** There are several lines for each worker, so only the labels that matter are read. */
function readWorkers(text: string, workers: Map<string, MutableFigures>): void {
  eachWantedLine(
    text,
    (name) => WANTED_OF_WORKERS.has(name),
    (name, line) => {
      const id = labelIn(line, 'worker_id');
      const value = valueIn(line);
      if (id === undefined || !Number.isFinite(value)) return;
      const figures = workers.get(id) ?? {};
      workers.set(id, figures);
      addFigure(figures, name.slice(PREFIX.length), value);
      figures.workerType ??= labelIn(line, 'worker_type');
    },
  );
}

function addFigure(figures: MutableFigures, name: string, value: number): void {
  if (name === LAST_TTFT) figures.lastTtftMs = value * MS_PER_SECOND;
  if (name === LAST_ITL) figures.lastItlMs = value * MS_PER_SECOND;
  if (name === ACTIVE_BLOCKS) figures.kv = { usedBlocks: (figures.kv?.usedBlocks ?? 0) + value };
}
