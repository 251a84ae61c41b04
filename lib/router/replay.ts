import { packArgs, unpack } from '../addon/codec.js';
import { arg, invoke, native } from '../addon/invoke.js';
import { checkObject, MAX_BLOCK_TOKENS } from '../check.js';
import {
  custom,
  integer,
  nested,
  number,
  type Option,
  type OptionTable,
  oneOf,
  optionTable,
  signal,
  text,
  variants,
} from '../options.js';
import { kvRouterConfigRow } from './conditional-disaggregation.js';
import type { KvRouterConfig } from './config.js';
import { anyNumber } from './option-rows.js';
import { type ReplayScalingPolicy, ScalingHost, scalingArgs, scalingRow } from './replay-scaling.js';
import { checkTrace } from './replay-trace.js';

/** A simulated engine, as `MockerConfig`: `{ engine: { backend: 'vllm', block_size: 64, num_gpu_blocks: 16384 } }`. */
export type SimulatedEngine = Readonly<Record<string, unknown>>;

/** The workers of a replay. */
export type ReplayPool =
  | { readonly kind: 'aggregated'; readonly workers: number; readonly engine: SimulatedEngine }
  | {
      readonly kind: 'disaggregated';
      readonly prefillWorkers: number;
      readonly decodeWorkers: number;
      readonly prefillEngine: SimulatedEngine;
      readonly decodeEngine: SimulatedEngine;
    };

/** The latency that requests should have. */
export interface ReplaySla {
  /** Time to first token. @default no limit */
  readonly ttftMs?: number;
  /** Mean inter-token latency of a request. @default no limit */
  readonly itlMs?: number;
}

/** What is replayed, and on which workers. */
export interface ReplayOptions {
  /** File with one request per line, as JSON: `timestamp` in ms, `input_length`, `output_length`, `hash_ids`. */
  readonly trace: string;
  /** Tokens for which one hash id of the trace stands. @default 512 */
  readonly traceBlockSize?: number;
  readonly pool: ReplayPool;
  /** @default 'kv' */
  readonly mode?: 'round_robin' | 'kv';
  /** For mode `kv`. */
  readonly config?: KvRouterConfig;
  /** Factor by which requests arrive faster than in the trace. @default 1 */
  readonly speedup?: number;
  /** Sets the number of workers during the replay. @default the pool keeps its size */
  readonly scaling?: ReplayScalingPolicy;
  /** The report then has `goodput_completed_requests` and others: those within these limits. @default none */
  readonly sla?: ReplaySla;
  /** Ends the replay, and rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

const engine: Option<SimulatedEngine> = custom('an object', checkObject);
/** As many as a scaling policy may set. */
const workerCount = integer(1, 16_384);

const pool = variants<ReplayPool>({
  aggregated: optionTable({
    kind: oneOf('aggregated').required(),
    workers: workerCount.required(),
    engine: engine.required(),
  }),
  disaggregated: optionTable({
    kind: oneOf('disaggregated').required(),
    prefillWorkers: workerCount.required(),
    decodeWorkers: workerCount.required(),
    prefillEngine: engine.required(),
    decodeEngine: engine.required(),
  }),
});

const REPLAY_OPTIONS: OptionTable<ReplayOptions> = optionTable<ReplayOptions>({
  trace: text.required().about('File with one request per line, as JSON.'),
  traceBlockSize: integer(1, MAX_BLOCK_TOKENS).about('Tokens for which one hash id of the trace stands.'),
  pool: pool.required(),
  mode: oneOf('round_robin', 'kv').about('How requests are routed.'),
  config: kvRouterConfigRow,
  speedup: anyNumber.about('Factor by which requests arrive faster than in the trace.'),
  scaling: scalingRow.about('Sets the number of workers during the replay.'),
  sla: nested(
    optionTable<ReplaySla>({
      ttftMs: number(0.001).about('Time to first token.'),
      itlMs: number(0.001).about('Mean inter-token latency of a request.'),
    }),
  ).about('The latency that requests should have.'),
  signal: signal.about('Ends the replay.'),
});

/** What a replay measured, with the simulator's field names. Times are simulated milliseconds. */
export interface ReplayReport {
  readonly num_requests: number;
  readonly completed_requests: number;
  readonly prefix_cache_reused_ratio: number;
  readonly mean_ttft_ms: number;
  readonly [field: string]: unknown;
}

/**
 * Sends a recorded trace through the real router and simulated engines. Time is virtual: minutes of load take about a
 * second, and no GPU is needed. Mode `round_robin` always returns the same figures for the same trace. Mode `kv` draws
 * among equal workers. With `scaling`, workers come and go as a policy decides. Source: `dynamo-mocker` `replay`.
 *
 * @throws DynamoError `DYN_INVALID_REQUEST` for a trace that cannot be read, or whose lines are faulty
 * @throws DynamoError `DYN_DEADLINE_EXCEEDED` if the policy does not answer; what the policy has thrown
 */
export async function replayTrace(options: ReplayOptions): Promise<ReplayReport> {
  const operation = 'replayTrace';
  REPLAY_OPTIONS.check(`${operation} options`, options);
  const { trace, traceBlockSize = 512, pool, mode = 'kv', config, speedup = 1, sla, scaling, signal } = options;
  await checkTrace(trace, traceBlockSize, signal);
  const args = packArgs({
    ...{ trace, traceBlockSize, pool, mode, config, speedup },
    sla: sla && { ttft_ms: sla.ttftMs, itl_ms: sla.itlMs },
    scaling: scaling && scalingArgs(scaling),
  });
  const host = scaling && new ScalingHost(operation, scaling);
  try {
    const parts = { handle: host?.handle, args, a: arg('isCancellable', signal === undefined ? 0 : 1) };
    return unpack(await invoke(native.replayRun, operation, parts, { signal })) as ReplayReport;
  } catch (error) {
    if (host?.failure === undefined || signal?.aborted === true) throw error;
    throw host.failure.error;
  } finally {
    host?.close();
  }
}
