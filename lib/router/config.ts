import { checkInteger, checkObject } from '../check.js';

/**
 * How a KV router weighs and keeps its books, in the crates' own field names, each with the crates' own default. Workers
 * advertise part of it in their cards under the same names. Source: `dynamo-kv-router` `scheduling/config.rs`
 * (`KvRouterConfig`).
 *
 * The cost of a worker, of which the least wins: `(prefill_load_scale * max(0, blocks to prefill - credit) + blocks in use +
 * decode_active_request_weight * requests) * taint multiplier`. Source: `dynamo-custom-policy-builtin` `default/scorer.rs`.
 */
export interface KvRouterConfig {
  /** Credit for each block of the prompt that a worker has on its device, 0 or more; 0 ignores prefixes. @default 1 */
  readonly overlap_score_credit?: number;
  /** How fast that credit fades as a worker's prefill grows above the least loaded one's; 0 never. @default 0 */
  readonly overlap_score_credit_decay?: number;
  /** Factor of the blocks to prefill. @default 1 */
  readonly prefill_load_scale?: number;
  /** Cost, in blocks, of each request that a worker runs. @default 0 */
  readonly decode_active_request_weight?: number;
  /** Credit for a block in the host's memory. @default 0.75 */
  readonly host_cache_hit_weight?: number;
  /** Credit for a block on disk. @default 0.25 */
  readonly disk_cache_hit_weight?: number;
  /** 0 takes the least cost, more draws by softmax among the low ones. @default 0 */
  readonly router_temperature?: number;
  /** Learn of blocks from workers' events; false believes that what was routed is there. @default true */
  readonly use_kv_events?: boolean;
  /** Routers of one endpoint tell each other of what they route. @default false */
  readonly router_replica_sync?: boolean;
  /** Count the blocks of running requests. @default true */
  readonly router_track_active_blocks?: boolean;
  /** Count blocks of output too, as they come. @default false */
  readonly router_track_output_blocks?: boolean;
  /** Requests of one worker share blocks with equal hashes. @default true */
  readonly router_assume_kv_reuse?: boolean;
  /** Count the tokens that wait for prefill. @default true */
  readonly router_track_prefill_tokens?: boolean;
  /** Hashes under which running sequences are counted. @default 'public-xxh3-v1' */
  readonly router_tracking_hash?: 'public-xxh3-v1' | 'keyed-xxh3-v1';
  /** File with the 32 bytes of the key, for `keyed-xxh3-v1`. @default none */
  readonly router_tracking_key_file?: string | null;
  /** The key's epoch, for `keyed-xxh3-v1`. @default none */
  readonly router_tracking_key_id?: string | null;
  /** Model of how prefill's load falls over time. @default 'none' */
  readonly router_prefill_load_model?: 'none' | 'aic';
  /** How long routed blocks are believed to be there, without events; seconds. @default 120 */
  readonly router_ttl_secs?: number;
  /**
   * Without events: forget what was routed by `router_ttl_secs`, or by the workers' capacity as their requests end. Process-local:
   * no card sets it. @default 'ttl'
   */
  readonly router_approximate_cache_policy?: 'ttl' | 'lru';
  /** Of a policy file's instances the one that chooses prefill workers. Process-local. @default none */
  readonly router_prefill_policy?: string | null;
  /** And the one that chooses decode workers. Process-local. @default none */
  readonly router_decode_policy?: string | null;
  /** Queue requests while every worker's prefill exceeds this share of its batch; null never queues. @default null */
  readonly router_queue_threshold?: number | null;
  /** File with policy classes and worker selection, YAML. @default none */
  readonly router_policy_config?: string | null;
  /** Threads that apply events; above 1 the concurrent index. @default 4 */
  readonly router_event_threads?: number;
  /** Route before the first worker was seen. @default false */
  readonly skip_initial_worker_wait?: boolean;
  /** First come, last come, or weighted shortest first. @default 'fcfs' */
  readonly router_queue_policy?: 'fcfs' | 'lcfs' | 'wspt';
  /** Ask the index that another router serves. @default false */
  readonly use_remote_indexer?: boolean;
  /** Serve this router's index to others. @default false */
  readonly serve_indexer?: boolean;
  /** Track each session's prefix. @default false */
  readonly enable_session_prefix_index?: boolean;
  /** Credit for a block in a shared cache; null leaves it to the policy: 0, with `hicache` 0.5. @default null */
  readonly shared_cache_multiplier?: number | null;
  /** The shared cache to ask. @default 'none' */
  readonly shared_cache_type?: 'none' | 'hicache';
  /** With events: also believe for so long that what was routed is there; seconds, null not. @default null */
  readonly router_predicted_ttl_secs?: number | null;
  /** Let a decode worker prefill where that is cheaper. @default false */
  readonly conditional_disagg_enabled?: boolean;
  /** When that is: by the prompt, by the prefill worker's load, or either. @default 'isl_bounding' */
  readonly conditional_disagg_policy?: 'isl_bounding' | 'prefill_load' | 'isl_or_load';
  /** Tokens to prefill below which `isl_bounding` stays. @default 2048 */
  readonly conditional_disagg_eff_isl_threshold?: number;
  /** And their share of the prompt. @default 0.7 */
  readonly conditional_disagg_eff_isl_ratio_threshold?: number;
  /** Share of its batch from which a prefill worker is busy; null takes `router_queue_threshold`. @default null */
  readonly conditional_disagg_prefill_busy_threshold?: number | null;
  /** Share of its blocks from which a decode worker is busy; null asks for none. @default null */
  readonly conditional_disagg_decode_busy_threshold?: number | null;
}

/** The defaults above. A test holds them against the crates'. */
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

/** Checks names and types; the crates check ranges and how fields go together. */
export function checkKvRouterConfig(path: string, config: unknown): asserts config is KvRouterConfig {
  checkObject(path, config, Object.keys(KV_ROUTER_DEFAULTS));
  for (const [name, value] of Object.entries(config)) {
    const wanted = KV_ROUTER_DEFAULTS[name as keyof KvRouterConfig];
    if (value === undefined || wanted === null || typeof value === typeof wanted) {
      if (typeof value === 'number' && !Number.isFinite(value))
        throw new RangeError(`${path}.${name}: expected a finite number, got ${value}`);
      continue;
    }
    throw new TypeError(`${path}.${name}: expected a ${typeof wanted}, got ${value === null ? 'null' : typeof value}`);
  }
}

/** A year. Dynamo refuses a longer one only when a model's workers are there, which then is never offered. */
const MOST_SESSION_SECONDS = 365 * 24 * 3600;

export function checkSessionSeconds(path: string, seconds: unknown): void {
  if (seconds !== undefined) checkInteger(path, seconds, 1, MOST_SESSION_SECONDS);
}
