import { checkInteger, checkNumber, checkObject, checkOneOf } from '../addon/check.js';

/** The ways of choosing a worker. Source: `dynamo-runtime` `push_router.rs`. */
export const ROUTER_MODES = [
  'round_robin',
  'random',
  'power_of_two_choices',
  'kv',
  'direct',
  'least_loaded',
  'device_aware_weighted',
] as const;
export type FrontendRouterMode = (typeof ROUTER_MODES)[number];

/**
 * KV-aware routing, in the crates' own field names. Those below are the most used; every field of `KvRouterConfig` is
 * taken, and an unknown one is refused. Source: `dynamo-kv-router` `scheduling/config.rs`.
 */
export interface KvRouterConfig {
  /** Credit for each block that a worker has already. */
  readonly overlap_score_credit?: number;
  readonly overlap_score_credit_decay?: number;
  readonly prefill_load_scale?: number;
  readonly decode_active_request_weight?: number;
  readonly host_cache_hit_weight?: number;
  readonly disk_cache_hit_weight?: number;
  /** 0 takes the best worker, more draws among the good ones. */
  readonly router_temperature?: number;
  /** Learn of blocks from workers' events; false guesses from what was routed. */
  readonly use_kv_events?: boolean;
  /** Routers tell each other of what they routed. */
  readonly router_replica_sync?: boolean;
  readonly router_track_active_blocks?: boolean;
  readonly router_track_output_blocks?: boolean;
  readonly router_assume_kv_reuse?: boolean;
  readonly router_track_prefill_tokens?: boolean;
  readonly router_ttl_secs?: number;
  readonly router_queue_threshold?: number | null;
  readonly router_queue_policy?: string;
  readonly router_policy_config?: string;
  readonly router_event_threads?: number;
  readonly skip_initial_worker_wait?: boolean;
  readonly conditional_disagg_enabled?: boolean;
  readonly [field: string]: unknown;
}

/** When a worker counts as busy; requests are refused while all are. What is left out is not looked at. */
export interface BusyThresholds {
  /** Share of the KV blocks in use, 0 to 1. */
  readonly activeDecodeBlocks?: number;
  /** Tokens waiting for prefill. */
  readonly activePrefillTokens?: number;
  /** The same as a share of the worker's `maxNumBatchedTokens`. */
  readonly activePrefillTokensShare?: number;
}

/** How requests are spread over the workers of a model. */
export interface RouterOptions {
  /** @default 'round_robin' */
  readonly mode?: FrontendRouterMode;
  /** For mode `kv`. */
  readonly kv?: KvRouterConfig;
  readonly busy?: BusyThresholds;
  /** Keep a session on its worker for this long after its last request. @default not at all */
  readonly sessionAffinitySeconds?: number;
  /** `hard` fails a request whose worker is gone, `soft` moves the session. @default 'hard' */
  readonly sessionAffinityMode?: 'hard' | 'soft';
}

export function checkRouter(path: string, value: unknown): asserts value is RouterOptions {
  checkObject(path, value, ['mode', 'kv', 'busy', 'sessionAffinitySeconds', 'sessionAffinityMode']);
  const { mode, kv, busy, sessionAffinitySeconds, sessionAffinityMode } = value;
  if (mode !== undefined) checkOneOf(`${path}.mode`, mode, ROUTER_MODES);
  if (kv !== undefined) checkObject(`${path}.kv`, kv);
  if (busy !== undefined) {
    checkObject(`${path}.busy`, busy, ['activeDecodeBlocks', 'activePrefillTokens', 'activePrefillTokensShare']);
    for (const [name, threshold] of Object.entries(busy)) checkNumber(`${path}.busy.${name}`, threshold);
  }
  if (sessionAffinitySeconds !== undefined) checkInteger(`${path}.sessionAffinitySeconds`, sessionAffinitySeconds, 1);
  if (sessionAffinityMode !== undefined) checkOneOf(`${path}.sessionAffinityMode`, sessionAffinityMode, ['hard', 'soft']);
}

/** As `RouterArgs` of `native/core/src/llm/config.rs` has them. */
export function routerArgs(options: RouterOptions): Record<string, unknown> {
  const { busy, sessionAffinitySeconds, ...rest } = options;
  return {
    ...rest,
    sessionAffinityTtlSecs: sessionAffinitySeconds,
    busy: busy && {
      active_decode_blocks_threshold: busy.activeDecodeBlocks,
      active_prefill_tokens_threshold: busy.activePrefillTokens,
      active_prefill_tokens_threshold_frac: busy.activePrefillTokensShare,
    },
  };
}
