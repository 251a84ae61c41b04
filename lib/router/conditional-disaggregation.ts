import { badArgument } from '../errors.js';
import { boolean, custom, integer, type Option, type OptionTable, optionTable } from '../options.js';
import { KV_ROUTER_CONFIG, KV_ROUTER_DEFAULTS, type KvRouterConfig } from './config.js';

/** Who prefills a prompt: the decode worker (`local`), or a prefill worker that hands the KV cache over (`remote`). */
export type PrefillPlace = 'local' | 'remote';

/** What the policy of a router decides from. */
export interface PrefillPlaceInputs {
  readonly promptTokens: number;
  /** Tokens of the prompt that the decode worker has, weighted by tier. */
  readonly cachedTokens: number;
  /**
   * Whether more tokens wait at the chosen prefill worker than `conditional_disagg_prefill_busy_threshold` allows.
   * @default unknown, which counts as not busy
   */
  readonly isPrefillBusy?: boolean;
  /**
   * Whether the request would fill more blocks of the chosen decode worker than
   * `conditional_disagg_decode_busy_threshold` allows.
   * @default unknown, which counts as busy
   */
  readonly isDecodeBusy?: boolean;
}

/** Who prefills, and why. */
export interface PrefillPlaceDecision extends PrefillPlaceInputs {
  readonly place: PrefillPlace;
  readonly policy: NonNullable<KvRouterConfig['conditional_disagg_policy']>;
  /** Tokens to prefill: the prompt without the cached ones. */
  readonly netNewTokens: number;
  /** The tokens to prefill as a share of the prompt, 0 to 1. */
  readonly netNewShare: number;
  /** Why, in words. */
  readonly reason: string;
}

const INPUTS: OptionTable<PrefillPlaceInputs> = optionTable<PrefillPlaceInputs>({
  promptTokens: integer(0).required().about('Tokens of the prompt.'),
  cachedTokens: integer(0).required().about('Tokens of the prompt that the decode worker has.'),
  isPrefillBusy: boolean.about('Whether the chosen prefill worker is busy. Unknown counts as not busy.'),
  isDecodeBusy: boolean.about('Whether the chosen decode worker is busy. Unknown counts as busy.'),
});

/** The policies that read the load of prefill workers. */
const LOAD_POLICIES: readonly unknown[] = ['prefill_load', 'isl_or_load'];

/** `KvRouterConfig`, with the rules that cover several of its fields. */
export const kvRouterConfigRow: Option<KvRouterConfig> = custom<KvRouterConfig>('an object', (path, config) => {
  KV_ROUTER_CONFIG.check(path, config);
  if (config.conditional_disagg_enabled !== true || !LOAD_POLICIES.includes(config.conditional_disagg_policy)) return;
  if ((config.conditional_disagg_prefill_busy_threshold ?? config.router_queue_threshold ?? null) !== null) return;
  throw badArgument(
    new TypeError(
      `${path}.conditional_disagg_prefill_busy_threshold: expected a number, or a router_queue_threshold, ` +
        `with conditional_disagg_policy ${config.conditional_disagg_policy}, got neither`,
    ),
  );
});

/**
 * Decides as the router of a frontend does who prefills a prompt. Source: `dynamo-kv-router` `conditional_disagg.rs`
 * and `dynamo-llm` `prefill_router/conditional_bypass.rs`.
 *
 * @example
 * decidePrefillPlace({ conditional_disagg_enabled: true }, { promptTokens: 1000, cachedTokens: 896 }).place; // 'local'
 * @throws TypeError, RangeError
 */
export function decidePrefillPlace(config: KvRouterConfig, inputs: PrefillPlaceInputs): PrefillPlaceDecision {
  kvRouterConfigRow.check('decidePrefillPlace config', config);
  INPUTS.check('decidePrefillPlace inputs', inputs);
  const settings = { ...KV_ROUTER_DEFAULTS, ...config };
  const netNewTokens = Math.max(0, inputs.promptTokens - inputs.cachedTokens);
  const netNewShare = netNewTokens / Math.max(1, inputs.promptTokens);
  const policy = settings.conditional_disagg_policy;
  const decided = (place: PrefillPlace, reason: string): PrefillPlaceDecision => ({
    ...inputs,
    place,
    policy,
    netNewTokens,
    netNewShare,
    reason,
  });

  if (!settings.conditional_disagg_enabled) return decided('remote', 'conditional disaggregation is off');
  const length = policy === 'prefill_load' ? undefined : lengthRule(settings, netNewTokens, netNewShare);
  const load = policy === 'isl_bounding' ? undefined : loadRule(inputs);
  const reason = [length, load].flatMap((rule) => rule?.reason ?? []).join('; ');
  if (length?.isLocal !== true && load?.isLocal !== true) return decided('remote', reason);
  if (settings.conditional_disagg_decode_busy_threshold === null) return decided('local', reason);
  if (inputs.isDecodeBusy === false) return decided('local', `${reason}; the decode worker is not busy`);
  const gate = inputs.isDecodeBusy === true ? 'is busy' : 'has an unknown load';
  return decided('remote', `${reason}; but the decode worker ${gate}`);
}

interface Rule {
  readonly isLocal: boolean;
  readonly reason: string;
}

function lengthRule(settings: Required<KvRouterConfig>, tokens: number, share: number): Rule {
  const most = settings.conditional_disagg_eff_isl_threshold;
  const mostShare = settings.conditional_disagg_eff_isl_ratio_threshold;
  if (tokens >= most) return { isLocal: false, reason: `${tokens} tokens to prefill, at least ${most}` };
  const shares = `${share.toFixed(2)} of the prompt to prefill`;
  if (share >= mostShare) return { isLocal: false, reason: `${shares}, at least ${mostShare}` };
  return { isLocal: true, reason: `${tokens} tokens to prefill, below ${most}, and ${shares}, below ${mostShare}` };
}

function loadRule({ isPrefillBusy }: PrefillPlaceInputs): Rule {
  const load = isPrefillBusy === undefined ? 'has an unknown load' : isPrefillBusy ? 'is busy' : 'is not busy';
  return { isLocal: isPrefillBusy === true, reason: `the prefill worker ${load}` };
}
