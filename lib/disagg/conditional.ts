import type { PreprocessedRequest } from '../llm/protocol.js';
import { integer, type OptionTable, optionTable } from '../options.js';
import type { PrefillPlace } from '../router/conditional-disaggregation.js';

/** The limits of a `ConditionalDisaggregation`. */
export interface ConditionalDisaggregationOptions {
  /** The decode worker prefills up to this many tokens itself, without the cached ones. @default 1000 */
  readonly maxLocalPrefillLength?: number;
  /** It also prefills while at least this many prompts wait for prefill workers. 0 never uses them. @default 2 */
  readonly maxPrefillQueueSize?: number;
}

/** What a decode worker knows when a prompt arrives. */
export interface ConditionalInputs {
  readonly promptTokens: number;
  /** Tokens of the prompt that the decode worker has cached. At most `promptTokens` count. */
  readonly cachedTokens: number;
  /** Prompts that wait for prefill workers. */
  readonly prefillQueueSize: number;
}

/**
 * Why the place was chosen: the tokens to prefill are few (`short`) or many (`long`), or the queue of the prefill
 * workers has no space (`queue-full`).
 */
export type ConditionalReason = 'short' | 'long' | 'queue-full';

/** Who prefills a prompt, with everything that it was decided from. */
export interface ConditionalDecision extends ConditionalInputs, Required<ConditionalDisaggregationOptions> {
  readonly place: PrefillPlace;
  readonly reason: ConditionalReason;
  /** Tokens to prefill: the prompt without the cached ones. */
  readonly prefillTokens: number;
}

const DEFAULTS: Required<ConditionalDisaggregationOptions> = { maxLocalPrefillLength: 1000, maxPrefillQueueSize: 2 };

/** @internal */
export const CONDITIONAL_DISAGGREGATION_OPTIONS: OptionTable<ConditionalDisaggregationOptions> =
  optionTable<ConditionalDisaggregationOptions>({
    maxLocalPrefillLength: integer(0).about('The decode worker prefills up to this many uncached tokens itself.'),
    maxPrefillQueueSize: integer(0).about(
      'It also prefills while at least this many prompts wait for prefill workers.',
    ),
  });

const INPUTS: OptionTable<ConditionalInputs> = optionTable<ConditionalInputs>({
  promptTokens: integer(0).required().about('Tokens of the prompt.'),
  cachedTokens: integer(0).required().about('Tokens of the prompt that the decode worker has cached.'),
  prefillQueueSize: integer(0).required().about('Prompts that wait for prefill workers.'),
});

/**
 * Decides in a decode worker who prefills a prompt. The prompt goes to a prefill worker if its uncached part is longer
 * than `maxLocalPrefillLength` and fewer than `maxPrefillQueueSize` prompts wait there. The limits may change at any
 * time. It reads no clock and does no input or output.
 *
 * Dynamo decided in this way before its routers did. The router of a frontend has its own policies:
 * `KvRouterConfig.conditional_disagg_policy`.
 *
 * @example
 * import { ConditionalDisaggregation } from 'dynamo-node/disagg';
 *
 * const rule = new ConditionalDisaggregation({ maxLocalPrefillLength: 512 });
 * rule.decide({ promptTokens: 2000, cachedTokens: 1600, prefillQueueSize: 0 }).place; // 'local'
 * rule.update({ maxLocalPrefillLength: 256 });
 */
export class ConditionalDisaggregation {
  #limits: Required<ConditionalDisaggregationOptions>;

  /** @throws TypeError, RangeError */
  constructor(options: ConditionalDisaggregationOptions = {}) {
    this.#limits = DEFAULTS;
    this.#set('ConditionalDisaggregation options', options);
  }

  /** The limits of the next decision. */
  get limits(): Required<ConditionalDisaggregationOptions> {
    return this.#limits;
  }

  /** Changes limits. Absent ones stay. After an error all of them stay. @throws TypeError, RangeError */
  update(options: ConditionalDisaggregationOptions): void {
    this.#set('conditionalDisaggregation.update options', options);
  }

  #set(path: string, options: ConditionalDisaggregationOptions): void {
    CONDITIONAL_DISAGGREGATION_OPTIONS.check(path, options);
    const { maxLocalPrefillLength, maxPrefillQueueSize } = this.#limits;
    this.#limits = {
      maxLocalPrefillLength: options.maxLocalPrefillLength ?? maxLocalPrefillLength,
      maxPrefillQueueSize: options.maxPrefillQueueSize ?? maxPrefillQueueSize,
    };
  }

  /** Decides who prefills a prompt. @throws TypeError, RangeError */
  decide(inputs: ConditionalInputs): ConditionalDecision {
    INPUTS.check('conditionalDisaggregation.decide inputs', inputs);
    const { maxLocalPrefillLength, maxPrefillQueueSize } = this.#limits;
    const prefillTokens = Math.max(0, inputs.promptTokens - inputs.cachedTokens);
    const reason: ConditionalReason =
      prefillTokens <= maxLocalPrefillLength
        ? 'short'
        : inputs.prefillQueueSize < maxPrefillQueueSize
          ? 'long'
          : 'queue-full';
    const place = reason === 'long' ? 'remote' : 'local';
    return { ...inputs, ...this.#limits, place, reason, prefillTokens };
  }
}

/** Dynamo's mark of a request whose prefill a frontend left to the decode worker. */
const LOCAL_PREFILL = 'x-bypass-remote-prefill';

/**
 * Who prefills a request that a frontend sent to a decode worker: `local` by the decision of the frontend's router,
 * `remote` if the request has the result or the address of a prefill worker. Undefined if the frontend knew no prefill
 * worker; the decode worker then prefills too. Source: `dynamo-llm` `kv_router/prefill_router/mod.rs`.
 */
export function prefillPlaceOf(
  request: Pick<PreprocessedRequest, 'annotations' | 'prefill_result' | 'bootstrap_info'>,
): PrefillPlace | undefined {
  if (request.annotations.includes(LOCAL_PREFILL)) return 'local';
  return (request.prefill_result ?? request.bootstrap_info ?? null) === null ? undefined : 'remote';
}
