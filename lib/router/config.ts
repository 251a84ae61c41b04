import { MAX_I32, MAX_THREADS, wrongType } from '../check.js';
import { badArgument } from '../errors.js';
import {
  boolean,
  custom,
  integer,
  nullable,
  number,
  type Option,
  type OptionTable,
  oneOf,
  optionTable,
  text,
} from '../options.js';

/**
 * How a KV router scores workers and tracks their load. The field names and defaults are those of the crates. Workers
 * advertise some of the fields in their model cards under the same names. Source: `dynamo-kv-router`
 * `scheduling/config.rs` (`KvRouterConfig`).
 *
 * The worker with the lowest cost wins. Its cost is
 * `(prefill_load_scale * max(0, blocks to prefill - credit) + blocks in use + decode_active_request_weight * requests)
 * * taint multiplier`. Source: `dynamo-custom-policy-builtin` `default/scorer.rs`.
 */
export interface KvRouterConfig {
  /** Credit for each block of the prompt that a worker has on its device, at least 0. 0 ignores prefixes. @default 1 */
  readonly overlap_score_credit?: number;
  /**
   * How fast the device credit decays as the prefill load of a worker rises above the lowest one. 0 disables it.
   * @default 0
   */
  readonly overlap_score_credit_decay?: number;
  /** Factor of the blocks to prefill. @default 1 */
  readonly prefill_load_scale?: number;
  /** Cost, in blocks, of each request that runs on a worker. @default 0 */
  readonly decode_active_request_weight?: number;
  /** Credit for a block in host memory. @default 0.75 */
  readonly host_cache_hit_weight?: number;
  /** Credit for a block on disk. @default 0.25 */
  readonly disk_cache_hit_weight?: number;
  /** 0 takes the lowest cost. A higher value samples low costs by softmax. @default 0 */
  readonly router_temperature?: number;
  /** Learn blocks from the events of workers. False assumes that routed blocks are cached. @default true */
  readonly use_kv_events?: boolean;
  /** Routers of one endpoint share the requests that they route. @default false */
  readonly router_replica_sync?: boolean;
  /** Count the blocks of running requests. @default true */
  readonly router_track_active_blocks?: boolean;
  /** Also count blocks of output while they are generated. @default false */
  readonly router_track_output_blocks?: boolean;
  /** Requests of one worker share blocks with equal hashes. @default true */
  readonly router_assume_kv_reuse?: boolean;
  /** Count the tokens that wait for prefill. @default true */
  readonly router_track_prefill_tokens?: boolean;
  /** Hash by which running sequences are counted. @default 'public-xxh3-v1' */
  readonly router_tracking_hash?: 'public-xxh3-v1' | 'keyed-xxh3-v1';
  /** File with the 32 bytes of the key, for `keyed-xxh3-v1`. @default none */
  readonly router_tracking_key_file?: string | null;
  /** Epoch of the key, for `keyed-xxh3-v1`. @default none */
  readonly router_tracking_key_id?: string | null;
  /** Model of how the prefill load falls over time. @default 'none' */
  readonly router_prefill_load_model?: 'none' | 'aic';
  /** How long routed blocks are assumed to be cached without events, in seconds. @default 120 */
  readonly router_ttl_secs?: number;
  /**
   * How routed blocks expire without events: by `router_ttl_secs`, or by the capacity of the workers. Local to the
   * process: no card sets it.
   * @default 'ttl'
   */
  readonly router_approximate_cache_policy?: 'ttl' | 'lru';
  /** Instance of the policy file that chooses prefill workers. Local to the process. @default none */
  readonly router_prefill_policy?: string | null;
  /** Instance of the policy file that chooses decode workers. Local to the process. @default none */
  readonly router_decode_policy?: string | null;
  /**
   * Queue requests while the prefill of every worker exceeds this share of its batch. Null never queues.
   * @default null
   */
  readonly router_queue_threshold?: number | null;
  /** YAML file with policy classes and worker selection. @default none */
  readonly router_policy_config?: string | null;
  /** Threads that apply events. More than 1 use the concurrent index. @default 4 */
  readonly router_event_threads?: number;
  /** Route before the first worker is discovered. @default false */
  readonly skip_initial_worker_wait?: boolean;
  /** Order of the queue: first come, last come, or weighted shortest first. @default 'fcfs' */
  readonly router_queue_policy?: 'fcfs' | 'lcfs' | 'wspt';
  /** Query the index that another router serves. @default false */
  readonly use_remote_indexer?: boolean;
  /** Serve the index of this router to others. @default false */
  readonly serve_indexer?: boolean;
  /** Track the prefix of each session. @default false */
  readonly enable_session_prefix_index?: boolean;
  /** Credit for a block in a shared cache. Null leaves it to the policy: 0, or 0.5 with `hicache`. @default null */
  readonly shared_cache_multiplier?: number | null;
  /** The shared cache to query. @default 'none' */
  readonly shared_cache_type?: 'none' | 'hicache';
  /**
   * With events: also assume for this time, in seconds, that routed blocks are cached. Null disables it.
   * @default null
   */
  readonly router_predicted_ttl_secs?: number | null;
  /**
   * Decide for each request whether a prefill worker or the decode worker prefills it. Source: `dynamo-kv-router`
   * `conditional_disagg.rs`.
   * @default false
   */
  readonly conditional_disagg_enabled?: boolean;
  /**
   * When the decode worker prefills: by the tokens to prefill, by the load of the prefill worker, or by either.
   * @default 'isl_bounding'
   */
  readonly conditional_disagg_policy?: 'isl_bounding' | 'prefill_load' | 'isl_or_load';
  /**
   * The decode worker prefills fewer tokens than this: those of the prompt that it has not cached. It must also be
   * below the share. For `isl_bounding` and `isl_or_load`.
   * @default 2048
   */
  readonly conditional_disagg_eff_isl_threshold?: number;
  /**
   * The decode worker prefills a smaller share of the prompt than this, 0 to 1. A prompt of which nothing is cached has
   * the share 1, so it never is smaller.
   * @default 0.7
   */
  readonly conditional_disagg_eff_isl_ratio_threshold?: number;
  /**
   * A prefill worker is busy if more tokens wait there than this share of its `maxNumBatchedTokens`. A worker that does
   * not advertise `maxNumBatchedTokens` counts 10,000,000. Null takes `router_queue_threshold`; `prefill_load` and
   * `isl_or_load` need one of them.
   * @default null
   */
  readonly conditional_disagg_prefill_busy_threshold?: number | null;
  /**
   * A decode worker does not prefill if the request would fill more than this share of its `totalKvBlocks`, or if it
   * does not advertise them. Null disables the check.
   * @default null
   */
  readonly conditional_disagg_decode_busy_threshold?: number | null;
}

