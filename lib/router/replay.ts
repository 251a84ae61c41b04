import { packArgs, unpack } from '../addon/codec.js';
import { invoke, native } from '../addon/invoke.js';
import { checkInteger, checkNumber, checkObject, checkOneOf, checkOptions, checkString } from '../check.js';
import { checkKvRouterConfig, type KvRouterConfig } from './config.js';

/** A simulated engine, in `MockerConfig`'s own shape, such as `{block_size: 64, num_gpu_blocks: 16384}`. */
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

/** What is replayed, on which workers. */
export interface ReplayOptions {
  /** File of requests, one JSON object a line: `timestamp` in ms, `input_length`, `output_length`, `hash_ids`. */
  readonly trace: string;
  /** Tokens that one of the trace's hash ids stands for. @default 512 */
  readonly traceBlockSize?: number;
  readonly pool: ReplayPool;
  /** @default 'kv' */
  readonly mode?: 'round_robin' | 'kv';
  /** For mode `kv`. */
  readonly config?: KvRouterConfig;
  /** Requests come so many times as fast as in the trace. @default 1 */
  readonly speedup?: number;
}

/** What a replay measured, in the simulator's own names: times in simulated milliseconds. */
export interface ReplayReport {
  readonly num_requests: number;
  readonly completed_requests: number;
  readonly prefix_cache_reused_ratio: number;
  readonly mean_ttft_ms: number;
  readonly [field: string]: unknown;
}

/**
 * Sends a recorded trace through the real router and simulated engines, in virtual time: minutes of load in a second, no GPU.
 * In mode `round_robin` the same trace gives the same figures always; `kv` draws among equal workers. Source:
 * `dynamo-mocker` `replay`.
 */
export async function replayTrace(options: ReplayOptions): Promise<ReplayReport> {
  const operation = 'replayTrace';
  const path = `${operation} options`;
  checkOptions(path, options, ['trace', 'traceBlockSize', 'pool', 'mode', 'config', 'speedup']);
  const { trace, traceBlockSize = 512, pool, mode = 'kv', config, speedup = 1 } = options;
  checkString(`${path}.trace`, trace);
  checkInteger(`${path}.traceBlockSize`, traceBlockSize, 1);
  checkObject(`${path}.pool`, pool);
  checkOneOf(`${path}.pool.kind`, pool.kind, ['aggregated', 'disaggregated']);
  checkOneOf(`${path}.mode`, mode, ['round_robin', 'kv']);
  if (config !== undefined) checkKvRouterConfig(`${path}.config`, config);
  checkNumber(`${path}.speedup`, speedup);
  const args = packArgs({ trace, traceBlockSize, pool, mode, config, speedup });
  return unpack(await invoke(native.replayRun, operation, { args })) as ReplayReport;
}
