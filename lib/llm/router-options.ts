import { checkInteger, checkObject, checkOneOf, checkRange } from '../check.js';
import { checkKvRouterConfig, checkSessionSeconds, type KvRouterConfig } from '../router/config.js';
import { checkPolicy, type RoutingPolicy } from '../router/policy.js';

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
/**
 * How a frontend chooses a worker. Source: `dynamo-runtime` `push_router.rs`.
 * @useDeclaredType
 */
export type FrontendRouterMode = (typeof ROUTER_MODES)[number];

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
  /**
   * Where a session's worker is there but takes no request, `hard` refuses the request and `soft` moves the session. From a
   * worker that has left it moves in either. @default 'hard'
   */
  readonly sessionAffinityMode?: 'hard' | 'soft';
  /**
   * For mode `kv`: costs of your own in place of the default policy's. HTTP frontends before workers only, and workers whose
   * cards tell their part, as those of `serveEngine` do.
   */
  readonly policy?: RoutingPolicy;
}

export function checkRouter(path: string, value: unknown): asserts value is RouterOptions {
  checkObject(path, value, ['mode', 'kv', 'busy', 'sessionAffinitySeconds', 'sessionAffinityMode', 'policy']);
  const { mode, kv, busy, sessionAffinitySeconds, sessionAffinityMode, policy } = value;
  if (mode !== undefined) checkOneOf(`${path}.mode`, mode, ROUTER_MODES);
  if (kv !== undefined) checkKvRouterConfig(`${path}.kv`, kv);
  if (policy !== undefined) {
    checkPolicy(`${path}.policy`, policy);
    if (mode !== 'kv')
      throw new TypeError(`${path}.policy: expected mode kv with a policy, got ${String(mode ?? 'round_robin')}`);
  }
  if (busy !== undefined) {
    checkObject(`${path}.busy`, busy, ['activeDecodeBlocks', 'activePrefillTokens', 'activePrefillTokensShare']);
    const { activeDecodeBlocks, activePrefillTokens, activePrefillTokensShare } = busy;
    if (activeDecodeBlocks !== undefined) checkRange(`${path}.busy.activeDecodeBlocks`, activeDecodeBlocks, 0, 1);
    if (activePrefillTokens !== undefined) checkInteger(`${path}.busy.activePrefillTokens`, activePrefillTokens, 0);
    if (activePrefillTokensShare !== undefined)
      checkRange(`${path}.busy.activePrefillTokensShare`, activePrefillTokensShare, 0);
  }
  checkSessionSeconds(`${path}.sessionAffinitySeconds`, sessionAffinitySeconds);
  if (sessionAffinityMode !== undefined)
    checkOneOf(`${path}.sessionAffinityMode`, sessionAffinityMode, ['hard', 'soft']);
}

/** As `RouterArgs` of `native/core/src/llm/config.rs` has them. */
export function routerArgs(options: RouterOptions): Record<string, unknown> {
  const { busy, sessionAffinitySeconds, policy: _, ...rest } = options;
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