/** The defaults of `KvRouterConfig`. A test compares them with those of the crates. */
export const KV_ROUTER_DEFAULTS: Required<KvRouterConfig> = {
  overlap_score_credit: 1,
  overlap_score_credit_decay: 0,
  prefill_load_scale: 1,
  decode_active_request_weight: 0,
  host_cache_hit_weight: 0.75,
  disk_cache_hit_weight: 0.25,
  router_temperature: 0,
  use_kv_events: true,
  router_replica_sync: false,
  router_track_active_blocks: true,
  router_track_output_blocks: false,
  router_assume_kv_reuse: true,
  router_track_prefill_tokens: true,
  router_tracking_hash: 'public-xxh3-v1',
  router_tracking_key_file: null,
  router_tracking_key_id: null,
  router_prefill_load_model: 'none',
  router_ttl_secs: 120,
  router_approximate_cache_policy: 'ttl',
  router_prefill_policy: null,
  router_decode_policy: null,
  router_queue_threshold: null,
  router_policy_config: null,
  router_event_threads: 4,
  skip_initial_worker_wait: false,
  router_queue_policy: 'fcfs',
  use_remote_indexer: false,
  serve_indexer: false,
  enable_session_prefix_index: false,
  shared_cache_multiplier: null,
  shared_cache_type: 'none',
  router_predicted_ttl_secs: null,
  conditional_disagg_enabled: false,
  conditional_disagg_policy: 'isl_bounding',
  conditional_disagg_eff_isl_threshold: 2048,
  conditional_disagg_eff_isl_ratio_threshold: 0.7,
  conditional_disagg_prefill_busy_threshold: null,
  conditional_disagg_decode_busy_threshold: null,
};

const finite: Option<number> = custom(
  'a finite number',
  (path, value) => {
    if (typeof value !== 'number') wrongType(path, 'a finite number', value);
    if (!Number.isFinite(value)) throw badArgument(new RangeError(`${path}: expected a finite number, got ${value}`));
  },
  'number',
);

/** The crates panic at a much longer time. */
const seconds: Option<number> = number(0, MAX_I32);

