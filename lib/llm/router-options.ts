import { badArgument } from '../errors.js';
import { custom, integer, nested, number, type Option, type OptionTable, oneOf, optionTable } from '../options.js';
import { kvRouterConfigRow } from '../router/conditional-disaggregation.js';
import { type KvRouterConfig, sessionSecondsRow } from '../router/config.js';
import { policyRow, type RoutingPolicy } from '../router/policy.js';

/** The ways to choose a worker. Source: `dynamo-runtime` `push_router.rs`. */
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

/**
 * When a worker counts as busy. Requests are rejected while all workers are busy. An absent threshold is not checked.
 */
export interface BusyThresholds {
  /** Share of the KV blocks in use, 0 to 1. */
  readonly activeDecodeBlocks?: number;
  /** Tokens that wait for prefill. */
  readonly activePrefillTokens?: number;
  /** Tokens that wait for prefill, as a share of the worker's `maxNumBatchedTokens`. */
  readonly activePrefillTokensShare?: number;
}

/** How requests are distributed over the workers of a model. */
export interface RouterOptions {
  /** @default 'round_robin' */
  readonly mode?: FrontendRouterMode;
  /** For mode `kv`. */
  readonly kv?: KvRouterConfig;
  readonly busy?: BusyThresholds;
  /** Keep a session on its worker for this time after its last request. @default no session affinity */
  readonly sessionAffinitySeconds?: number;
  /**
   * If a session's worker is present but takes no requests, `hard` rejects the request and `soft` moves the session. A
   * session whose worker has left moves in both modes. @default 'hard'
   */
  readonly sessionAffinityMode?: 'hard' | 'soft';
  /**
   * For mode `kv`: custom costs instead of those of the default policy. Only for HTTP frontends with engine `workers`,
   * and for workers whose model cards state their worker type, as those of `serveEngine` do.
   */
  readonly policy?: RoutingPolicy;
}

const BUSY_THRESHOLDS = optionTable<BusyThresholds>({
  activeDecodeBlocks: number(0, 1).about('Share of the KV blocks in use from which a worker is busy.'),
  activePrefillTokens: integer(0).about('Tokens that wait for prefill from which a worker is busy.'),
  activePrefillTokensShare: number(0).about('The same as a share of the largest batch of the worker.'),
});

/** @internal */
export const ROUTER_OPTIONS: OptionTable<RouterOptions> = optionTable<RouterOptions>({
  mode: oneOf(...ROUTER_MODES).about('How a worker is chosen.'),
  kv: kvRouterConfigRow.about('Configuration of mode kv.'),
  busy: nested(BUSY_THRESHOLDS).about('When a worker counts as busy.'),
  sessionAffinitySeconds: sessionSecondsRow,
  sessionAffinityMode: oneOf('hard', 'soft').about('What happens if the worker of a session takes no requests.'),
  policy: policyRow.about('Custom costs for mode kv.'),
});

export function checkRouter(path: string, value: unknown): asserts value is RouterOptions {
  ROUTER_OPTIONS.check(path, value);
  const { mode = 'round_robin', policy } = value;
  if (policy !== undefined && mode !== 'kv')
    throw badArgument(new TypeError(`${path}.policy: expected mode kv with a policy, got ${mode}`));
}

/** The row of an option with `RouterOptions`. */
export const routerRow: Option<RouterOptions> = custom<RouterOptions>('an object', checkRouter).about(
  'How requests are routed to workers.',
);

/** Arguments of the native side. Source: `RouterArgs` of `native/core/src/llm/config.rs`. */
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