/** Checks names and types. The crates check most ranges and which fields exclude each other. */
export const KV_ROUTER_CONFIG: OptionTable<KvRouterConfig> = optionTable<KvRouterConfig>({
  overlap_score_credit: finite.about(
    'Credit for each block of the prompt that a worker has on its device, at least 0. 0 ignores prefixes.',
  ),
  overlap_score_credit_decay: finite.about(
    'How fast the device credit decays as the prefill load of a worker rises above the lowest one. 0 disables it.',
  ),
  prefill_load_scale: finite.about('Factor of the blocks to prefill.'),
  decode_active_request_weight: finite.about('Cost, in blocks, of each request that runs on a worker.'),
  host_cache_hit_weight: finite.about('Credit for a block in host memory.'),
  disk_cache_hit_weight: finite.about('Credit for a block on disk.'),
  router_temperature: finite.about('0 takes the lowest cost. A higher value samples low costs by softmax.'),
  use_kv_events: boolean.about('Learn blocks from the events of workers. False assumes that routed blocks are cached.'),
  router_replica_sync: boolean.about('Routers of one endpoint share the requests that they route.'),
  router_track_active_blocks: boolean.about('Count the blocks of running requests.'),
  router_track_output_blocks: boolean.about('Also count blocks of output while they are generated.'),
  router_assume_kv_reuse: boolean.about('Requests of one worker share blocks with equal hashes.'),
  router_track_prefill_tokens: boolean.about('Count the tokens that wait for prefill.'),
  router_tracking_hash: oneOf('public-xxh3-v1', 'keyed-xxh3-v1').about('Hash by which running sequences are counted.'),
  router_tracking_key_file: nullable(text).about('File with the 32 bytes of the key, for `keyed-xxh3-v1`.'),
  router_tracking_key_id: nullable(text).about('Epoch of the key, for `keyed-xxh3-v1`.'),
  router_prefill_load_model: oneOf('none', 'aic').about('Model of how the prefill load falls over time.'),
  router_ttl_secs: seconds.about('How long routed blocks are assumed to be cached without events, in seconds.'),
  router_approximate_cache_policy: oneOf('ttl', 'lru').about(
    'How routed blocks expire without events: by `router_ttl_secs`, or by the capacity of the workers.',
  ),
  router_prefill_policy: nullable(text).about(
    'Instance of the policy file that chooses prefill workers. Local to the process.',
  ),
  router_decode_policy: nullable(text).about(
    'Instance of the policy file that chooses decode workers. Local to the process.',
  ),
  router_queue_threshold: nullable(finite).about(
    'Queue requests while the prefill of every worker exceeds this share of its batch. Null never queues.',
  ),
  router_policy_config: nullable(text).about('YAML file with policy classes and worker selection.'),
  router_event_threads: integer(0, MAX_THREADS).about(
    'Threads that apply events. More than 1 use the concurrent index.',
  ),
  skip_initial_worker_wait: boolean.about('Route before the first worker is discovered.'),
  router_queue_policy: oneOf('fcfs', 'lcfs', 'wspt').about(
    'Order of the queue: first come, last come, or weighted shortest first.',
  ),
  use_remote_indexer: boolean.about('Query the index that another router serves.'),
  serve_indexer: boolean.about('Serve the index of this router to others.'),
  enable_session_prefix_index: boolean.about('Track the prefix of each session.'),
  shared_cache_multiplier: nullable(finite).about(
    'Credit for a block in a shared cache. Null leaves it to the policy: 0, or 0.5 with `hicache`.',
  ),
  shared_cache_type: oneOf('none', 'hicache').about('The shared cache to query.'),
  router_predicted_ttl_secs: nullable(seconds).about(
    'With events: also assume for this time, in seconds, that routed blocks are cached. Null disables it.',
  ),
  conditional_disagg_enabled: boolean.about('Decide for each request whether the decode worker prefills it.'),
  conditional_disagg_policy: oneOf('isl_bounding', 'prefill_load', 'isl_or_load').about(
    'When it does: by the tokens to prefill, by the load of the prefill worker, or by either.',
  ),
  conditional_disagg_eff_isl_threshold: integer(0).about(
    'The decode worker prefills fewer tokens than this, without the cached ones.',
  ),
  conditional_disagg_eff_isl_ratio_threshold: number(0, 1).about(
    'The decode worker prefills a smaller share of the prompt than this.',
  ),
  conditional_disagg_prefill_busy_threshold: nullable(number(0)).about(
    'Share of its batch above which a prefill worker is busy. Null takes `router_queue_threshold`.',
  ),
  conditional_disagg_decode_busy_threshold: nullable(number(0)).about(
    'Share of its blocks above which a decode worker does not prefill. Null disables the check.',
  ),
});

/** A year. Dynamo rejects a longer time only after workers have appeared, and then never offers their model. */
const MAX_SESSION_SECONDS = 365 * 24 * 3600;

export const sessionSecondsRow: Option<number> = integer(1, MAX_SESSION_SECONDS).about(
  'Keep a session on its worker for this time after its last request.',
);
